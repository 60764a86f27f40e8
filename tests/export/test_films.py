"""Other light and motion: what is drawn, the files that say it, and the films that come out."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from conftest import made_once
from made_result import make_result, somebody
from PIL import Image
from typer.testing import CliRunner

import renderers
from nextface.cli import app
from nextface.errors import CurvesError, LightError
from nextface.export.files import write_exr
from nextface.export.films.curves import read_curves
from nextface.export.films.light_file import ROWS, read_light
from nextface.export.films.moves import (
    circle_angles,
    replay_angles,
    with_brightness,
    with_expression,
    with_head_turned,
    with_light,
    with_light_turned,
)
from nextface.models import create as create_model
from nextface.scene import Scene
from nextface.scene.lighting import map_directions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result. Tests only read it."""

    def make(folder: Path) -> dict[str, object]:
        make_result(folder / "kim")
        return {}

    return made_once(tmp_path_factory, "result-to-film", make)[0] / "kim"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return somebody(1).scene()


def one_sided(direction: tuple[float, float, float], height: int = 32) -> torch.Tensor:
    """A map [1, height, 2 height, 3] that is brightest in a direction."""
    return (
        4
        * (map_directions(height) @ torch.tensor(direction, dtype=torch.float64))
        .clamp(min=0)[None, ..., None]
        .expand(-1, -1, -1, 3)
        .float()
    )


# What moves


def test_a_replay_goes_to_both_sides_and_back() -> None:
    degrees = [math.degrees(angle) for angle in replay_angles(97)]
    assert degrees[0] == degrees[-1] == 0
    assert (min(degrees), max(degrees)) == pytest.approx((-30, 30))
    assert degrees.index(min(degrees)) < degrees.index(max(degrees))
    assert max(abs(after - before) for before, after in pairwise(degrees)) < 3


def test_a_circle_leads_on_to_itself() -> None:
    angles = circle_angles(8)
    assert angles[0] == 0
    assert angles[-1] + angles[1] == pytest.approx(2 * math.pi)


def test_a_turned_head_looks_where_it_is_turned(scene: Scene) -> None:
    """To the picture's right, about its own origin, in the camera frame."""
    turned = with_head_turned(scene, 0.5)
    before, after = (one.camera.rotate(torch.tensor([[[0.0, 0.0, 1.0]]]))[0, 0] for one in (scene, turned))
    assert after[0] > before[0] + 0.3
    assert float(before @ after) == pytest.approx(math.cos(0.5), abs=0.02)
    origin = torch.zeros(1, 1, 3)
    assert torch.allclose(turned.camera.transform(origin), scene.camera.transform(origin))
    assert turned.environment is scene.environment


def test_the_photographers_light_comes_from_the_right_after_a_quarter(scene: Scene) -> None:
    lit = with_light(scene, one_sided((0.0, 0.0, 1.0)))
    turned = with_light_turned(lit, math.pi / 2).environment.radiance
    from_right = with_light(scene, one_sided((1.0, 0.0, 0.0))).environment.radiance
    assert torch.allclose(turned, from_right, atol=0.02 * float(from_right.max()))


def test_another_light_is_as_bright_as_the_photos(scene: Scene) -> None:
    lit = with_light(scene, one_sided((1.0, 0.0, 0.0)))
    ours, theirs = (one.environment.coefficients(1).mean() for one in (scene, lit))
    assert float(theirs / ours) == pytest.approx(1, abs=1e-3)
    doubled = with_brightness(lit, 1.0).environment.coefficients(1).mean()
    assert float(doubled / theirs) == pytest.approx(2, abs=1e-3)


def test_light_from_the_right_lights_the_right(scene: Scene) -> None:
    renderer = renderers.create("vertex")
    right, left = (
        renderer.render(with_light(scene, one_sided((side, 0.0, 0.2))), 1, 0)[0, ..., :3].sum((0, 2))
        for side in (1.0, -1.0)
    )
    half = len(right) // 2
    assert right[half:].sum() > 1.5 * left[half:].sum()
    assert left[:half].sum() > 1.5 * right[:half].sum()


# Lights from files


