"""A camera's inner geometry, as measured or as assumed, and photos and points without its distortion.

Distortion is Brown and Conrady's in OpenCV's convention: radial k1, k2, k3 and tangential p1, p2, and its
rational form, where k4, k5, k6 divide. A photo is straightened once, on its way in; everything behind it sees
a pinhole camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import rq

from nextface.errors import PhotoError
from nextface.scene.colour import linear_to_srgb, srgb_to_linear

CENTRE = 0.5  # of a pixel: OpenCV counts from centres, this project from corners
HALF_A_PIXEL = np.array([[0, 0, CENTRE], [0, 0, CENTRE], [0, 0, 0]])
SAME_SHAPE = 2e-3  # by which the ratio of sides may differ of photos that one lens took
STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)  # of inverting the distortion


@dataclass(frozen=True)
class Lens:
    """The camera matrix of photos of one size, and the distortion by which they differ from a pinhole's.

    Pixels are those of the upright photo, with (0, 0) at the upper-left corner of the upper-left one. A matrix
    from OpenCV, which has it at that pixel's centre, has half a pixel less in cx and cy: see `from_opencv`.
    """

    width: int  # pixels
    height: int  # pixels
    matrix: NDArray[np.float64]  # [3, 3] pixels: fx, skew, cx; 0, fy, cy; 0, 0, 1
    distortion: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(5)
    )  # k1, k2, p1, p2, k3 (, k4, k5, k6)
    known: bool = True  # whether the matrix was measured; else its focal length is a guess

    def __post_init__(self) -> None:
        """Refuse what no camera has.

        Raises
        ------
        ValueError: naming the argument.
        """
        matrix, distortion = np.asarray(self.matrix, float), np.asarray(self.distortion, float)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError(f"the matrix of a lens has shape {matrix.shape} or is not finite; expected 3 x 3")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or matrix[1, 0] != 0 or (matrix[2] != [0, 0, 1]).any():
            raise ValueError(
                f"no camera has the matrix {matrix.tolist()}: expected fx, s, cx; 0, fy, cy; 0, 0, 1"
            )
        if distortion.shape not in ((5,), (8,)) or not np.isfinite(distortion).all():
            raise ValueError(
                f"the distortion is {distortion.tolist()}; expected k1, k2, p1, p2, k3, or k6 at most"
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)

    @classmethod
    def assumed(cls, width: int, height: int, focal: float) -> Lens:
        """A lens of a focal length in pixels that is only guessed, centred and without distortion."""
        return cls(
            width, height, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]), known=False
        )

    @classmethod
    def from_opencv(
        cls, width: int, height: int, matrix: NDArray[np.float64], distortion: NDArray[np.float64]
    ) -> Lens:
        """What `cv2.calibrateCamera` found: its matrix [3, 3] and four, five or eight coefficients."""
        coefficients = np.zeros(5 if np.size(distortion) <= 5 else 8)
        coefficients[: np.size(distortion)] = np.ravel(distortion)
        return cls(width, height, matrix + HALF_A_PIXEL, coefficients)

    @property
    def is_straight(self) -> bool:
        """Whether the photos are a pinhole's already."""
        return not self.distortion.any()

    @property
    def straight(self) -> Lens:
        """The lens of photos that were straightened: the same matrix without distortion."""
        return replace(self, distortion=np.zeros(5))

    def of_size(self, width: int, height: int) -> Lens:
        """This lens in photos of another size, whose sides have the same ratio.

        Raises
        ------
        PhotoError: for another ratio: such a photo was cropped or turned, or another lens took it.
        """
        across, down = width / self.width, height / self.height
        if abs(across / down - 1) > SAME_SHAPE:
            raise PhotoError(
                f"The camera was calibrated in pictures of {self.width} x {self.height} pixels; this photo has "
                f"{width} x {height}. Use photos as they come from that camera, neither cropped nor turned."
            )
        matrix = np.diag([across, down, 1.0]) @ self.matrix
        return replace(self, width=width, height=height, matrix=matrix)

    def in_crop(self, photo_to_image: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrix [3, 3] of a crop, and the turn [3, 3] from the camera's frame to the crop's camera's.

        The crop may have been turned by right angles: then so is its camera, about its axis; else the turn is
        the identity.

        Parameters
        ----------
        photo_to_image: [2, 3] from pixels of the straightened photo to the crop's.
        """
        return camera_matrix(np.vstack([photo_to_image, [0, 0, 1]]) @ self.matrix)

    def undistorted(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [P, 2] of the photo in the straightened photo, pixels; by iteration, to 1e-6 pixels or so."""
        if self.is_straight or not len(points):
            return np.asarray(points, float)
        rays = self._rays(points)[:, None, :2]
        straight = cv2.undistortPoints(rays, np.eye(3), self.distortion, criteria=STEPS)
        return self._pixels(straight[:, 0])

    def distorted(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [P, 2] of the straightened photo in the photo, pixels: undoes `undistorted`."""
        if self.is_straight or not len(points):
            return np.asarray(points, float)
        bent, _ = cv2.projectPoints(self._rays(points), np.zeros(3), np.zeros(3), np.eye(3), self.distortion)
        return self._pixels(bent[:, 0])

    def straightened(self, srgb: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A photo [height, width, 3] as a pinhole takes it, and which of its pixels [height, width] it shows.

        Light is interpolated (bicubic), not its encoding. What the photo does not show repeats its border.
        """
        columns, rows = self._source()
        linear = srgb_to_linear(srgb).astype(np.float32)
        moved = cv2.remap(linear, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        lowest, highest = linear.min((0, 1)), linear.max((0, 1))  # bicubic weights overshoot at edges
        shown = (columns > -CENTRE) & (columns < self.width - CENTRE)
        shown &= (rows > -CENTRE) & (rows < self.height - CENTRE)
        return linear_to_srgb(np.clip(moved, lowest, highest)).astype(np.float32), shown

    def straightened_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask [height, width] of the photo in the straightened one; False where the photo shows nothing."""
        return cv2.remap(mask.astype(np.uint8), *self._source(), cv2.INTER_NEAREST).astype(bool)

    def _rays(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [P, 2] in pixels on the plane at distance 1: [P, 3]. OpenCV's own functions know no skew."""
        return np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(self.matrix).T

    def _pixels(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels [P, 2] of points [P, 2] on the plane at distance 1."""
        return plane @ self.matrix[:2, :2].T + self.matrix[:2, 2]

    def _source(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Columns and rows [height, width], counted from pixel centres, of what straightened pixels show."""
        from_centres = self.matrix - HALF_A_PIXEL
        x, y = cv2.initUndistortRectifyMap(
            np.eye(3), self.distortion, None, from_centres, (self.width, self.height), cv2.CV_32FC1
        )
        (across, skew, column), (_, down, row) = from_centres[:2].astype(np.float32)
        return across * x + skew * y + column, down * y + row


def camera_matrix(projection: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix K [3, 3] of a camera, and its turn R [3, 3], whose product is given up to a positive factor.

    K has positive focal lengths and R is a rotation (Hartley and Zisserman, Multiple View Geometry, section
    6.2.4).
    """
    upper, turn = rq(projection)
    signs = np.sign(np.diag(upper))
    upper, turn = upper * signs, signs[:, None] * turn
    return upper / upper[2, 2], turn
