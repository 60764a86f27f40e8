"""Folders of photos: which files are photos, what belongs to each, and where each one's results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextface.errors import ConfigError, PhotoError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif")
INDEX_FILES = ("index.json", "index.html")  # beside the result folders, whose names they must not take


@dataclass(frozen=True)
class PhotoFolder:
    """What lies in a folder."""

    photos: tuple[Path, ...]  # sorted by name
    others: tuple[Path, ...]  # files that are no photos; hidden files and folders are not mentioned
    unreachable: tuple[Path, ...] = ()  # links that lead nowhere, and what may not be looked at

    @property
    def note(self) -> str:
        """What was ignored, in a line; empty where there was nothing."""
        kinds = {"they are no photos": self.others, "they lead nowhere": self.unreachable}
        parts = [
            f"for {why}: {', '.join(path.name for path in paths)}" for why, paths in kinds.items() if paths
        ]
        return f"Ignored, {'; '.join(parts)}" if parts else ""


def find_photos(folder: Path) -> PhotoFolder:
    """The photos in a folder, by the endings of their names; folders in it are not searched.

    Raises
    ------
    PhotoError: if the folder cannot be read or holds no photo.
    """
    try:
        listed = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise PhotoError(f"The folder {folder} cannot be read ({error.strerror}).") from None
    shown = [path for path in listed if not path.name.startswith(".")]
    unreachable = tuple(path for path in shown if not os.path.exists(path))
    files = [path for path in shown if os.path.isfile(path)]
    photos = tuple(path for path in files if path.suffix.lower() in SUFFIXES)
    if not photos:
        names = ", ".join(path.name for path in unreachable)
        raise PhotoError(
            f"There is no photo in the folder {folder}; photos end in {', '.join(SUFFIXES)}."
            + (f" These lead nowhere, or may not be looked at: {names}." if names else "")
        )
    return PhotoFolder(photos, tuple(path for path in files if path not in photos), unreachable)


LONGEST_NAME = 200  # bytes of a result folder's name; file systems take 255, and endings and numbers come to it


def safe_name(name: str, otherwise: str) -> str:
    """A name for a folder of results that leads nowhere else and that file systems take.

    Dots and spaces at its end go, for `..` is the folder above, and some systems drop them; very long names are
    cut. `otherwise` is taken where nothing is left.
    """
    coded = os.fsencode(name.rstrip(". ") or otherwise)
    return os.fsdecode(coded) if len(coded) <= LONGEST_NAME else coded[:LONGEST_NAME].decode(errors="ignore")


def result_name(photo: Path) -> str:
    """The name of a photo's result folder: the photo's without its ending."""
    return safe_name(photo.stem, "photo")


def result_names(photos: Sequence[Path]) -> list[str]:
    """A name for each photo's result folder, all distinct, on file systems that ignore case as well.

    A photo's `result_name`; with the ending (a_jpg, a_png) where several photos share that; with a number where
    even that is taken.
    """
    stems = Counter(result_name(photo).casefold() for photo in photos)
    taken = {name.casefold() for name in INDEX_FILES}
    # Photos that keep their plain names choose first.
    taken |= {stem for stem, count in stems.items() if count == 1}
    names = []
    for photo in photos:
        plain = result_name(photo)
        if stems[plain.casefold()] == 1 and plain.casefold() not in INDEX_FILES:
            names.append(plain)
            continue
        base = name = f"{plain}_{photo.suffix[1:]}"
        number = 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def sidecar(folder: Path | None, photo: Path, suffix: str, option: str) -> Path | None:
    """The file that goes with a photo in a folder of landmarks or masks; None where the folder has none for it.

    Raises
    ------
    ConfigError: if there is no such folder.
    """
    if folder is None:
        return None
    if not os.path.isdir(folder):
        wrong = "there is no such folder" if not os.path.lexists(folder) else "this is no folder"
        raise ConfigError(
            f"{option} {folder}: {wrong}. For several photos, name one with NAME{suffix} for NAME.jpg."
        )
    path = folder / f"{photo.stem}{suffix}"
    return path if os.path.isfile(path) else None
