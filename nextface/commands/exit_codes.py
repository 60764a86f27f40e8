"""Errors become messages and exit codes.

Exit codes: 0 done, 2 something the user can mend, 1 our fault, 3 a photo of a folder (or every one) failed,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from tempfile import NamedTemporaryFile
from typing import ParamSpec

import typer

from nextface import __version__
from nextface.errors import Interrupted, NextFaceError

P = ParamSpec("P")

SOME_FAILED = 3  # the exit code of a folder in which a photo failed, or all did


def exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into messages and exit codes: no traceback for what a user can mend."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except NextFaceError as error:
            typer.echo(str(error) if isinstance(error, Interrupted) else f"Error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted before there was anything to keep.", err=True)
            raise typer.Exit(Interrupted.exit_code) from None
        except typer.Exit:
            raise
        except Exception as error:
            _report_own_fault(error, show=bool(kwargs.get("verbose")))
            raise typer.Exit(1) from None

    return guarded


def _report_own_fault(error: Exception, show: bool) -> None:
    trace = traceback.format_exc()
    typer.echo(f"Internal error: {type(error).__name__}: {error}", err=True)
    typer.echo("This is our fault, not yours.", err=True)
    if show:
        typer.echo(trace, err=True)
        return
    with NamedTemporaryFile(
        "w", prefix="nextface-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as log:
        log.write(f"nextface {__version__}\n{' '.join(sys.argv)}\n\n{trace}")
    typer.echo(f"Please report it with the file {log.name}", err=True)
