"""Draws random heads from MakeHuman's targets: sex, age, ancestry, weight, muscle and details of the face."""

from __future__ import annotations

import re

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from .source import RawData

Array = NDArray[np.float64]

FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "chin", "cheek", "ears", "asym")
UNUSED = ("asymm-", "head-trans-", "head-angle")  # the trunk, and motions of the whole head
OPPOSITES = (
    ("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"), ("convex", "concave"),
    ("uncompress", "compress"), ("l", "r"),
)  # fmt: skip
# Standard deviations of a detail in units of its target, which MakeHuman draws for a slider's end. Targets of
# the whole head's outline are strong, and their sums soon look like caricatures: they are damped.
DETAIL_SPREAD = 0.30
FOLDER_SPREAD = {"head": 0.13, "ears": 0.22, "asym": 0.14}
ONE_SIDED_FACTOR = 0.5  # shapes without an opposite, such as `head-square`
SIDE_SPREAD = 0.05  # how far the two sides of a face differ
AGES, SEXES, ANCESTRIES = ("young", "old"), ("male", "female"), ("caucasian", "asian", "african")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")


def _slider(name: str, folder: str) -> tuple[str, int]:
    """The slider that a target belongs to, and which of its two ends the target is."""
    for positive, negative in OPPOSITES:
        if (positive, negative) == ("l", "r") and folder != "asym":
            continue
        for end, sign in ((positive, 1), (negative, -1)):
            if name.endswith("-" + end):
                return name.removesuffix("-" + end), sign
    return name, 1


def _three_ways(value: float) -> Array:
    """Weights of a slider's low, middle and high shapes at `value` in [0, 1]."""
    return np.array([max(0.0, 1 - 2 * value), 1 - abs(2 * value - 1), max(0.0, 2 * value - 1)])


def draw(raw: RawData, controls: sparse.csr_matrix, count: int, seed: int) -> Array:
    """Control points [count, C, 3] in mm of random adult heads."""
    generator = np.random.default_rng(seed)
    sliders: dict[str, dict[int, Array]] = {}
    spread: dict[str, float] = {}
    for folder in FOLDERS:
        for name, offsets in raw.targets(folder).items():
            if name.startswith(UNUSED):
                continue
            slider, sign = _slider(name, folder)
            sliders.setdefault(slider, {})[sign] = controls @ offsets
            spread[slider] = FOLDER_SPREAD.get(folder, DETAIL_SPREAD)
    names = sorted(sliders)
    one_sided = np.array([len(sliders[name]) == 1 for name in names])
    scale = np.array([spread[name] for name in names]) * np.where(one_sided, ONE_SIDED_FACTOR, 1.0)
    size = (controls.shape[0], 3)
    up, down = (
        np.stack([sliders[name].get(sign, np.zeros(size)) for name in names]).reshape(len(names), -1)
        for sign in (1, -1)
    )
    paired = np.array([bool(re.match("[lr]-", name)) for name in names])
    groups, group = np.unique([re.sub("^[lr]-", "", name) for name in names], return_inverse=True)
    macros = {
        name: (controls @ offsets).ravel()
        for name, offsets in raw.targets("macrodetails").items()
        if "baby" not in name and "child" not in name
    }

    base = (controls @ raw.positions).ravel()
    heads = np.empty((count, base.size))
    for sample in heads:
        values = generator.normal(size=len(groups))[group] * scale
        values += paired * generator.normal(size=len(names)) * SIDE_SPREAD
        values = np.where(one_sided, abs(values), values).clip(-1, 1)
        sample[:] = base + values.clip(0) @ up + (-values).clip(0) @ down
        ancestry = generator.dirichlet([0.5, 0.5, 0.5])
        sex, age = generator.beta(0.6, 0.6), generator.beta(1, 2.2)
        muscle, weight = generator.normal(0.5, 0.15, 2).clip(0, 1)
        for sex_name, sex_weight in zip(SEXES, (sex, 1 - sex), strict=True):
            for age_name, age_weight in zip(AGES, (1 - age, age), strict=True):
                share = sex_weight * age_weight
                for name, part in zip(ANCESTRIES, ancestry, strict=True):
                    sample += share * part * macros[f"{name}-{sex_name}-{age_name}"]
                for muscle_name, muscle_weight in zip(MUSCLES, _three_ways(muscle), strict=True):
                    for weight_name, weight_weight in zip(WEIGHTS, _three_ways(weight), strict=True):
                        name = f"universal-{sex_name}-{age_name}-{muscle_name}-{weight_name}"
                        if name in macros:
                            sample += share * muscle_weight * weight_weight * macros[name]
    return heads.reshape(count, *size)
