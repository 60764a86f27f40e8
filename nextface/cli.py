"""The `nextface` command: words in, exit codes out, progress on screen.

Exit codes: 0 done, 2 something the user can mend, 1 our fault, 3 a photo of a folder (or every one) failed,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from importlib.resources import files
from io import TextIOWrapper
from os.path import isdir, lexists
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, ParamSpec

import typer

from nextface import __version__
from nextface.config import Config
from nextface.errors import ConfigError, Interrupted, NextFaceError, PhotoError
from nextface.system.interrupts import endings_as_interrupts
from nextface.system.paths import given_path
from nextface.system.python import command as command_line
from nextface.system.streams import outlive_readers
from renderers import backends

app = typer.Typer(
    name="nextface",
    help="Reconstruct a relightable 3D face from a photo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

setup = typer.Typer(help="Install optional parts.", no_args_is_help=True)
app.add_typer(setup, name="setup")

P = ParamSpec("P")

SOME_FAILED = 3  # the exit code of a folder in which a photo failed, or all did


def _path(text: str | Path) -> Path:
    """A path of the command line; an empty one, as an unset variable leaves it, is refused."""
    try:
        return given_path(text, "The path")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


Output = Annotated[
    Path,
    typer.Option(
        parser=_path, metavar="FOLDER", help="Folder for results; each photo gets a folder of its name in it."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", parser=_path, metavar="FILE.ini", help="Settings; without it, the defaults."),
]
RendererName = Annotated[str | None, typer.Option(metavar="|".join(backends()), help="The INI key renderer.")]
DeviceName = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="The INI key device.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one INI key; may be given several times."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say more; show the traceback of internal errors.")]


def _exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into messages and exit codes: no traceback for what a user can mend."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except NextFaceError as error:
            typer.echo(str(error) if isinstance(error, Interrupted) else f"Error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted before there was anything to keep.", err=True)
            raise typer.Exit(Interrupted.exit_code) from None
        except typer.Exit:
            raise
        except Exception as error:
            _report_own_fault(error, show=bool(kwargs.get("verbose")))
            raise typer.Exit(1) from None

    return guarded


def _report_own_fault(error: Exception, show: bool) -> None:
    trace = traceback.format_exc()
    typer.echo(f"Internal error: {type(error).__name__}: {error}", err=True)
    typer.echo("This is our fault, not yours.", err=True)
    if show:
        typer.echo(trace, err=True)
        return
    with NamedTemporaryFile(
        "w", prefix="nextface-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as log:
        log.write(f"nextface {__version__}\n{' '.join(sys.argv)}\n\n{trace}")
    typer.echo(f"Please report it with the file {log.name}", err=True)


def _configure(
    file: Path | None,
    overrides: list[str] | None,
    renderer: str | None,
    device: str | None,
    verbose: bool = False,
) -> Config:
    config = (Config.from_file(file) if file else Config()).with_overrides(overrides or [], where="--set")
    for key, value in {"renderer": renderer, "device": device, "verbose": verbose or None}.items():
        if value is not None:
            config = config.with_overrides({key: value}, where=f"--{key}")
    return config


def _run(photo: Path, output: Path, config: Config, **options: Any) -> None:
    """Reconstruct one photo with progress on screen, and print where things are."""
    from nextface.export.claim import our_files
    from nextface.runs.engine import reconstruct
    from nextface.system.progress import on_screen

    progress = on_screen()
    if config.verbose:
        progress.note("\n".join(f"{key} = {value}" for key, value in asdict(config).items()))
    result = reconstruct(photo, output, config, progress=progress, **options)
    folder = result.folder or output
    typer.echo(_summary(folder, result.metrics, our_files(folder)))


def _summary(folder: Path, metrics: Mapping[str, Any], written: Collection[str]) -> str:
    """One screen about a finished run: its time, its quality, and which of the files in the folder it wrote."""
    contents = {
        "render_0.png": "panels: photo, overlay, reconstruction, light, reflectance",
        "mesh0.obj": "the head with this expression, mm (meshNeutral0.obj: without)",
        "diffuseMap_0.png": "albedo (also specularMap_0.png, roughnessMap_0.png)",
        "visibility_0.png": "where the maps were seen, mirrored or filled in",
        "envMap_0.exr": "the light (envMap_0.png: preview)",
        "scene_0.json": "camera, pose, light and coefficients",
        "metrics.json": "figures of this run",
        "checkpoints": "to go on from, with --checkpoint",
    }
    lines = [
        "",
        f"Done in {metrics['seconds']:.0f} s, with at most {metrics['peakMemoryMB']:.0f} MB of memory.",
    ]
    if metrics["psnr"] is not None:
        lines.append(f"The reconstruction matches the photo's skin to {metrics['psnr']:.1f} dB (PSNR).")
    lines += ["", f"Written to {folder}:"]
    names = {name.partition("/")[0] for name in written}
    lines += [f"  {name:<18} {text}" for name, text in contents.items() if name in names]
    return "\n".join(lines)


def _run_folder(folder: Path, output: Path, config: Config, **options: Any) -> None:
    """Reconstruct every photo in a folder, and print what became of them."""
    from nextface.runs.folder_run import reconstruct_folder
    from nextface.system.progress import on_screen

    outcomes = reconstruct_folder(folder, output, config, progress=on_screen(), **options)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        typer.echo(f"Error: {outcome.line()}", err=True)
    typer.echo(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} photos are reconstructed.")
    typer.echo(f"{output / 'index.html'} shows them, {output / 'index.json'} lists them.")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _run_shared(folder: Path, output: Path, config: Config, **options: Any) -> None:
    """Reconstruct one person from a folder of photos, and print where things are."""
    from nextface.export.claim import our_files
    from nextface.runs.engine import reconstruct_shared
    from nextface.system.progress import on_screen

    result = reconstruct_shared(folder, output, config, progress=on_screen(), **options)
    folder = result.folder or output
    typer.echo(_summary(folder, result.metrics, our_files(folder)))


def _source(words: Sequence[Path], option: Path | None) -> Path:
    """What to reconstruct: the word without an option, or --input.

    Raises
    ------
    ConfigError: if there is none, or more than one.
    """
    given = [*words, *([] if option is None else [option])]
    if not given:
        raise ConfigError(f"Which photo? Name a photo or a folder: {command_line('reconstruct', 'PHOTO')}.")
    if len(given) > 1:
        named = ", ".join(map(str, given[:3])) + (", ..." if len(given) > 3 else "")
        raise ConfigError(
            f"One photo or folder at a time, not {named}. Put several photos into a folder: --input DIR."
        )
    return given[0]


def _check_options(
    source: Path, folder: bool, shared: bool, workers: int | None, face: int | None, resumed: bool
) -> None:
    """Refuse options that mean nothing for what is reconstructed.

    Raises
    ------
    ConfigError: naming the option.
    PhotoError: if there is nothing at the path of several photos.
    """
    if not folder and (shared or workers is not None):
        option = "--sharedIdentity" if shared else "--workers"
        if not lexists(source):
            raise PhotoError(f"There is no folder {source}. Check the path and its spelling.")
        raise ConfigError(f"{option} is for several photos: give a folder of photos as --input.")
    if folder and face is not None:
        raise ConfigError("--face is for one photo. In a folder, the largest face of each photo is taken.")
    if shared and workers is not None:
        raise ConfigError("--workers is for photos of different people; photos of one are fitted together.")
    if folder and not shared and resumed:
        raise ConfigError(
            "--checkpoint is for one photo, or with --sharedIdentity. Give that photo alone as --input."
        )


@app.command()
@_exit_codes
def reconstruct(
    photo: Annotated[
        list[Path] | None,
        typer.Argument(parser=_path, metavar="PHOTO|FOLDER", help="The same as --input.", show_default=False),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="PHOTO|FOLDER",
            help="JPEG, PNG, WebP or HEIC with a face in it, or a folder of those.",
        ),
    ] = None,
    output: Output = Path("output"),
    config: ConfigFile = None,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE.json",
            help="Landmarks to use instead of detecting them; for a folder of photos, a folder with NAME.json.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE.png",
            help="Pixels to fit (white) instead of finding the skin; for a folder, a folder with NAME.png.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(parser=_path, metavar="FILE.npz", help="Start from this checkpoint.")
    ] = None,
    skip_stage_1: Annotated[
        bool, typer.Option("--skipStage1", help="Keep the start's pose and expression.")
    ] = False,
    skip_stage_2: Annotated[bool, typer.Option("--skipStage2", help="Skip the statistical stage.")] = False,
    skip_stage_3: Annotated[bool, typer.Option("--skipStage3", help="Skip the refinement of maps.")] = False,
    face: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Which face, counted from 0, largest first.")
    ] = None,
    shared_identity: Annotated[
        bool,
        typer.Option("--sharedIdentity", help="The folder shows one person: fit all photos together."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Photos of the folder to work on at the same time.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Reconstruct the face in a photo, or in every photo of a folder."""
    source = _source(photo or [], input)
    is_folder = isdir(source)  # Path.is_dir fails where a folder above may not be entered
    _check_options(source, is_folder, shared_identity, workers, face, checkpoint is not None)
    skip = {1: skip_stage_1, 2: skip_stage_2, 3: skip_stage_3}
    settings = _configure(config, set_, renderer, device, verbose)
    options: dict[str, Any] = {
        "landmarks": landmarks,
        "mask": mask,
        "skip_stages": frozenset(stage for stage, skipped in skip.items() if skipped),
    }
    if shared_identity:
        _run_shared(source, output, settings, checkpoint=checkpoint, **options)
    elif is_folder:
        _run_folder(source, output, settings, workers=workers or 1, **options)
    else:
        _run(source, output, settings, checkpoint=checkpoint, face=face, **options)


