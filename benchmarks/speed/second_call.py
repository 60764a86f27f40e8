"""Reconstruct a photo twice in one process, and print what the second time used, as JSON.

    python -m benchmarks.speed.second_call PHOTO FOLDER [KEY=VALUE ...]

Everything that a process loads or compiles once is there the second time. `benchmarks.speed` runs this.
"""

from __future__ import annotations

import json
import sys

from nextface.config import Config
from nextface.runs.engine import reconstruct
from nextface.system.usage import Usage


def main() -> None:
    """Reconstruct, again, and say."""
    photo, folder, *settings = sys.argv[1:]
    config = Config().with_overrides(settings)
    reconstruct(photo, folder, config)
    start = Usage.now()
    reconstruct(photo, folder, config)
    used = Usage.now().since(start)
    print(json.dumps({"seconds": used.seconds, "cpuSeconds": used.cpu_seconds}))


if __name__ == "__main__":
    main()
