"""Where photos come from and results go: local paths, and URLs that fsspec knows (s3://, gs://, memory://)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nextface.errors import BatchError, MissingPartError, PhotoError
from nextface.photos.folder import SUFFIXES

LARGEST_LIST = 2 * 2**30  # bytes of a list of photos: some tens of millions of lines


def is_remote(place: str) -> bool:
    """Whether a place is a URL that fsspec must open; `file://` is one, too."""
    return "://" in place


def opened(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises
    ------
    MissingPartError: if fsspec, or the package that it needs for such URLs, is not here.
    BatchError: if nothing is known of such URLs.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingPartError(
            f"{place} is opened by fsspec, which is not installed: pip install 'nextface[cluster]'."
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise MissingPartError(f"{place} cannot be opened: {error}.") from None
    except ValueError as error:
        raise BatchError(f"{place} cannot be opened: {error}.") from None
    return system, path


def listed(place: str) -> tuple[list[str], list[str]]:
    """The photos that a place names, and what else lies there: a folder's photos by name, or a list's lines.

    A list is a text file with a path or URL in each line, relative ones from its folder; empty lines and those
    that begin with # are left out, and so is what comes a second time. Whether the photos are there is not
    looked at.

    Raises
    ------
    BatchError: if there is nothing, or no photo in it.
    """
    try:
        files, text = _content(place)
        if files is None:
            return _lines(place, text.decode("utf-8-sig")), []
    except UnicodeDecodeError:
        raise BatchError(
            f"{place} is no list: a list is a text file in UTF-8 with a photo's path in each line. For one "
            f"photo, "
            "use `nextface reconstruct`."
        ) from None
    except OSError as error:
        raise BatchError(f"{place} cannot be read ({error.strerror or error}).") from None
    visible = [name for name in files if not posixpath.basename(name).startswith(".")]
    photos = [name for name in visible if name.lower().endswith(SUFFIXES)]
    if not photos:
        raise BatchError(f"There is no photo in {place}; photos end in {', '.join(SUFFIXES)}.")
    return photos, sorted(set(visible) - set(photos))


def _content(place: str) -> tuple[list[str] | None, bytes]:
    """A folder's files, sorted, or None and a list's text."""
    if not is_remote(place):
        path = Path(place)
        if path.is_dir():
            return sorted(str(one) for one in path.iterdir() if one.is_file()), b""
        if path.stat().st_size > LARGEST_LIST:
            raise BatchError(f"{place} is larger than {LARGEST_LIST // 2**30} GB: split the list.")
        return None, path.read_bytes()
    system, inside = opened(place)
    if not system.isdir(inside):
        return None, system.cat_file(inside)
    found = system.ls(inside, detail=True)
    return sorted(system.unstrip_protocol(one["name"]) for one in found if one["type"] == "file"), b""


def _lines(place: str, text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    named = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    if not named:
        raise BatchError(f"The list {place} names no photo.")
    return [_from_list(place, line) for line in named]


def _from_list(place: str, line: str) -> str:
    """A line's path, which is relative to the list's folder."""
    if is_remote(line) or line.startswith("/"):
        return line
    if is_remote(place):
        return posixpath.join(posixpath.dirname(place), line)
    return str(Path(place).parent / line)


@contextmanager
def fetched(place: str) -> Iterator[Path]:
    """A photo as a file on this machine; a remote one's copy is removed afterwards.

    Raises
    ------
    PhotoError: if there is none.
    OSError: if it cannot be fetched now.
    """
    if not is_remote(place):
        yield Path(place)
        return
    system, path = opened(place)
    with TemporaryDirectory(prefix="nextface-") as folder:
        copy = Path(folder) / posixpath.basename(path)
        try:
            system.get_file(path, str(copy))
        except FileNotFoundError:
            raise PhotoError(f"There is no photo {place}. Check the path and its spelling.") from None
        yield copy


class Output:
    """Where results go: a folder, or a URL. What is written at once is there as a whole, or not at all."""

    def __init__(self, place: str) -> None:
        """Take a place, which need not exist yet."""
        self.place = place
        self.local = None if is_remote(place) else Path(place)
        self._system: Any = None
        self._root = ""
        if self.local is None:
            self._system, self._root = opened(place)

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A folder to write results into: the place's own, or one that is sent there when all is written.

        Raises
        ------
        OSError: if it cannot be sent.
        """
        if self.local is not None:
            yield self.local / name
            return
        with TemporaryDirectory(prefix="nextface-") as scratch:
            folder = Path(scratch) / name
            folder.mkdir(exist_ok=True)  # "." is the place itself
            yield folder
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.name.startswith("."):
                    self._put(file, f"{name}/{file.relative_to(folder).as_posix()}")

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""
        try:
            if self.local is not None:
                return (self.local / name).read_bytes()
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
            return content
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file."""
        if self.local is not None:
            return (self.local / name).is_file()
        return bool(self._system.exists(f"{self._root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file, if there is one.

        Raises
        ------
        OSError: if it cannot be removed.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            if self.local is not None:
                (self.local / name).unlink()
            else:
                self._system.rm_file(f"{self._root}/{name}")

    def _put(self, file: Path, name: str) -> None:
        path = posixpath.normpath(f"{self._root}/{name}")
        self._system.makedirs(posixpath.dirname(path), exist_ok=True)
        self._system.put_file(str(file), path)
