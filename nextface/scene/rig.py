"""Cameras that stand still beside each other, and where each of them stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nextface.scene.camera import Camera
from nextface.scene.geometry import facing, rotation_matrix, rotation_vector


@dataclass(frozen=True)
class Rig:
    """Where C cameras stand in the rig's frame (x right, y down, z forward, mm), often one camera's own.

    A head's pose in the rig's frame holds for all of its cameras; so does a light that belongs to the world.
    Places are measured, or unknown: then they are a start, through which gradients flow.
    """

    rotation: Tensor  # [C, 3] axis-angle in radians, rig frame to each camera's
    translation: Tensor  # [C, 3] mm, rig frame to each camera's
    known: tuple[bool, ...]  # of each camera, whether its place was measured
    metric: bool = False  # whether distances were measured; else they are as heads of a model's size tell them

    def __len__(self) -> int:
        """The number of cameras C."""
        return len(self.known)

    def to(self, device: str) -> Rig:
        """The same places on another device."""
        return replace(self, rotation=self.rotation.to(device), translation=self.translation.to(device))

    def turn(self, number: int) -> Tensor:
        """The rotation [3, 3] from the rig's frame to that of one of its cameras."""
        return rotation_matrix(self.rotation[number])

    def mounted(self, camera: Camera, number: int) -> Camera:
        """What one of the cameras sees of a head whose pose `camera` tells in the rig's frame (N = 1)."""
        turn = self.turn(number).to(camera.translation)
        before = torch.eye(3).to(turn) if camera.orientation is None else camera.orientation
        return replace(
            camera,
            orientation=(turn @ before).expand(len(camera.translation), 3, 3),
            mount=turn.expand(len(camera.translation), 3, 3),
            translation=camera.translation @ turn.mT + self.translation[number].to(turn),
        )

    def light_turn(self, number: int) -> Tensor:
        """The rotation [3, 3] from the world's light frame to that of one of the cameras.

        The world's light frame is to the rig's what a camera's is to it: y up, and z towards the photographer.
        """
        turned = facing(self.rotation)
        return turned @ self.turn(number) @ turned

    def in_frame(self, rotation: Tensor, translation: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Rotation [3, 3] and translation [3] from model space to the rig's frame of those to one camera's."""
        back = self.turn(number).to(translation).mT
        return back @ rotation, back @ (translation - self.translation[number].to(translation))

    def with_places_of(self, rotation: Tensor, translation: Tensor) -> Rig:
        """This rig with its unknown places, as heads tell them that several cameras see at one moment.

        What a head's poses in two cameras say of their places is averaged over M moments. The rig's frame is
        held by the cameras that are known.

        Parameters
        ----------
        rotation: [M, C, 3, 3] from model space to the cameras' frames.
        translation: [M, C, 3] mm, likewise.

        Raises
        ------
        ValueError: where no camera's place is known.
        """
        fixed = [number for number, known in enumerate(self.known) if known]
        if not fixed:
            raise ValueError("no camera of the rig has a known place: make one of them the rig's frame")
        turns, places = self.rotation.clone(), self.translation.clone()
        for number in range(len(self)):
            if self.known[number]:
                continue
            turned, moved = [], []
            for moment in range(len(rotation)):
                for other in fixed:
                    head = self.in_frame(rotation[moment, other], translation[moment, other], other)
                    turn = rotation[moment, number] @ head[0].mT
                    turned.append(turn)
                    moved.append(translation[moment, number] - turn @ head[1])
            mean = Rotation.from_matrix(torch.stack(turned).double().cpu().numpy()).mean().as_matrix()
            turns[number] = rotation_vector(torch.from_numpy(np.asarray(mean))).to(turns)
            places[number] = torch.stack(moved).mean(0).to(places)
        return replace(self, rotation=turns, translation=places)
