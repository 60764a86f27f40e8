"""Words that several commands understand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.config import Config
from nextface.errors import ConfigError
from nextface.system.paths import given_path
from renderers import backends


def path(text: str | Path) -> Path:
    """A path of the command line; an empty one, as an unset variable leaves it, is refused."""
    try:
        return given_path(text, "The path")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


ModelFolder = Annotated[
    Path,
    typer.Option(
        "--models", parser=path, metavar="FOLDER", help="Where face models that you obtain yourself are."
    ),
]
USER_MODELS = Path(Config().path)
Output = Annotated[
    Path,
    typer.Option(
        parser=path, metavar="FOLDER", help="Folder for results; each photo gets a folder of its name in it."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", parser=path, metavar="FILE.ini", help="Settings; without it, the defaults."),
]
RendererName = Annotated[str | None, typer.Option(metavar="|".join(backends()), help="The INI key renderer.")]
DeviceName = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="The INI key device.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one INI key; may be given several times."),
]
LandmarksFolder = Annotated[
    Path | None,
    typer.Option(parser=path, metavar="FOLDER", help="NAME.json for photos whose landmarks are given."),
]
MaskFolder = Annotated[
    Path | None,
    typer.Option(parser=path, metavar="FOLDER", help="NAME.png for photos whose skin (white) is given."),
]
CheckpointFile = Annotated[
    Path | None, typer.Option(parser=path, metavar="FILE.npz", help="Start from this checkpoint.")
]
SkipStage2 = Annotated[bool, typer.Option("--skipStage2", help="Skip the statistical stage.")]
SkipStage3 = Annotated[bool, typer.Option("--skipStage3", help="Skip the refinement of maps.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say more; show the traceback of internal errors.")]


def configure(
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
