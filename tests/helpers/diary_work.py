"""Items for workers of a batch that need no face: in a module of their own, so that workers start quickly."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nextface.batch.item import Item, Tried
from nextface.export.report.index import Outcome


class Diary:
    """Does an item by writing a line about it, after a moment in which it may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job: Item) -> Tried:
        (self.folder / f"{os.getpid()}.pid").touch()
        if job.name == "hangs":
            time.sleep(60)
        time.sleep(0.3)
        done = self.folder / job.name
        before = done.exists()
        with done.open("a") as diary:
            diary.write("done\n")
        (self.folder / f"{os.getpid()}.pid").unlink()
        return Tried(Outcome(job.photo, Path(job.name), "done", None, 0.0, None), before=before)

    def close(self) -> None:
        """It holds nothing."""
