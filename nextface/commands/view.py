"""`nextface view`: results in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextface.commands.exit_codes import exit_codes
from nextface.commands.options import USER_MODELS, ModelFolder, path


@exit_codes
def view(
    folder: Annotated[
        Path,
        typer.Argument(parser=path, metavar="RESULT_DIR|FOLDER", help="A result folder, or a folder of them."),
    ] = Path("output"),
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser, too.")] = True,
    models: ModelFolder = USER_MODELS,
) -> None:
    """Show results in a browser, from a server that only this machine reaches."""
    import webbrowser

    from nextface.export.report.server import HOST, Results, loopback_server

    with loopback_server(Results(folder, str(models)), port) as serving:
        address = f"http://{HOST}:{serving.server_address[1]}/"
        typer.echo(f"{address} shows {folder}. Ctrl-C ends it.")
        if browser:
            webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
