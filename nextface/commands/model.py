"""`nextface model`: face models looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import USER_MODELS, ModelFolder, path
from nextface.models.registry import face_models

model = typer.Typer(help="Look at face models.", no_args_is_help=True)


@model.command()
@exit_codes
def show(
    name: Annotated[str, typer.Argument(metavar="|".join(face_models()), help="The INI key morphableModel.")],
    output: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="FILE.png", help="The picture; without it, model_NAME.png here."),
    ] = None,
    models: ModelFolder = USER_MODELS,
) -> None:
    """Draw a face model: mean, first modes, regions, landmarks, UVs, joints. Check it by eye before a run."""
    from nextface.completion.completed_head import CompletedHead
    from nextface.completion.completing import load_face_model
    from nextface.completion.drawing import draw_plainly
    from nextface.completion.picture import write_model_picture

    shown = load_face_model(name, "cpu", str(models))
    notes = [
        f"{shown.identity_size} identity, {len(shown.expression_names)} expression, {shown.albedo_size} albedo"
    ]
    if isinstance(shown, CompletedHead):
        notes += [f"from the embedded head: {', '.join(shown.carried)}"] if shown.carried else []
        notes += [f"lacks {', '.join(shown.lacks)}"] if shown.lacks else []
    file = output or Path(f"model_{name}.png")
    write_model_picture(shown, draw_plainly, file, "; ".join(notes))
    typer.echo("\n".join([*notes, f"Written: {file}"]))
