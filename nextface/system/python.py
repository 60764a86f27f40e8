"""How Python is started, for children and in messages: as this program was, and never from the current folder.

Python looks for modules in the current folder first when it is started with `-c` or `-m`. A photo folder may
hold a `random.py` of any kind.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = Path(__file__).parent.parent.parent  # the folder that holds this package

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "


def child(code: str, *arguments: str | Path) -> list[str]:
    """The command that runs code in a Python which finds the modules that this one finds, and no others.

    The child is isolated (`-I`): it looks neither into the current folder nor at variables of the environment.
    Its search path is told to it when it has started.

    Parameters
    ----------
    code: Python, in one line or more.
    arguments: what it finds in `sys.argv[1:]`.
    """
    paths = [path for path in sys.path if path]  # an empty one is the current folder
    if str(_PACKAGES) not in paths:
        paths.append(str(_PACKAGES))
    names = ["-X", "utf8"] if sys.getfilesystemencoding() == "utf-8" else []  # of files, as they are here
    return [sys.executable, "-I", *names, "-c", _START + code, json.dumps(paths), *map(str, arguments)]


def module(name: str, *arguments: str | Path) -> list[str]:
    """The command that runs a module as a program in a `child`."""
    return child(f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)", *arguments)


def program() -> list[str]:
    """The words that run the command `nextface` here, as its user called it where it was called."""
    called = Path(sys.argv[0])
    if called.stem in ("nextface", "nextface-script") and called.is_file():
        return ["nextface"] if _is_on_path("nextface", called) else [str(called)]
    by_module = called == Path(__file__).parent.parent / "__main__.py"
    script = Path(sysconfig.get_path("scripts")) / ("nextface.exe" if os.name == "nt" else "nextface")
    if script.is_file() and not by_module:
        return ["nextface"] if _is_on_path("nextface", script) else [str(script)]
    return [*_python(), "-m", "nextface"]


def command(*words: str) -> str:
    """A line that runs the command `nextface` with some words, for messages."""
    return shell_line([*program(), *words])


def shell_line(words: Iterable[str]) -> str:
    """A line that gives a shell these very words, file names included that are no text.

    Bytes of a name that cannot be decoded are characters that no terminal shows. They are written as `$'...'`,
    which Bash, Zsh and POSIX's shells of 2024 read.
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not any("\ud800" <= character <= "\udfff" for character in word):
        return shlex.quote(word)
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"


def pip_install(*words: str) -> str:
    """A line that installs packages for this very Python, for messages."""
    if find_spec("pip") is None:
        return shell_line(["uv", "pip", "install", "--python", sys.executable, *words])
    script = Path(sysconfig.get_path("scripts")) / ("pip.exe" if os.name == "nt" else "pip")
    pip = ["pip"] if _is_on_path("pip", script) else [*_python(), "-m", "pip"]
    return shell_line([*pip, "install", *words])


def _python() -> list[str]:
    """This Python as it was called, with the option that keeps the current folder out unless we are there."""
    called = sys.orig_argv[0] if sys.orig_argv else sys.executable
    words = [called if shutil.which(called) else sys.executable]
    if sys.flags.isolated:
        return [*words, "-I"]
    if sys.version_info < (3, 11) or Path.cwd() == _PACKAGES:
        return words
    return [*words, "-P"]


def _is_on_path(name: str, script: Path) -> bool:
    """Whether a name alone runs a script."""
    found = shutil.which(name)
    return found is not None and script.exists() and os.path.samefile(found, script)
