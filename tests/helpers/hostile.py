"""What a table of hostile situations is made of: what somebody does, and what the program must answer.

A situation passes if the program ends in words: no traceback, no crash, never "our fault" (exit code 1), and a
message that names the file or the option. Situations are tried in this process, through the command line or
through the function that reads such a file, so that hundreds of them take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY, settings
from typer.testing import CliRunner

from nextface import cli
from nextface.errors import NextFaceError

QUICK = ["--renderer", "vertex", *settings({**TINY, "threads": 1})]  # words for runs that do not end early


@dataclass(frozen=True)
class Answer:
    """What the program said, and how it ended."""

    code: int
    said: str


@dataclass(frozen=True)
class Situation:
    """One thing that somebody does.

    `act` prepares its files in an empty folder, does it, and returns the answer of `command` or `call`.
    """

    name: str  # in the test's name
    act: Callable[[Path], Answer]
    words: tuple[str, ...]  # that the message must hold; "{folder}" stands for the folder
    code: int = 2


def command(*words: str | Path) -> Answer:
    """The answer of `nextface` with these words after it."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.output)


def call(function: Callable[..., object], *arguments: object, **options: object) -> Answer:
    """The answer of a function that reads what somebody gave; any error that no user could mend is raised."""
    try:
        function(*arguments, **options)
    except NextFaceError as error:
        return Answer(error.exit_code, str(error))
    return Answer(0, "")


def check(situation: Situation, folder: Path) -> None:
    """Try a situation in an empty folder."""
    answer = situation.act(folder)
    for forbidden in ("Traceback", "our fault", "Internal error"):
        assert forbidden not in answer.said, answer.said
    assert answer.code == situation.code, f"ended with {answer.code}: {answer.said}"
    for word in situation.words:
        assert word.format(folder=folder) in answer.said, f"{word!r} is not in: {answer.said}"


def each(situations: Iterable[Situation]) -> pytest.MarkDecorator:
    """Runs a test with every situation of a table, under its name."""
    table = list(situations)
    names = [situation.name for situation in table]
    assert len(set(names)) == len(names), "every situation has a name of its own"
    return pytest.mark.parametrize("situation", table, ids=names)
