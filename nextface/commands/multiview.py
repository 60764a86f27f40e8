"""`nextface multiview`: several cameras at one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import (
    CheckpointFile,
    ConfigFile,
    DeviceName,
    LandmarksFolder,
    MaskFolder,
    Output,
    Overrides,
    RendererName,
    SkipStage2,
    SkipStage3,
    Verbose,
    configure,
    path,
)
from nextface.commands.reconstruct import summary


@exit_codes
def multiview(
    folder: Annotated[
        Path, typer.Argument(parser=path, metavar="FOLDER", help="Photos of one person at one moment.")
    ],
    cameras: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="FOLDER|FILE",
            help="What took the photos: a COLMAP model's folder, a transforms.json, or OpenCV's YAML or JSON.",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="mm|cm|m|inch", help="Of the cameras' places; without it, the head's size tells it."
        ),
    ] = None,
    own_light: Annotated[
        bool,
        typer.Option("--ownLight", help="Each photo has a light of its own, as flashes or exposures make it."),
    ] = False,
    output: Output = Path("output"),
    config: ConfigFile = None,
    renderer: RendererName = None,
    device: DeviceName = None,
    set_: Overrides = None,
    landmarks: LandmarksFolder = None,
    mask: MaskFolder = None,
    checkpoint: CheckpointFile = None,
    skip_stage_2: SkipStage2 = False,
    skip_stage_3: SkipStage3 = False,
    verbose: Verbose = False,
) -> None:
    """Reconstruct one person from photos that several cameras took at one moment."""
    from nextface.export.claim import our_files
    from nextface.runs.multiview import reconstruct_moment
    from nextface.system.progress import on_screen

    settings = configure(config, set_, renderer, device, verbose)
    result = reconstruct_moment(
        folder,
        output,
        settings,
        cameras=cameras,
        unit=unit,
        own_light=own_light,
        landmarks=landmarks,
        mask=mask,
        checkpoint=checkpoint,
        skip_stages=frozenset(
            stage for stage, skipped in {2: skip_stage_2, 3: skip_stage_3}.items() if skipped
        ),
        progress=on_screen(),
    )
    written = result.folder or output
    typer.echo(summary(written, result.metrics, our_files(written)))
