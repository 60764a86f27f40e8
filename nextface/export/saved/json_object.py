"""A JSON file of a result folder, which may be damaged, cut down or anybody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nextface.errors import ResultError

AGAIN = "Make the result again with `nextface reconstruct`; --checkpoint saves the fitting."


def read_json_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """The entries of a JSON file that holds one object.

    Raises
    ------
    ResultError: if it cannot be read, is larger than `most_bytes`, is no JSON, or holds anything else.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise ResultError(
                f"{path} is larger than {most_bytes >> 20} MB: no run writes so much there. {AGAIN}"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} is damaged ({error}). {AGAIN}") from None
    if not isinstance(content, dict):
        raise ResultError(f"{path} is damaged: it holds no entries. {AGAIN}")
    return content
