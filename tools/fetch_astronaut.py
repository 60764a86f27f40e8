"""Fetch the demo's portrait that the package ships: Eileen Collins, photographed by NASA (public domain).

    python tools/fetch_astronaut.py

The file is taken, unchanged, from the wheel of the package scikit-image. Its notice is
nextface/data/NOTICE.md.
"""

from __future__ import annotations

from pathlib import Path

from wheel_file import fetch

if __name__ == "__main__":
    fetch(
        "scikit-image==0.26.0",
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        Path(__file__).parents[1] / "nextface" / "data" / "astronaut.png",
    )
