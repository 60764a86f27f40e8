"""A finished track: one person, and what they do in every frame of a film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nextface.fitting.tracking.frame_problem import FrameProblem
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import ONE_PHOTO
from nextface.photos.frame import Frame
from nextface.scene import Camera
from nextface.videos.records import Records

AT_ONCE = 256  # frames that are read together


def state_type(unknowns: int) -> np.dtype:
    """What is kept of each frame of a finished track."""
    return np.dtype(
        [
            ("time", "<f8"),  # seconds from the first frame
            ("take", "<i4"),  # number of the take, -1 where there is no face
            ("seen", "?"),  # whether the face was seen; in a short gap it is interpolated
            ("confidence", "<f4"),  # share of the seen skin that the state explains; 0 where it was not seen
            ("state", "<f8", (unknowns,)),  # see `FrameCoordinates`; 0 where there is no take
        ]
    )


@dataclass(frozen=True)
class TrackedFrame:
    """One frame of a track that shows the face."""

    number: int
    time: float  # seconds from the first frame
    take: int
    confidence: float
    expression: Tensor  # [E]
    rotation: Tensor  # [3] pose, as in `Parameters`
    translation: Tensor  # [3] mm
    drift: Tensor  # [DRIFT]


@dataclass(frozen=True)
class Track:
    """One person in every frame of a film; frames are read as they are asked for."""

    person: Reconstruction  # fitted to the keyframes
    problem: FrameProblem  # the camera, and the person's main light
    states: Records  # of `state_type`

    def __len__(self) -> int:
        """The number of frames, those without a face included."""
        return len(self.states)

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The records of all frames, some hundreds together, with the first one's number."""
        for first in range(0, len(self.states), AT_ONCE):
            yield first, self.states.read(first, first + AT_ONCE)

    def frames(self) -> Iterator[TrackedFrame | None]:
        """Every frame in turn; None where there is no face."""
        for first, records in self.chunks():
            for place, record in enumerate(records):
                yield None if record["take"] < 0 else self._frame(first + place, record)

    def camera(self, frame: TrackedFrame) -> Camera:
        """The camera of the whole frame, and the head's pose in it."""
        return self.problem.camera_at(frame.rotation, frame.translation)

    def vertices(self, frame: TrackedFrame) -> Tensor:
        """Vertices [1, V, 3] in model space, mm."""
        identity = self.person[0].parameters.identity
        return self.person.model.vertices(identity, frame.expression[None].to(identity))

    def light(self, frame: TrackedFrame) -> Tensor:
        """The light's coefficients [bands^2, 3] in the camera's light frame."""
        return self.problem.light_of(frame.drift)

    def seen_in(self, frame: TrackedFrame, box: tuple[int, int, int, int], scale: float) -> Reconstruction:
        """The person in a part (x0, y0, x1, y1) of the frame, drawn `scale` times as large (N = 1)."""
        first = self.person[0].parameters
        camera = self.problem.camera
        x0, y0, x1, y1 = box
        width, height = max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1)
        to_part = np.array([[scale, 0, -scale * x0], [0, scale, -scale * y0]])
        matrix = camera.intrinsics[0].double()
        middle = torch.from_numpy(to_part) @ torch.cat([matrix[:2, 2], matrix.new_ones(1)])
        light = self.problem.drifted(frame.drift)
        parameters = replace(
            first,
            expression=frame.expression[None].to(first.expression),
            rotation=frame.rotation[None].to(first.rotation),
            translation=frame.translation[None].to(first.translation),
            focal=(matrix[0, 0] * scale).log()[None].to(first.focal),
            light=light[None].to(first.light),
        )
        part = Frame(width, height, middle[None].to(first.focal), to_part)
        return replace(self.person, parameters=parameters, frames=(part,), sharing=ONE_PHOTO)

    def _frame(self, number: int, record: np.void) -> TrackedFrame:
        parts = self.problem.coordinates.split(torch.from_numpy(record["state"].copy()))
        return TrackedFrame(
            number, float(record["time"]), int(record["take"]), float(record["confidence"]), *parts
        )