def test_every_kind_of_light_is_read_alike(tmp_path: Path) -> None:
    radiance = (one_sided((0.0, 1.0, 0.0))[0] * torch.tensor([0.2, 0.1, 0.05])).numpy()
    write_exr(tmp_path / "a.exr", radiance)
    cv2.imwrite(str(tmp_path / "a.hdr"), radiance[..., ::-1])
    srgb = np.where(radiance > 0.0031308, 1.055 * radiance.clip(1e-9) ** (1 / 2.4) - 0.055, 12.92 * radiance)
    Image.fromarray(np.round(255 * srgb).astype(np.uint8)).save(tmp_path / "a.png")
    assert np.allclose(read_light(tmp_path / "a.exr").radiance[0], radiance, atol=1e-6)
    assert np.allclose(read_light(tmp_path / "a.hdr").radiance[0], radiance, atol=0.01)
    low = read_light(tmp_path / "a.png")
    assert np.allclose(low.radiance[0], radiance, atol=0.01)
    assert "low dynamic range" in low.notes[0]
    assert not read_light(tmp_path / "a.exr").notes


def test_a_large_light_keeps_its_power(tmp_path: Path) -> None:
    radiance = np.zeros((2 * ROWS, 4 * ROWS, 3), np.float32)
    radiance[ROWS, 40] = 1000  # a lamp of one pixel
    write_exr(tmp_path / "a.exr", radiance)
    read = read_light(tmp_path / "a.exr").radiance
    assert read.shape == (1, ROWS, 2 * ROWS, 3)
    assert float(read.sum()) * 4 == pytest.approx(radiance.sum(), rel=1e-5)


@pytest.mark.parametrize("kind", ["exr", "hdr"])
def test_a_light_that_is_too_large_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    """There is next to nothing behind the header: who begins with the pixels finds another mistake, if memory
    lasts.
    """
    path = tmp_path / f"a.{kind}"
    if kind == "hdr":
        path.write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 40000\n")
    else:
        write_exr(path, np.ones((8, 16, 3), np.float32))
        header = path.read_bytes()
        path.write_bytes(header.replace(struct.pack("<2i", 15, 7), struct.pack("<2i", 39999, 19999)))
    with pytest.raises(LightError, match="20000 rows, more than"):
        read_light(path)


def bad_light(path: Path, what: str) -> Path:
    radiance = np.full((8, 16, 3), 0.5, np.float32)
    if what == "NaN":
        radiance[2, 3, 1] = np.nan
    elif what == "infinite":
        radiance[2, 3, 1] = np.inf
    elif what == "negative":
        radiance[2, 3, 1] = -0.1
    elif what == "square":
        radiance = radiance[:, :8]
    elif what == "black":
        radiance *= 0
    write_exr(path, radiance)
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:90])
    elif what == "no colours":
        with OpenEXR.File({}, {"Z": np.ones((8, 16), np.float32)}) as file:
            file.write(str(path))
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("NaN", ["NaN", "row 2, column 3"]),
        ("infinite", ["not finite"]),
        ("negative", ["negative", "row 2, column 3"]),
        ("square", ["8 x 8", "twice as wide as high"]),
        ("black", ["black"]),
        ("damaged", ["damaged"]),
        ("no colours", ["Z", "R, G, B"]),
    ],
)
def test_what_is_no_light_is_refused(tmp_path: Path, what: str, said: list[str]) -> None:
    with pytest.raises(LightError) as caught:
        read_light(bad_light(tmp_path / "a.exr", what))
    assert all(word in str(caught.value) for word in [*said, "a.exr"])


