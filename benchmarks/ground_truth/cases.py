"""Which cases there are: heads, skin tones and lights in balance, and which half is set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.ground_truth.lights import KINDS
from benchmarks.ground_truth.skin import TONES

SOURCES = ("ict", "makehuman", "bent")
SEED = 4_711  # of which cases are set aside, and of everything that their own seeds do not say


@dataclass(frozen=True)
class Case:
    """What to photograph. Seeds of heads and of lights are never used twice."""

    name: str
    heads: str  # one of SOURCES
    tone: str  # one of TONES
    reported: bool
    head_seed: int
    light: str  # one of KINDS
    light_seed: int
    view_seed: int  # of pose, camera and sensor


def plan() -> list[Case]:
    """All 36 cases: for each source and tone one head under each kind of light, half of them reported."""
    random = np.random.default_rng(SEED)
    planned: list[Case] = []
    for source in SOURCES:
        for tone in TONES:
            reported = set(random.permutation(len(KINDS))[: len(KINDS) // 2].tolist())
            for number, light in enumerate(KINDS):
                seed = len(planned)
                planned.append(
                    Case(
                        f"{source}_{tone}_{number}",
                        source,
                        tone,
                        number in reported,
                        1_000 + seed,
                        light,
                        2_000 + seed,
                        3_000 + seed,
                    )
                )
    return planned
