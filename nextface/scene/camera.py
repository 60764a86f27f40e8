"""A pinhole camera, and the pose of the model in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from nextface.scene.geometry import rotation_matrix


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the OpenCV frame (x right, y down, z forward), and the pose of the model in it.

    A point p of model space lies at `orientation` R p + `translation`, where R turns by `rotation`. The
    orientation says which way the model looks when it is not turned at all. So a head that faces the camera is
    at rotation 0 (`nextface.scene.geometry.facing`) and not half a turn away, where axis-angle vectors jump.
    """

    intrinsics: Tensor  # [N, 3, 3] pixels; (0, 0) is the upper-left corner of the upper-left pixel
    rotation: Tensor  # [N, 3] axis-angle in radians, in model space
    translation: Tensor  # [N, 3] mm, model to camera
    width: int  # pixels
    height: int  # pixels
    orientation: Tensor | None = None  # [N, 3, 3] rotations that follow `rotation`; None: none do
    mount: Tensor | None = None  # [N, 3, 3] from the frame in which the pose is told to the camera's, in a rig

    @property
    def turn(self) -> Tensor:
        """Rotation matrices [N, 3, 3] from model space to the camera frame."""
        turn = rotation_matrix(self.rotation)
        return turn if self.orientation is None else self.orientation @ turn

    def transform(self, points: Tensor) -> Tensor:
        """Model-space points [N, P, 3] (mm) in the camera frame, [N, P, 3] (mm)."""
        return points @ self.turn.mT + self.translation[:, None]

    def rotate(self, directions: Tensor) -> Tensor:
        """Model-space directions [N, P, 3] in the camera frame, [N, P, 3]."""
        return directions @ self.turn.mT

    def project(self, points: Tensor) -> Tensor:
        """Pixel positions [N, P, 2] of model-space points [N, P, 3] (mm)."""
        image = self.transform(points) @ self.intrinsics.mT
        return image[..., :2] / image[..., 2:]

    def resized(self, width: int, height: int) -> Camera:
        """The same view in another number of pixels."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1])
        return replace(self, intrinsics=self.intrinsics * scale[:, None], width=width, height=height)

    def __getitem__(self, photos: slice) -> Camera:
        """The cameras of some photos."""
        return replace(
            self,
            intrinsics=self.intrinsics[photos],
            rotation=self.rotation[photos],
            translation=self.translation[photos],
            orientation=None if self.orientation is None else self.orientation[photos],
            mount=None if self.mount is None else self.mount[photos],
        )
