"""The `nextface` command: words in, exit codes out, progress on screen."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from nextface import __version__
from nextface.commands.batch import batch
from nextface.commands.convert import convert
from nextface.commands.exit_codes import exit_codes
from nextface.commands.export import export
from nextface.commands.films import animate, relight, replay
from nextface.commands.model import model
from nextface.commands.multiview import multiview
from nextface.commands.options import ConfigFile, Overrides, configure
from nextface.commands.reconstruct import demo, reconstruct
from nextface.commands.track import track
from nextface.commands.view import view
from nextface.system.interrupts import endings_as_interrupts
from nextface.system.streams import outlive_readers

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
app.add_typer(model, name="model")

for command in (reconstruct, demo, multiview, track, batch, view, export, relight, replay, animate, convert):
    app.command()(command)


@app.command()
@exit_codes
def doctor() -> None:
    """Say which backends, devices, landmark detectors and face models work here."""
    from nextface.doctor import examine, report

    typer.echo(report(examine()))


@setup.command(name="redner")
@exit_codes
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
@exit_codes
def show_config(
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Print every INI key with its value, unit, range and meaning, as a valid INI file."""
    typer.echo(configure(config, set_, None, None).describe(), nl=False)


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
