"""`nextface export`: a result folder into files that engines and other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import USER_MODELS, ModelFolder, path
from nextface.errors import ConfigError
from nextface.export.registry import DEPTHS, RESOLUTIONS, ExportOptions, export_formats


@exit_codes
def export(
    result: Annotated[
        Path,
        typer.Argument(parser=path, metavar="RESULT_DIR", help="A result folder, such as output/me."),
    ],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="|".join(export_formats()),
            help="; ".join(f"{name}: {one.help}" for name, one in export_formats().items())
            + ". Several with commas, or given several times.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="PATH",
            help="A folder, or for one format its file. Without it: the folder export in the result folder.",
        ),
    ] = None,
    photo: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Of several photos, whose expression, pose and light; counted from 0."
        ),
    ] = 0,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="|".join(map(str, RESOLUTIONS)), help="Size of maps in pixels; without it, as fitted."
        ),
    ] = None,
    depth: Annotated[
        str, typer.Option(metavar="|".join(DEPTHS), help="For maps: PNG of 8 or 16 bits, or OpenEXR.")
    ] = DEPTHS[0],
    models: ModelFolder = USER_MODELS,
) -> None:
    """Export a finished result: a mesh with expressions, maps, light, scenes."""
    if resolution is not None and resolution not in RESOLUTIONS:
        raise ConfigError(f"--resolution {resolution}: choose of {', '.join(map(str, RESOLUTIONS))}.")
    if depth not in DEPTHS:
        raise ConfigError(f"--depth {depth}: choose of {', '.join(DEPTHS)}.")
    from nextface.export.saved.result import load_result
    from nextface.runs.exports import EXPORTS, check_formats
    from nextface.runs.exports import export as write

    names = list(dict.fromkeys(name.strip() for words in formats for name in words.split(",")))
    check_formats(names)
    saved = load_result(result, str(models))
    if output is None:
        output = (
            result / EXPORTS
            if len(names) > 1 or export_formats()[names[0]].suffix
            else result / EXPORTS / names[0]
        )
    stem = result.resolve().name
    for written in write(saved.reconstruction, names, output, stem, ExportOptions(photo, resolution, depth)):
        typer.echo(f"Written: {written}")
