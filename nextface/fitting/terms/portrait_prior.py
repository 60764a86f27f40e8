"""How portraits are taken: what is known of distance and focal length before a photo is fitted.

A face of known size that covers so many pixels fixes the ratio of the focal length to the distance, and hardly
more: seen from 0.6 m or from 2 m, landmarks fitted to the same photo differ by less than detectors err. So both
have a prior, normal in the logarithm, and the photo moves them along their ratio where it can. The distance's
is put in terms of the focal length with which a face of usual size is at a usual distance. So neither bends the
size of the head, which the model's own prior knows.

*Distance* is what people choose, and cropping cannot change it. Selfies are taken from within an arm's length,
about 0.3 to 0.6 m (Ward et al., "Nasal distortion in short-distance photographs: the selfie effect", JAMA
Facial Plastic Surgery 2018, compares 12 inches with the 5 feet of a usual portrait). People who know each other
stand 0.45 to 1.2 m apart, others 1.2 to 3.7 m (Hall, "The Hidden Dimension", 1966), and portraits are taken
across these (Bryan, Perona and Adolphs, "Perspective distortion from interpersonal distance is an implicit
visual cue for social judgments of faces", PLoS ONE 2012, take 0.45 and 1.35 m for near and far). A median of
1.2 m and a spread of 0.5 put 95 % of portraits between 0.45 and 3.2 m, one in 500 below 0.28 m, where cameras
hardly focus, and none at 0.15 m.

*The focal length* is what the lens has. Without EXIF data it is only known over the diagonal of a picture that
may have been cut out of a larger one, which makes it seem longer by as much. That is why its prior is so wide
(`nextface.preparation.prepare.ASSUMED_FOCAL_SPREAD`) and the distance's decides: the tighter a picture is cut
around a face, the longer the focal length that goes with a usual distance. With EXIF data it is narrow, and the
distance's prior says nothing that counts beside the size of heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nextface.photos.shot import LensPrior
from nextface.scene import Camera

DISTANCE_SPREAD = 0.5  # standard deviation of the distance's logarithm
DISTANCE_RANGE = (250.0, 20000.0)  # mm; what EXIF data tell of small faces may be far beyond a portrait's


def portrait_residuals(camera: Camera, lens: LensPrior) -> Tensor:
    """Standard deviations [2] of the focal length, and of the distance that goes with it, from their medians.

    Parameters
    ----------
    camera: of the photo (N = 1).
    """
    log_focal = camera.intrinsics[0, 0, 0].log()
    of_focal = (log_focal - math.log(lens.focal)) / lens.spread
    if lens.usual is None:
        return torch.stack([of_focal, torch.zeros_like(of_focal)])
    return torch.stack([of_focal, (log_focal - math.log(lens.usual)) / DISTANCE_SPREAD])


def portrait_slopes(camera: Camera, lens: LensPrior) -> Tensor:
    """Derivatives [2, 1] of `portrait_residuals` by the logarithm of the focal length."""
    of_distance = 0.0 if lens.usual is None else 1 / DISTANCE_SPREAD
    return camera.intrinsics.new_tensor([[1 / lens.spread], [of_distance]])
