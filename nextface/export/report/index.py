"""The index of a folder of photos: what became of each, for programs (JSON) and for people (HTML)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nextface.export.files import write_json
from nextface.export.report.templates import filled, own
from nextface.system.atomic import replacing

INDEX_SCHEMA_VERSION = 1
PANELS, REPORT = "render_0.png", "report.html"  # in a result folder


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    photo: Path
    folder: Path  # of its results
    status: str  # "done", "failed", "interrupted", or "waiting" for its turn
    psnr: float | None  # dB
    seconds: float
    error: str | None  # what went wrong, and how to mend it
    warnings: tuple[str, ...] = ()  # of this photo
    renderer_warnings: tuple[str, ...] = ()  # of every photo that the renderer drew

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """What the index tells of it."""
        return (*self.renderer_warnings, *self.warnings)

    def line(self) -> str:
        """The outcome in a line."""
        return f"{self.photo.name}: {self.story()}"

    def story(self) -> str:
        """The outcome in a line, without the photo's name."""
        if self.error is not None:
            return f"{self.status}: {self.error}"
        quality = "" if self.psnr is None else f", {self.psnr:.1f} dB"
        return f"{self.status} in {self.seconds:.0f} s{quality}"


@dataclass(frozen=True)
class Card:
    """One result on an index page."""

    name: str
    line: str
    link: str | None = None  # addresses, relative to the page
    picture: str | None = None
    warnings: tuple[str, ...] = ()


def index_page(title: str, cards: Sequence[Card]) -> str:
    """The page that shows results beside each other, as HTML."""
    return filled("index.html.j2", title=title, cards=cards, style=own("report.css"))


def address(*names: str) -> str:
    """A relative address of a file by the names of the folders to it, whatever these hold."""
    return "/".join(quote(os.fsencode(name)) for name in names)


def write_index(output: Path, source: Path, outcomes: Sequence[Outcome], others: Sequence[Path]) -> None:
    """Write index.json and index.html beside the result folders.

    Parameters
    ----------
    source: the folder of the photos.
    others: files in it that are no photos.
    """
    photos = [
        {
            "photo": outcome.photo.name,
            "folder": outcome.folder.name,
            "status": outcome.status,
            "psnr": outcome.psnr,
            "seconds": outcome.seconds,
            "error": outcome.error,
            "warnings": list(outcome.all_warnings),
        }
        for outcome in outcomes
    ]
    content = {
        "schemaVersion": INDEX_SCHEMA_VERSION,
        "input": str(source),
        "photos": photos,
        "ignored": [path.name for path in others],
    }
    write_json(output / "index.json", content)
    page = index_page(source.resolve().name, [_card(output, outcome) for outcome in outcomes])
    with replacing(output / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _card(output: Path, outcome: Outcome) -> Card:
    """One photo's card in a folder of results: it leads to its report, or where there is none to its folder."""
    name, done = outcome.folder.name, outcome.status == "done"
    report = done and (output / name / REPORT).is_file()
    return Card(
        outcome.photo.name,
        outcome.story(),
        address(name, REPORT) if report else f"{address(name)}/",
        address(name, PANELS) if done else None,
        outcome.all_warnings,
    )
