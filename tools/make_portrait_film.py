#!/usr/bin/env python3
"""Make the film through which tests follow a face: the bundled portrait's fitted head, before the portrait.

    .venv/bin/python tools/make_portrait_film.py [RESULT_DIR]

Without a result folder, the portrait is reconstructed first, with the default settings. Into
tests/data/portrait_film/ go film.mp4, in which the head turns from one side to the other, then the picture is
dark, then the head is back and speaks; and truth.json with what is true in each frame.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import renderers
from nextface import reconstruct
from nextface.export.films.moves import resized, with_expression, with_head_turned
from nextface.export.pictures import encode
from nextface.export.saved.result import SavedResult, load_result
from nextface.videos.film import written

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "nextface" / "data" / "astronaut.png"
FOLDER = ROOT / "tests" / "data" / "portrait_film"
SIDE = 128  # pixels
SAMPLES = 256
RATE = 15  # frames a second
TURNS = (-10.0, -6.0, -2.0, 2.0, 6.0, None, None, 12.0, 15.0, 18.0)  # degrees to the head's left; None: dark
JAW = (0.0, 0.0, 0.0, 0.0, 0.0, None, None, 0.15, 0.3, 0.45)  # jawOpen beyond the portrait's
DARK = 12  # of 255


@torch.no_grad()
def main() -> None:
    """Make the film and its truth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else reconstruct(PORTRAIT, name).folder
        assert folder is not None, "a run that ended well has written its folder"
        frames = pictures(load_result(folder))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with written(FOLDER / "film.mp4", (SIDE, SIDE)) as film:
        for number, frame in enumerate(frames):
            film.add(frame, number / RATE)
    (FOLDER / "truth.json").write_text(json.dumps({"turns": TURNS, "jawOpen": JAW}) + "\n")


def pictures(result: SavedResult) -> list[np.ndarray]:
    """The frames [SIDE, SIDE, 3], 8-bit."""
    person = result.reconstruction[0]
    jaw = person.model.expression_names.index("jawOpen")
    portrait = Image.fromarray(result.picture("input")).convert("RGB").resize((SIDE, SIDE))
    behind = np.asarray(portrait, np.float64)
    renderer = renderers.create("mitsuba")
    frames = []
    for turn, opened in zip(TURNS, JAW, strict=True):
        if turn is None or opened is None:
            frames.append(np.full((SIDE, SIDE, 3), DARK, np.uint8))
            continue
        expression = person.parameters.expression[0].clone()
        expression[jaw] += opened
        scene = resized(with_expression(person, expression).scene(), SIDE)
        drawn = encode(renderer.render(with_head_turned(scene, math.radians(turn)), SAMPLES, 0)[0])
        share = drawn[..., 3:] / 255.0
        frames.append(np.round(drawn[..., :3] * share + behind * (1 - share)).astype(np.uint8))
    renderer.close()
    return frames


if __name__ == "__main__":
    main()
