"""Pictures of the reconstruction beside the truth's: as photographed, and under lights that no photo had.

A picture is drawn twice, with noise of its own each time. The mean product of the two errors is the mean square
error without that noise, so that few light paths are enough for a PSNR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import binary_erosion
from scipy.optimize import minimize_scalar
from skimage.metrics import structural_similarity

from benchmarks.ground_truth.record import GroundTruth
from benchmarks.scoring.errors import best_gain
from benchmarks.scoring.frames import in_frame, mask_in_frame, scored_pixels
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Environment, Scene
from nextface.scene.colour import linear_to_srgb
from renderers.renderer import Renderer

SAMPLES = 64  # light paths a pixel, of both renders together
WINDOW = 7  # pixels, of the structural similarity
GAIN_RANGE = 4.0  # times the least-squares gain, and that fraction of it: where the best gain is searched


@dataclass(frozen=True)
class RelitScore:
    """Pictures under unseen lights, sRGB-encoded, with one gain for all of a head: means over the lights."""

    psnr: float  # dB
    ssim: float
    gain: float
    each: tuple[float, ...]  # dB, light by light


def rerendered(
    truth: GroundTruth,
    reconstruction: Reconstruction,
    mask: np.ndarray,
    renderer: Renderer,
    samples: int = SAMPLES,
) -> float:
    """PSNR in dB, over a mask [h, w] of the frame, of the fitted picture against the photo without noise."""
    photo = in_frame(np.clip(truth.exposure * truth.radiance, 0, 1), reconstruction.frames[0])
    pair = drawn_twice(reconstruction.scene(), renderer, samples)
    return decibels(encoded(pair[:, mask]), encoded(photo[mask]))


def score_relit(
    truth: GroundTruth,
    reconstruction: Reconstruction,
    renderer: Renderer,
    lights: np.ndarray,
    samples: int = SAMPLES,
) -> RelitScore:
    """The reconstruction under lights [L, H, 2H, 3] against the truth's pictures under the same.

    They are compared where the photo shows skin inside the landmarks' outline, as bright as the photo's
    exposure makes the truth.
    """
    frame, scene = reconstruction.frames[0], reconstruction.scene()
    mask = mask_in_frame(scored_pixels(truth), frame)
    true = np.stack([in_frame(truth.exposure * picture, frame) for picture in truth.relit])
    found = np.stack([drawn_twice(under(scene, light), renderer, samples) for light in lights])
    gain = gain_to_the_eye(found.mean(1)[:, mask], true[:, mask])
    wanted = encoded(true)
    each = tuple(
        decibels(encoded(gain * pair[:, mask]), picture[mask])
        for pair, picture in zip(found, wanted, strict=True)
    )
    ssim = [
        similarity(encoded(gain * pair.mean(0)), picture, mask)
        for pair, picture in zip(found, wanted, strict=True)
    ]
    return RelitScore(float(np.mean(each)), float(np.mean(ssim)), gain, each)


def under(scene: Scene, light: np.ndarray) -> Scene:
    """A scene of one photo under a light [H, 2H, 3]."""
    return replace(scene, environment=Environment(torch.from_numpy(light)[None].to(scene.mesh.vertices)))


def gain_to_the_eye(found: np.ndarray, true: np.ndarray) -> float:
    """The factor of linear values that makes the sRGB-encoded error least.

    A least-squares gain of linear values would follow a few highlights, which an encoded picture clips.
    """
    start = best_gain(np.clip(found, 0, 1), np.clip(true, 0, 1))
    wanted = encoded(true)

    def error(logarithm: float) -> float:
        return float(np.square(encoded(np.exp(logarithm) * found) - wanted).mean())

    middle, reach = np.log(start), np.log(GAIN_RANGE)
    best = minimize_scalar(error, bounds=(middle - reach, middle + reach), method="bounded")
    return float(np.exp(best.x))


def decibels(pair: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], without the noise in which the pair differs.

    At most 100 dB, so that means stay finite.

    Parameters
    ----------
    pair: [2, ...] two renders of one picture.
    true: [...].
    """
    return float(-10 * np.log10(max(((pair[0] - true) * (pair[1] - true)).mean(), 1e-10)))


def similarity(found: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity (Wang et al., 2004) of encoded pictures [h, w, 3], over windows inside a mask."""
    _, each = structural_similarity(found, true, win_size=WINDOW, data_range=1.0, channel_axis=-1, full=True)
    inside = binary_erosion(mask, np.ones((WINDOW, WINDOW), bool))
    return float(each[inside].mean())


@torch.no_grad()
def drawn_twice(scene: Scene, renderer: Renderer, samples: int) -> np.ndarray:
    """Linear radiance [2, h, w, 3] of two renders of half the samples each, black beside the head."""
    pair = [renderer.render(scene, samples // 2, seed)[0, ..., :3].cpu().double().numpy() for seed in (0, 1)]
    return np.stack(pair)


def encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB-encoded values of what a screen can show."""
    return linear_to_srgb(np.clip(linear.astype(float), 0, 1))
