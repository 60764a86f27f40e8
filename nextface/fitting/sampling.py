"""Where random numbers come from: one place, so that no two renders of a run share their noise."""

from __future__ import annotations

import hashlib

from torch import Tensor

from nextface.scene import Scene
from renderers.renderer import Renderer


def render_seed(seed: int, iteration: int, photo: int, part: int) -> int:
    """A seed in [0, 2^31) for one render of a run, well mixed and the same on every machine.

    Parameters
    ----------
    seed: the run's seed, from the configuration.
    iteration: counts up within a run; stages start from different offsets.
    photo: number of the photo.
    part: tells renders of one iteration apart, such as the two halves of an unbiased loss.
    """
    text = f"{seed}/{iteration}/{photo}/{part}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def render_pair(
    renderer: Renderer, scene: Scene, samples: int, seed: int, iteration: int, photo: int
) -> tuple[Tensor, Tensor]:
    """Two independent renders [h, w, 4] of one photo of a scene, with half of the samples each.

    A renderer without noise draws once: both are the same image.
    """
    one = scene[photo]
    if renderer.noise_free:
        image = renderer.render(one, samples, seed)[0]
        return image, image
    half = max(samples // 2, 1)
    first, second = (renderer.render(one, half, render_seed(seed, iteration, photo, part))[0] for part in (0, 1))
    return first, second
