"""Find the LLVM library that Mitsuba's CPU variants compile with: version 17 or newer, tried before use."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nextface.errors import MissingPartError
from nextface.system.python import pip_install
from renderers.mitsuba.probe import probe

MINIMUM_VERSION = 17
VARIABLE = "DRJIT_LIBLLVM_PATH"  # the environment variable that Dr.Jit reads

ADVICE = (
    "Mitsuba needs LLVM 17 or newer to run on a CPU. Install it with one of\n"
    f"  {pip_install('--no-deps', 'tadashi==0.5.1')}      (no root needed; Linux x86-64)\n"
    "  sudo apt-get install libllvm19            (Debian 12 or newer, Ubuntu 24.04 or newer)\n"
    f"or set {VARIABLE} to a libLLVM that is already here. `renderer = vertex` needs none."
)

_FOLDERS = (
    "/usr/lib/*-linux-gnu",
    "/usr/lib/llvm-*/lib",
    "/usr/lib64",
    "/usr/lib64/llvm*/lib*",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/opt/llvm/lib",
    "/opt/homebrew/opt/llvm/lib",
)


@dataclass(frozen=True)
class Library:
    """A libLLVM that passed its trial run."""

    path: Path
    version: str  # "17.0.6"
    preloads: tuple[Path, ...]  # libraries to load before it


def find_llvm() -> Library:
    """The best libLLVM of this machine.

    Looks at the environment variable, then in the system's folders (newest first), then at the copy inside
    the `tadashi` wheel. Each candidate is tried in a process of its own, once: the verdict is remembered.

    Raises
    ------
    MissingPartError: when there is none, naming what was found and what to install.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return _chosen_by_user(Path(chosen))
    rejected = []
    for path, preloads in _candidates():
        verdict = probe("llvm_ad_rgb", path, preloads)
        if verdict.works:
            return Library(path, verdict.version, preloads)
        rejected.append(f"  {path}: {verdict.reason}")
    found = "Found but not usable:\n" + "\n".join(rejected) + "\n" if rejected else ""
    raise MissingPartError(found + ADVICE)


@contextmanager
def chosen_llvm() -> Iterator[Library]:
    """Find libLLVM and make Dr.Jit load it where an LLVM variant is first used in this process: in the block.

    Raises
    ------
    MissingPartError: as `find_llvm`.
    """
    library = find_llvm()
    for path in library.preloads:
        ctypes.CDLL(str(path))
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(library.path)
    try:
        yield library
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _chosen_by_user(path: Path) -> Library:
    if not path.is_file():
        raise MissingPartError(f"{VARIABLE} names {path}, which is not a file; correct or unset it.\n{ADVICE}")
    preloads = _bundled_dependencies(path.parent)
    verdict = probe("llvm_ad_rgb", path, preloads)
    if not verdict.works:
        raise MissingPartError(f"{VARIABLE} names {path}, which is not usable: {verdict.reason}.\n{ADVICE}")
    return Library(path, verdict.version, preloads)


def _candidates() -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Libraries worth a trial run, and what each needs loaded first."""
    folders = [Path(sys.prefix) / "lib"]
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")))
    ranked: dict[Path, int] = {}
    for folder in folders:
        for path in [*folder.glob("libLLVM[-.]*"), *folder.glob("libLLVM*.dylib")]:
            name_version = _version_in_name(path)
            if path.is_file() and (name_version is None or name_version >= MINIMUM_VERSION):
                ranked.setdefault(path.resolve(), name_version or 0)
    for path in sorted(ranked, key=lambda path: ranked[path], reverse=True):
        yield path, ()
    spec = importlib.util.find_spec("tadashi")
    if spec is not None and spec.origin is not None:
        bundle = Path(spec.origin).parent.parent / "tadashi.libs"
        for path in sorted(bundle.glob("libLLVM*")):
            yield path, _bundled_dependencies(bundle)


def _version_in_name(path: Path) -> int | None:
    """The major version that a resolved file name tells: libLLVM-17.so.1, libLLVM.so.19.1."""
    match = re.match(r"libLLVM(?:-|\.so\.)(\d+)", path.resolve().name)
    return int(match[1]) if match else None


def _bundled_dependencies(folder: Path) -> tuple[Path, ...]:
    """Libraries that a wheel carries beside its libLLVM, which has no run path to find them by."""
    if folder.name != "tadashi.libs":
        return ()
    return (*sorted(folder.glob("libffi*")), *sorted(folder.glob("libtinfo*")))
