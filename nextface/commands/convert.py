"""`nextface convert`: a finished face in another face model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import USER_MODELS, ModelFolder, path
from nextface.models.registry import face_models


@exit_codes
def convert(
    result: Annotated[
        Path,
        typer.Argument(parser=path, metavar="RESULT_DIR", help="A result folder, such as output/me."),
    ],
    to: Annotated[str, typer.Option(metavar="|".join(face_models()), help="The other face model.")],
    output: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="FOLDER", help="Without it: convert/NAME in the result folder."),
    ] = None,
    models: ModelFolder = USER_MODELS,
) -> None:
    """Find a finished face's coefficients in another face model, and write its mesh there."""
    from nextface.completion.completing import load_face_model
    from nextface.export.converted_face import write_converted
    from nextface.export.saved.result import load_result

    saved = load_result(result, str(models))
    other = load_face_model(to, "cpu", str(models))
    folder = output or result / "convert" / to
    for line in write_converted(saved.reconstruction, other, folder):
        typer.echo(line)
    typer.echo(f"Written: {folder}")
