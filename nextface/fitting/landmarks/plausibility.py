"""Whether stage 1 found a face in the landmarks at all.

Any 478 points have a best pose, and every later stage makes something of it. Where the points are a face's, the
model's landmarks come to lie on them: within 2 % of the face's size, root mean square, on ten portraits of all
kinds and views; for random or reordered points, or another detector's, it is 30 % and more. Mirrored points fit
as well as true ones, but only a head that faces away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nextface.errors import ImplausibleFitError
from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.person.reconstruction import Reconstruction

LARGEST_ERROR = 0.08  # root mean square of the landmarks' distances, over the face's size
MOST_TURNED_AWAY = 0.3  # cosine between where the face looks and where the camera does; 0 in profile


@torch.no_grad()
def check_landmarks_fit(fitted: Reconstruction, shots: Sequence[ShotOnModel]) -> None:
    """Refuse a reconstruction after stage 1 whose landmarks are no face's.

    Raises
    ------
    ImplausibleFitError: naming the photo, and what is wrong with its landmarks.
    """
    for photo, shot in enumerate(shots):
        camera = fitted.camera(photo)
        offsets = shot.offsets(fitted[photo].vertices(), camera).norm(dim=-1)[~shot.embedding.contour]
        error = float(offsets.square().mean().sqrt()) / shot.landmarks.face_size
        if not error < LARGEST_ERROR:
            what = f"are no face's: the best fit misses them by {error:.0%} of the face's size"
        elif float(camera.rotate(offsets.new_tensor([[[0.0, 0.0, 1.0]]]))[0, 0, 2]) > MOST_TURNED_AWAY:
            what = "are mirrored, or x and y are swapped: only the back of a head fits them"
        else:
            continue
        raise ImplausibleFitError(
            f"The landmarks of {shot.shot.source} {what}. If they come from a file, check that it is this "
            "photo's, that "
            f"its points are in the order of the detector it names ({shot.landmarks.detector}), and that "
            "they are pixels (x, y) of the upright photo; if not, use another photo, or give them in a file."
        )
