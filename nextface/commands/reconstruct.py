"""`nextface reconstruct` and `nextface demo`: photos in, result folders out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from os.path import isdir, lexists
from pathlib import Path
from typing import Annotated, Any

import typer

from nextface.commands.exit_codes import SOME_FAILED, exit_codes
from nextface.commands.options import (
    CheckpointFile,
    ConfigFile,
    DeviceName,
    Output,
    Overrides,
    RendererName,
    SkipStage2,
    SkipStage3,
    Verbose,
    configure,
    path,
)
from nextface.config import Config
from nextface.errors import ConfigError, PhotoError
from nextface.system.python import command as command_line


def _run(photo: Path, output: Path, config: Config, **options: Any) -> Path:
    """Reconstruct one photo with progress on screen, and print where things are; returns the result folder."""
    from nextface.export.claim import our_files
    from nextface.runs.engine import reconstruct
    from nextface.system.progress import on_screen

    progress = on_screen()
    if config.verbose:
        progress.note("\n".join(f"{key} = {value}" for key, value in asdict(config).items()))
    result = reconstruct(photo, output, config, progress=progress, **options)
    folder = result.folder or output
    typer.echo(summary(folder, result.metrics, our_files(folder)))
    return folder


def summary(folder: Path, metrics: Mapping[str, Any], written: Collection[str]) -> str:
    """One screen about a finished run: its time, its quality, and which of the files in the folder it wrote."""
    contents = {
        "report.html": "all of it to look at, and the head in 3D: open it in a browser",
        "render_0.png": "panels: photo, overlay, reconstruction, light, reflectance",
        "mesh0.obj": "the head with this expression, mm (meshNeutral0.obj: without)",
        "diffuseMap_0.png": "albedo (also specularMap_0.png, roughnessMap_0.png)",
        "visibility_0.png": "where the maps were seen, mirrored or filled in",
        "envMap_0.exr": "the light (envMap_0.png: preview)",
        "scene_0.json": "camera, pose, light and coefficients",
        "cameras": "where the cameras stand around the head: transforms.json, and colmap",
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
    typer.echo(summary(folder, result.metrics, our_files(folder)))


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


@exit_codes
def reconstruct(
    photo: Annotated[
        list[Path] | None,
        typer.Argument(parser=path, metavar="PHOTO|FOLDER", help="The same as --input.", show_default=False),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            parser=path,
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
            parser=path,
            metavar="FILE.json",
            help="Landmarks to use instead of detecting them; for a folder of photos, a folder with NAME.json.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="FILE.png",
            help="Pixels to fit (white) instead of finding the skin; for a folder, a folder with NAME.png.",
        ),
    ] = None,
    checkpoint: CheckpointFile = None,
    skip_stage_1: Annotated[
        bool, typer.Option("--skipStage1", help="Keep the start's pose and expression.")
    ] = False,
    skip_stage_2: SkipStage2 = False,
    skip_stage_3: SkipStage3 = False,
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
    settings = configure(config, set_, renderer, device, verbose)
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


@exit_codes
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
    settings = configure(config, set_, renderer, device, verbose)
    folder = _run(photo, output, settings)
    if settings.report:
        typer.echo(f"\nLook at it: open {folder / 'report.html'} in a browser.")
