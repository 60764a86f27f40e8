"""One photo of a long list, and what a worker does with it: fetch, see if it is done, do, deliver, record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nextface.batch.places import Output, fetched
from nextface.batch.records import keep, kept_outcome, key_of
from nextface.config import Config
from nextface.errors import NextFaceError
from nextface.export.index import Outcome
from nextface.runs.folder_run import Job, Workplace

DONE_BEFORE = "done before"


@dataclass(frozen=True)
class Item:
    """A photo of the list."""

    place: str  # path or URL
    name: str  # of its result folder
    landmarks: Path | None = None
    mask: Path | None = None

    @property
    def photo(self) -> Path:
        """The photo's name, as a path."""
        return Path(PurePosixPath(self.place).name)


@dataclass(frozen=True)
class Tried:
    """What one try at an item gave."""

    outcome: Outcome
    again: bool = False  # whether another try may end otherwise
    before: bool = False  # whether it was done in an earlier run, or by a worker that was thought lost


class ItemWork:
    """Does items one after another, with one model and one renderer; made on the worker."""

    def __init__(self, config: Config, output: str) -> None:
        self._config, self._output = config, Output(output)
        self._workplace = Workplace(config)

    def __call__(self, job: Item) -> Tried:
        """Do an item; whatever goes wrong with it is told in the outcome."""
        try:
            with fetched(job.place) as photo:
                return self._done(job, photo)
        except NextFaceError as error:
            return Tried(failed(job, str(error)))
        except OSError as error:  # a network or a disk, which may be better the next time
            what = error.strerror or str(error) or type(error).__name__
            return Tried(failed(job, f"{job.place} or its results cannot be moved: {what}"), again=True)

    def close(self) -> None:
        """Release the renderer."""
        self._workplace.close()

    def _done(self, item: Item, photo: Path) -> Tried:
        beside = [file for file in (item.landmarks, item.mask) if file is not None]
        key = key_of(photo, beside, self._config) if photo.is_file() else ""
        if key and (kept := kept_outcome(self._output, item.name, key, item.photo)) is not None:
            return Tried(kept, before=True)
        with self._output.folder(item.name) as folder:
            outcome = self._workplace(Job(photo, folder, item.landmarks, item.mask, frozenset()))
        told = replace(outcome, photo=item.photo, folder=Path(item.name))
        if told.status == "done":
            keep(self._output, item.name, key, told)
        return Tried(told)


def failed(item: Item, error: str, status: str = "failed") -> Outcome:
    """The outcome of an item that came to nothing."""
    return Outcome(item.photo, Path(item.name), status, None, 0.0, error)
