"""What a worker does with an item: fetch it, see if it is done, do it, deliver it, and record it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextface.batch.item import Item, Tried, failed
from nextface.batch.places import Output, fetched
from nextface.batch.records import forget, keep, kept_outcome, key_of
from nextface.config import Config
from nextface.errors import NextFaceError
from nextface.runs.folder_run import Job, Workplace


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
        forget(self._output, item.name)
        with self._output.folder(item.name) as folder:
            outcome = self._workplace(Job(photo, folder, item.landmarks, item.mask, frozenset()))
        told = replace(outcome, photo=item.photo, folder=Path(item.name))
        if told.status == "done":
            keep(self._output, item.name, key, told)
        return Tried(told)