# Curves


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_curves_as_arkit_writes_them(tmp_path: Path) -> None:
    model = create_model("open")
    text = (
        "Timecode,BlendshapeCount,JawOpen,mouthSmileLeft,HeadYaw\n00:01,61,0.5,0,0.1\n00:02,61,1.2,0.25,0.1\n"
    )
    curves = read_curves(table(tmp_path / "a.csv", text), model)
    jaw, smile = (model.expression_names.index(name) for name in ("jawOpen", "mouthSmileLeft"))
    assert curves.expressions[:, jaw].tolist() == [0.5, 1.0]
    assert curves.expressions[:, smile].tolist() == [0, 0.25]
    assert curves.expressions.count_nonzero() == 3
    assert any("HeadYaw" in note for note in curves.notes)
    assert any("1 values" in note for note in curves.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jawOpne\n1\n", ["'jawOpne'", "Did you mean jawOpen?"]),
        ("jawOpen,jawOpen\n1,1\n", ["twice"]),
        ("time\n1\n", ["names no expression"]),
        ("jawOpen\n", ["no frames"]),
        ("", ["no frames"]),
        ("jawOpen\nwide\n", ["line 2", "'wide'"]),
        ("jawOpen\nnan\n", ["line 2", "'nan'"]),
        ("jawOpen,tongueOut\n1\n", ["line 2", "tongueOut"]),
    ],
)
def test_what_are_no_curves_is_refused(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(CurvesError) as caught:
        read_curves(table(tmp_path / "a.csv", text), create_model("open"))
    assert all(word in str(caught.value) for word in [*said, "a.csv"])


def test_an_expression_moves_one_person_alone() -> None:
    person = somebody(1)
    rest = person.model.expression_prior.mean
    moved = with_expression(person, rest)
    assert torch.equal(moved.parameters.expression, rest[None])
    assert torch.equal(moved.parameters.identity, person.parameters.identity)


# The commands


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, words), "--renderer", "vertex"])
    assert result.exit_code == 0, result.output
    return result.output


def pictures(path: Path) -> list[np.ndarray]:
    """Every picture of a film, [h, w, 3] RGB, and none of them damaged."""
    import av

    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def test_relight_draws_the_face_in_another_light(folder: Path, tmp_path: Path) -> None:
    write_exr(tmp_path / "right.exr", one_sided((1.0, 0.0, 0.2))[0].numpy())
    shown = []
    for degrees in (0, 180):
        target = tmp_path / f"{degrees}.png"
        arguments = ["--light", tmp_path / "right.exr", "--rotate", degrees, "--size", 48, "--output", target]
        assert str(target) in run("relight", folder, *arguments)
        shown.append(np.asarray(Image.open(target)).astype(float).sum(-1))
    assert shown[0].shape == (48, 48)
    assert shown[0][:, 24:].sum() > shown[1][:, 24:].sum()
    assert shown[0][:, :24].sum() < shown[1][:, :24].sum()


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_replay_is_a_film(folder: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"turn.{kind}"
    said = run("replay", folder, "--frames", 5, "--rate", 10, "--size", 49, "--output", target)
    assert f"{target.name}: 5 pictures done" in said and str(target) in said
    shown = pictures(target)
    assert len(shown) == 5
    assert shown[0].shape == ((49, 49, 3) if kind == "gif" else (50, 50, 3))
    back, away = (np.abs(shown[0].astype(int) - other).mean() for other in (shown[-1], shown[1]))
    assert back < 1 < away


def test_animate_moves_light_and_face(folder: Path, tmp_path: Path) -> None:
    run("animate", folder, "--light-turn", "--frames", 3, "--size", 48, "--output", tmp_path / "light.png")
    curves = table(tmp_path / "a.csv", "jawOpen\n0\n1\n")
    run("animate", folder, "--expressions", curves, "--size", 48, "--output", tmp_path / "talk.png")
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["light_0000.png", "light_0001.png", "light_0002.png", "talk_0000.png", "talk_0001.png"]
    first, second = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in names[3:])
    assert np.abs(first - second).max() > 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["relight", ".", "--output", "a.mp4"], ["a.mp4", ".png"]),
        (["replay", ".", "--output", "a.avi"], ["a.avi", ".mp4"]),
        (["replay", "."], ["no result folder"]),
        (["replay", "nowhere"], ["nowhere", "does not exist"]),
        (["animate", "."], ["--light-turn", "--expressions"]),
        (["animate", "RESULT", "--expressions", "missing.csv", "--output", "a.gif"], ["missing.csv"]),
        (["relight", "RESULT", "--light", "missing.hdr", "--output", "a.png"], ["missing.hdr"]),
        (["relight", "RESULT", "--photo", "3", "--output", "a.png"], ["--photo 3"]),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [str(folder) if word == "RESULT" else word for word in words]
    result = CliRunner().invoke(app, [*named, "--renderer", "vertex"])
    assert result.exit_code == 2, result.output
    assert all(word in result.output for word in said), result.output
    assert not list(tmp_path.iterdir())
