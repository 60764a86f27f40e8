"""The index of a folder of photos: what became of each, for programs (JSON) and for people (HTML)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from nextface.export.files import write_json
from nextface.system.atomic import replacing

INDEX_SCHEMA_VERSION = 1


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
        if self.error is not None:
            return f"{self.photo.name}: {self.status}: {self.error}"
        quality = "" if self.psnr is None else f", {self.psnr:.1f} dB"
        return f"{self.photo.name}: {self.status} in {self.seconds:.0f} s{quality}"


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
    cards = "\n".join(_card(outcome) for outcome in outcomes)
    with replacing(output / "index.html") as temporary:
        temporary.write_text(
            _PAGE.format(title=escape(source.resolve().name), cards=cards), encoding="utf-8", errors="replace"
        )


_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font-family: sans-serif }} img {{ max-width: 100%; display: block }}</style>
<h1>{title}</h1>
{cards}
"""


def _card(outcome: Outcome) -> str:
    """One photo's picture and warnings, with a link to its folder."""
    link = quote(os.fsencode(outcome.folder.name))
    picture = f'<img src="{link}/render_0.png" alt="">' if outcome.status == "done" else ""
    warnings = "".join(f"<br>Warning: {escape(warning)}" for warning in outcome.all_warnings)
    return f'<p><a href="{link}/">{escape(outcome.line())}</a>{warnings}{picture}</p>'
