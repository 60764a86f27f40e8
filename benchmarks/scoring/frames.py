"""A reconstruction at the pixels of its photo, and what is known of the photo at those of its frame.

A frame is the crop in which a photo is fitted: a part of the photo, reduced.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from benchmarks.ground_truth.record import GroundTruth
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.photos.photo import area_averaged
from nextface.scene import Scene

WHOLLY = 1 - 1e-4  # share of a pixel's footprint that must be inside a mask


def scene_of_photo(reconstruction: Reconstruction, width: int, height: int) -> Scene:
    """The reconstruction's scene as the whole photo of width x height pixels shows it."""
    scene = reconstruction.scene()
    to_frame = np.vstack([reconstruction.frames[0].photo_to_image, [0, 0, 1]])
    intrinsics = torch.from_numpy(np.linalg.inv(to_frame)).to(scene.camera.intrinsics) @ scene.camera.intrinsics
    return replace(scene, camera=replace(scene.camera, intrinsics=intrinsics, width=width, height=height))


def scored_pixels(truth: GroundTruth) -> np.ndarray:
    """[h, w] bool: pixels of the photo that show skin inside the outline of the landmarks that are seen."""
    seen = truth.landmarks[np.isfinite(truth.landmarks).all(1)]
    hull = cv2.convexHull(seen.astype(np.float32))[:, 0]
    inside = np.zeros(truth.visible_skin.shape, np.uint8)
    # OpenCV counts pixels from their centres.
    cv2.fillPoly(inside, [np.round(hull - 0.5).astype(np.int32)], 1)
    return inside.astype(bool) & truth.visible_skin


def in_frame(picture: np.ndarray, frame: Frame) -> np.ndarray:
    """A picture [H, W, C] of the photo's size in the frame's pixels [h, w, C], by footprint."""
    scale, offset = frame.photo_to_image[0, 0], frame.photo_to_image[:, 2]
    left, top = np.round(-offset / scale).astype(int)
    part = picture[top:, left:].astype(np.float32)
    reduced = area_averaged(part, scale) if scale < 1 else part
    return np.asarray(reduced[: frame.height, : frame.width])


def mask_in_frame(mask: np.ndarray, frame: Frame) -> np.ndarray:
    """The frame's pixels [h, w] bool whose whole footprint lies inside a mask [H, W] of the photo."""
    return np.asarray(in_frame(mask[..., None], frame)[..., 0] > WHOLLY)
