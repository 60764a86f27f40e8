"""`nextface model`: face models looked at and fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import USER_MODELS, ModelFolder, path
from nextface.errors import ConfigError, FetchError
from nextface.models.registry import face_models

if TYPE_CHECKING:
    from nextface.model_files.offer import Offer

model = typer.Typer(help="Look at face models; fetch those that are free.", no_args_is_help=True)


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


@model.command()
@exit_codes
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="|".join(name for name, entry in face_models().items() if entry.offer),
            help="The INI key morphableModel.",
        ),
    ],
    models: ModelFolder = USER_MODELS,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the licence without being asked.")] = False,
) -> None:
    """Fetch a face model that anybody may have, once you have seen its licence and agreed."""
    offer = _offer(name)
    licence, source = offer.licence, offer.source
    typer.echo(
        f"{offer.what}: {licence.name}, {licence.holder}.\n{licence.terms}\nIts text: {licence.source}\n"
    )
    typer.echo(f"To be fetched: {source.described}, into {models}/.")
    if not (yes or _agreed()):
        raise FetchError("Nothing was fetched. Answer y, or give --yes, to agree to the licence and fetch it.")
    try:
        place = source.fetch(models, typer.echo)
    except FetchError as error:
        raise FetchError(f"{error}\nBy hand: {source.by_hand}, and put it into {models}/.") from None
    typer.echo(f"It lies in {place}. Next: nextface model show {name}")


def _offer(name: str) -> Offer:
    """What may be fetched of a face model.

    Raises
    ------
    ConfigError: no model has this name.
    FetchError: nobody may fetch it for you.
    """
    entry = face_models().get(name)
    if entry is None:
        raise ConfigError(f"No face model is named {name}; choose one of: {', '.join(face_models())}.")
    if entry.offer is None:
        raise FetchError(
            f"{name} cannot be fetched: {entry.help}. docs/models.md leads from download to result."
        )
    offer: Offer = entry.offer()
    return offer


def _agreed() -> bool:
    try:
        return typer.confirm("Do you agree, and shall it be fetched?")
    except typer.Abort:  # there is nobody to ask
        typer.echo()
        return False