@app.command()
@_exit_codes
def demo(
    output: Output = Path("output"),
    config: ConfigFile = None,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Reconstruct the portrait that comes with the package, into output/astronaut."""
    photo = Path(str(files("nextface") / "data" / "astronaut.png"))
    _run(photo, output, _configure(config, set_, renderer, device, verbose))


@app.command()
@_exit_codes
def doctor() -> None:
    """Say which backends, devices, landmark detectors and face models work here."""
    from nextface.doctor import examine, report

    typer.echo(report(examine()))


@setup.command(name="redner")
@_exit_codes
def setup_redner(
    python: Annotated[
        str, typer.Option(metavar="PATH", help="A Python 3.8; without it, one is looked for, or fetched by uv.")
    ] = "auto",
) -> None:
    """Install the renderer redner, with an old Python of its own, into the user's cache."""
    from renderers.redner.installation import RednerInstallation, set_up
    from renderers.redner.renderer import RednerProcess, try_out

    def draw(environment: RednerInstallation) -> None:
        try_out(RednerProcess(environment.command, environment.packages, threads=1))

    environment, new = set_up(python, draw, typer.echo)
    typer.echo(
        f"redner {'is set up' if new else 'was there already, and works'}: {environment.packages.parent}"
    )


@app.command(name="config")
@_exit_codes
def show_config(
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Print every INI key with its value, unit, range and meaning, as a valid INI file."""
    typer.echo(_configure(config, set_, None, None).describe(), nl=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nextface {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as for standard error: file names may be no text
    outlive_readers()
    with endings_as_interrupts():
        app(prog_name="nextface")
