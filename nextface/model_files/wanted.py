"""Files that a face model's owner gives to each user: where they must lie, and what to say if they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextface.errors import MissingPartError, ModelError

LISTED = 8  # names of what lies in a folder that an error tells


@dataclass(frozen=True)
class Wanted:
    """A file or folder that a face model reads."""

    names: tuple[str, ...]  # any of these will do, by preference; relative to the folder of the user's files
    what: str  # "the Basel Face Model 2017, cropped to the face"
    source: str  # where to get it, and which form to fill in

    def find(self, folder: str) -> Path | None:
        """The first of the names that is there, or None."""
        return next((path for name in self.names if (path := Path(folder) / name).exists()), None)

    def wrong(self, model: str, path: Path, found: str) -> ModelError:
        """The error for a file that is there and not what it should be; `found` goes on from "it ..."."""
        return ModelError(
            f"morphableModel = {model}: {path} is not {self.what}: it {found}. Get it again from "
            f"{self.source}, unpack it if it is packed, and put it in the same place."
        )


def found_or_advice(model: str, folder: str, wanted: Sequence[Wanted]) -> list[Path]:
    """Where all of these files lie.

    Raises
    ------
    MissingPartError: one is not there; it says which, where to get it, where to put it, and what is there.
    """
    paths = [one.find(folder) for one in wanted]
    missing = [one for one, path in zip(wanted, paths, strict=True) if path is None]
    if not missing:
        return [path for path in paths if path is not None]
    lines = [f"morphableModel = {model} needs what its owners give to each user:"]
    lines += [f"- {' or '.join(one.names)}: {one.what}, from {one.source}" for one in missing]
    lines.append(f"Put {'it' if len(missing) == 1 else 'them'} into the folder {folder}/ (INI key path).")
    lines.append(_what_is_there(Path(folder)))
    lines.append("Without it, use morphableModel = open, which needs nothing.")
    raise MissingPartError("\n".join(lines))


def _what_is_there(folder: Path) -> str:
    try:
        names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    except FileNotFoundError:
        return f"There is no folder {folder} here ({Path.cwd()})."
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})."
    names = [name for name in names if name != "README.md"]
    if not names:
        return "That folder is empty."
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"What lies there now: {', '.join(names[:LISTED])}{more}."
