"""`nextface batch`: long lists of photos, on many workers."""

from __future__ import annotations

from typing import Annotated

import typer

from nextface.commands.exit_codes import SOME_FAILED, exit_codes
from nextface.commands.options import (
    ConfigFile,
    DeviceName,
    LandmarksFolder,
    MaskFolder,
    Overrides,
    RendererName,
    Verbose,
    configure,
)

GIGABYTE = 1e9


@exit_codes
def batch(
    source: Annotated[
        str, typer.Argument(metavar="LIST|FOLDER", help="Photos: a folder, or a file with a path in each line.")
    ],
    output: Annotated[str, typer.Option(metavar="FOLDER|URL", help="Where results go.")] = "output",
    cluster: Annotated[
        str,
        typer.Option(
            metavar="local|ray|HOST:PORT",
            help="Processes of this machine, a Ray on this machine, or a Ray cluster.",
        ),
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Photos to work on at the same time.")] = 1,
    tries: Annotated[int, typer.Option(min=1, metavar="N", help="Tries of a photo whose worker is lost.")] = 3,
    time_limit: Annotated[
        float | None, typer.Option("--timeLimit", metavar="SECONDS", help="For one try at a photo.")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0, metavar="N", help="Cores for each worker, on Ray.")] = 1.0,
    memory: Annotated[
        float | None, typer.Option(min=0, metavar="GB", help="Memory that each worker needs, on Ray.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, metavar="N", help="GPUs for each worker, on Ray.")] = 0.0,
    config: ConfigFile = None,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
    landmarks: LandmarksFolder = None,
    mask: MaskFolder = None,
    verbose: Verbose = False,
) -> None:
    """Reconstruct every photo of a long list, each another person, on many workers; resumes by itself."""
    from rich.console import Console

    from nextface.batch.batch import reconstruct_batch
    from nextface.batch.ray_workers import Needs
    from nextface.batch.table import Board, shown
    from nextface.system.progress import Silent, on_screen

    console, board = Console(stderr=True), Board(0)
    with shown(board, console):
        outcomes = reconstruct_batch(
            source,
            output,
            configure(config, set_, renderer, device, verbose),
            cluster=cluster,
            workers=workers,
            tries=tries,
            time_limit=time_limit,
            needs=Needs(cpus, None if memory is None else memory * GIGABYTE, gpus),
            landmarks=landmarks,
            mask=mask,
            progress=Silent() if console.is_terminal else on_screen(),
            board=board,
        )
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        typer.echo(f"Error: {outcome.line()}", err=True)
    typer.echo(board.line())
    typer.echo(f"{output}/index.html shows them, {output}/index.json lists them.")
    if failed:
        raise typer.Exit(SOME_FAILED)
