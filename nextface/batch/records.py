"""What was done already, by the content of photos and the settings: so that nothing is done twice.

Beside the results, in `.batch/`, each photo that is done has a record of its own, which is written after all of
its results. It tells a key: a hash of the photo's bytes, of what belongs to it, of the settings that matter,
and of the program's version. Before a photo is done anew its record goes: what a run that is killed leaves
behind, between an earlier run's results, has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextface.batch.places import Output
from nextface.config import Config
from nextface.export.files import write_json
from nextface.export.report.index import Outcome
from nextface.system.versions import versions

FOLDER = ".batch"
SCHEMA_VERSION = 1
IMMATERIAL = ("threads", "verbose", "device")  # settings that say how, and not what
PROOF = "metrics.json"  # what a run writes last


def key_of(photo: Path, beside: Sequence[Path], config: Config) -> str:
    """The key of a photo's results.

    Parameters
    ----------
    beside: further files that they are made of: landmarks, mask.

    Raises
    ------
    OSError: if one cannot be read.
    """
    settings = {name: value for name, value in asdict(config).items() if name not in IMMATERIAL}
    digest = hashlib.sha256(json.dumps([versions().get("nextface"), settings], sort_keys=True).encode())
    for file in (photo, *beside):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def kept_outcome(output: Output, name: str, key: str, photo: Path) -> Outcome | None:
    """What became of a photo in an earlier run; None where that is to be done (again)."""
    stored = output.read(f"{FOLDER}/{name}.json")
    if stored is None or not output.exists(f"{name}/{PROOF}"):
        return None
    try:
        record: dict[str, Any] = json.loads(stored)
        if record["key"] != key or record["schemaVersion"] != SCHEMA_VERSION:
            return None
        psnr, seconds = record["psnr"], float(record["seconds"])
        warnings, of_renderer = tuple(map(str, record["warnings"])), tuple(map(str, record["rendererWarnings"]))
        return Outcome(
            photo,
            Path(name),
            "done",
            None if psnr is None else float(psnr),
            seconds,
            None,
            warnings,
            of_renderer,
        )
    except (ValueError, KeyError, TypeError):
        return None  # damaged: it is done again


def forget(output: Output, name: str) -> None:
    """Remove a photo's record, before its results are written over.

    Raises
    ------
    OSError: if it cannot be removed.
    """
    output.remove(f"{FOLDER}/{name}.json")


def keep(output: Output, name: str, key: str, outcome: Outcome) -> None:
    """Write the record of a photo that is done, after its results.

    Raises
    ------
    OutputError, OSError: if it cannot be written.
    """
    with output.folder(FOLDER) as folder:
        write_json(
            folder / f"{name}.json",
            {
                "schemaVersion": SCHEMA_VERSION,
                "key": key,
                "psnr": outcome.psnr,
                "seconds": outcome.seconds,
                "warnings": list(outcome.warnings),
                "rendererWarnings": list(outcome.renderer_warnings),
            },
        )
