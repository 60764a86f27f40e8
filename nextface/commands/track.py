"""`nextface track`: a film in, what one person does in it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import (
    ConfigFile,
    DeviceName,
    Output,
    Overrides,
    RendererName,
    Verbose,
    configure,
    path,
)

CONTENTS = {
    "overlay.mp4": "the fit over the film (side_by_side.mp4: beside it)",
    "track.npz": "pose, expression, gaze, light and confidence of every frame, and the person",
    "curves.csv": "expressions by name, and the head's turn",
    "head.glb": "the head with its expressions, animated, for engines and web pages",
    "transforms.json": "the camera of every frame around the head",
    "person": "the person, as of photos: maps, mesh, checkpoints",
}


@exit_codes
def track(
    video: Annotated[Path, typer.Argument(parser=path, metavar="VIDEO", help="A film that FFmpeg reads.")],
    output: Output = Path("output"),
    config: ConfigFile = None,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
    face: Annotated[
        int, typer.Option(min=0, metavar="N", help="Which face to follow, counted from 0, largest first.")
    ] = 0,
    films: Annotated[bool, typer.Option(help="Draw the fit over the film, and beside it.")] = True,
    meshes: Annotated[bool, typer.Option("--meshes", help="Also write every frame's head as a mesh.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also write every frame as a picture, for transforms.json.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Follow one face through a film: pose, expression, gaze and light of every frame."""
    from nextface.runs.film.engine import track as follow
    from nextface.system.progress import on_screen

    settings = configure(config, set_, renderer, device, verbose)
    folder = follow(
        video, output, settings, face=face, films=films, meshes=meshes, pictures=pictures, progress=on_screen()
    )
    typer.echo(f"\nWritten to {folder}:")
    for name, text in CONTENTS.items():
        if (folder / name).exists():
            typer.echo(f"  {name:<18} {text}")
