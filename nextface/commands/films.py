"""`nextface relight`, `nextface replay`, `nextface animate`: a finished person in other light and in motion."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import DeviceName, Overrides, RendererName, configure, path
from nextface.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from nextface.export.saved.result import SavedResult
    from nextface.scene import Scene

    Draw = Callable[[Scene], np.ndarray]

Result = Annotated[Path, typer.Argument(parser=path, metavar="RESULT_DIR", help="A finished result folder.")]
Target = Annotated[
    Path | None,
    typer.Option(
        "--output", parser=path, metavar="FILE", help="Its ending says what it is; by default in RESULT_DIR."
    ),
]
Photo = Annotated[
    int, typer.Option(min=0, metavar="N", help="Which photo's pose, expression and light, from 0.")
]
Size = Annotated[int, typer.Option(min=16, max=4096, metavar="PIXELS", help="Longest side of the pictures.")]
Samples = Annotated[int, typer.Option(min=1, max=65536, metavar="N", help="Light paths a pixel.")]
Frames = Annotated[int, typer.Option(min=2, max=36_000, metavar="N", help="Pictures in the film.")]
Rate = Annotated[int, typer.Option(min=1, max=120, metavar="N", help="Pictures a second.")]
LightFile = Annotated[
    Path | None,
    typer.Option(
        "--light", parser=path, metavar="FILE.hdr|exr|png", help="A latitude-longitude picture of a light."
    ),
]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter("a number is needed")
    return value


Rotate = Annotated[
    float,
    typer.Option(
        callback=_finite, metavar="DEG", help="Turn the light: the photographer's comes from the right."
    ),
]
Brightness = Annotated[
    float,
    typer.Option(
        min=-10,
        max=10,
        callback=_finite,
        metavar="STOPS",
        help="0: on the whole as bright as the photo's light; 1: twice that.",
    ),
]


@exit_codes
def relight(
    result: Result,
    light: LightFile = None,
    rotate: Rotate = 0.0,
    brightness: Brightness = 0.0,
    output: Target = None,
    photo: Photo = 0,
    size: Size = 512,
    samples: Samples = 256,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
) -> None:
    """Draw the face under the light of a file, or under its own turned."""
    from nextface.export.files import write_png
    from nextface.export.films.film import STILLS, check_kind

    target = output or result / "relight.png"
    check_kind(target, (STILLS,))
    with _drawing(result, photo, size, samples, renderer, device, set_) as (saved, draw):
        picture = draw(_lit(saved.reconstruction.scene(photo), light, rotate, brightness))
        write_png(target, picture / 255)
    typer.echo(f"Written: {target}")


@exit_codes
def replay(
    result: Result,
    output: Target = None,
    frames: Frames = 96,
    rate: Rate = 24,
    photo: Photo = 0,
    size: Size = 512,
    samples: Samples = 32,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
) -> None:
    """Turn the head to -30 degrees, to +30 degrees and back, under the photo's light."""
    from nextface.export.films.moves import replay_angles, with_head_turned

    target = _film(output or result / "replay.mp4")
    with _drawing(result, photo, size, samples, renderer, device, set_) as (saved, draw):
        scene = saved.reconstruction.scene(photo)
        _shoot(target, replay_angles(frames), lambda angle: draw(with_head_turned(scene, angle)), rate)


@exit_codes
def animate(
    result: Result,
    light_turn: Annotated[bool, typer.Option("--light-turn", help="Turn the light once around.")] = False,
    expressions: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="FILE.csv", help="ARKit curves: a line of names, a line a frame."),
    ] = None,
    light: LightFile = None,
    rotate: Rotate = 0.0,
    brightness: Brightness = 0.0,
    output: Target = None,
    frames: Frames = 96,
    rate: Rate = 24,
    photo: Photo = 0,
    size: Size = 512,
    samples: Samples = 32,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
) -> None:
    """Turn the light around the face, or move the face as a table of expressions says."""
    if light_turn == (expressions is not None):
        raise ConfigError("What is to move? Choose one of --light-turn and --expressions FILE.csv.")
    from nextface.export.films.curves import read_curves
    from nextface.export.films.moves import circle_angles, with_expression, with_light_turned

    target = _film(output or result / ("light.mp4" if light_turn else "expressions.mp4"))
    with _drawing(result, photo, size, samples, renderer, device, set_) as (saved, draw):
        if expressions is None:
            scene = _lit(saved.reconstruction.scene(photo), light, rotate, brightness)
            _shoot(target, circle_angles(frames), lambda angle: draw(with_light_turned(scene, angle)), rate)
            return
        single = saved.reconstruction[photo]
        curves = read_curves(expressions, single.model)
        _tell(curves.notes)
        environment = _lit(single.scene(), light, rotate, brightness).environment

        def posed(expression: Any) -> np.ndarray:
            return draw(replace(with_expression(single, expression).scene(), environment=environment))

        _shoot(target, list(curves.expressions), posed, rate)


def _film(target: Path) -> Path:
    from nextface.export.films.film import check_kind

    check_kind(target)
    return target


def _lit(scene: Scene, light: Path | None, degrees: float, stops: float) -> Scene:
    """The scene under the light of a file, or its own, turned."""
    from nextface.export.films.light_file import read_light
    from nextface.export.films.moves import with_brightness, with_light, with_light_turned

    if light is not None:
        loaded = read_light(light)
        _tell(loaded.notes)
        scene = with_light(scene, loaded.radiance)
    scene = with_brightness(scene, stops)
    return with_light_turned(scene, math.radians(degrees)) if degrees else scene


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        typer.echo(f"Note: {note}", err=True)


@contextmanager
def _drawing(
    result: Path,
    photo: int,
    size: int,
    samples: int,
    renderer: str | None,
    device: str | None,
    overrides: list[str] | None,
) -> Iterator[tuple[SavedResult, Draw]]:
    """A result that was read, and what draws its scenes as pictures [h, w, 3] (8-bit sRGB) of a size."""
    import torch

    from nextface.export.films.moves import resized
    from nextface.export.pictures import encode, over_backdrop
    from nextface.export.saved.result import load_result
    from nextface.runs.equipment import equipped
    from nextface.system.progress import on_screen

    config = configure(None, overrides, renderer, device)
    saved = load_result(result, config.path)
    if photo >= len(saved.reconstruction):
        raise ConfigError(f"--photo {photo}: {result} has {len(saved.reconstruction)}, counted from 0.")
    with equipped(config, saved.reconstruction.model) as equipment, torch.no_grad():
        equipment.start(on_screen())

        def draw(scene: Scene) -> np.ndarray:
            shown = resized(scene, size)
            return over_backdrop(encode(equipment.renderer.render(shown, samples, config.seed)[0]))

        yield saved, draw


def _shoot(target: Path, moments: Sequence[Any], draw: Callable[[Any], np.ndarray], rate: int) -> None:
    """Draw every moment and write the film."""
    from nextface.export.films.film import write_frames
    from nextface.system.progress import on_screen

    with on_screen().count(target.name, 0, len(moments), "pictures") as count:

        def pictures() -> Iterator[np.ndarray]:
            for moment in moments:
                yield draw(moment)
                count.step()

        written = write_frames(target, pictures(), rate)
    typer.echo(f"Written: {written[0]}" + (f" to {written[-1].name}" if len(written) > 1 else ""))
