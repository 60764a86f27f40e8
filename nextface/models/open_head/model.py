"""The embedded face model: MakeHuman's mesh with the shape of scanned people, own UVs and appearance prior.

docs/open_head.md tells how it was made; tools/build_open_head.py makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from torch import Tensor

from nextface.errors import MissingPartError
from nextface.models.appearance import Appearance
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import LandmarkEmbedding, LandmarkErrors, Reflectance
from nextface.models.linear_shape import LinearShape
from nextface.system.archive import ArchiveError, read_arrays

_FOLDER = Path(__file__).parents[1] / "data"
DATA = _FOLDER / "open_head.npz"
LANDMARKS = _FOLDER / "open_head_landmarks.npz"
LANDMARK_ERRORS = _FOLDER / "open_head_landmark_errors.npz"


@dataclass
class OpenHead(LinearShape):
    """The face model `open`; see `nextface.models.face_model.FaceModel` for what its members mean.

    All tensors lie on one device and are never changed; `to` gives the same model on another.
    """

    expression_names: tuple[str, ...]
    albedo_names: tuple[str, ...]
    triangles: Tensor  # [F, 3] int64
    uvs: Tensor | None  # [T, 2]
    uv_triangles: Tensor | None  # [F, 3] int64
    mirror: Tensor | None  # [V] int64
    uv_mirror: Tensor  # [T] int64, each UV vertex's mirror image in u = 0.5
    identity_mirror: Tensor  # [K], sign that a component's coefficient takes for the mirrored face
    regions: Mapping[str, Tensor]  # name -> [V] bool
    appearance: Appearance

    name: str = "open"
    identity_size: int = field(init=False)
    albedo_size: int = field(init=False)  # specular and roughness coefficients included
    expression_prior: ExpressionPrior = field(init=False)

    def __post_init__(self) -> None:
        self.identity_size = self.identity_basis.shape[0]
        self.albedo_size = len(self.albedo_names)
        self.expression_prior = ExpressionPrior.blendshapes(len(self.expression_names)).to(self.mean.device)

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Vertex reflectance of albedo coefficients [N, A] (standard deviations), bounded for any value."""
        return self.appearance.reflectance(albedo)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """The shipped embedding for a detector, or None where it must be computed."""
        if not LANDMARKS.is_file():
            return None
        stored = read_arrays(LANDMARKS)
        if f"{detector}_indices" not in stored:
            return None
        parts = {
            part: torch.from_numpy(stored[f"{detector}_{part}"]).to(self.mean.device)
            for part in ("indices", "triangles", "barycentric", "weights", "contour")
        }
        return LandmarkEmbedding(
            detector,
            parts["indices"].long(),
            parts["triangles"].long(),
            parts["barycentric"].to(self.mean.dtype),
            parts["weights"].to(self.mean.dtype),
            parts["contour"].bool(),
            self._landmark_errors(detector),
        )

    def _landmark_errors(self, detector: str) -> LandmarkErrors | None:
        """What was measured of a detector's errors, or None."""
        if not LANDMARK_ERRORS.is_file():
            return None
        stored = read_arrays(LANDMARK_ERRORS)
        if f"{detector}_bias" not in stored:
            return None
        parts = (torch.from_numpy(stored[f"{detector}_{part.name}"]) for part in fields(LandmarkErrors))
        return LandmarkErrors(*(values.to(self.mean) for values in parts))

    def to(self, device: str) -> OpenHead:
        """The same model with its tensors on another device."""

        moved: dict[str, Any] = {
            part.name: value.to(device)
            for part in fields(self)
            if isinstance(value := getattr(self, part.name), Tensor | Appearance)
        }
        return replace(self, **moved, regions={name: mask.to(device) for name, mask in self.regions.items()})


@cache
def _load() -> OpenHead:
    try:
        data = read_arrays(DATA)
    except (OSError, ArchiveError) as error:
        raise MissingPartError(
            f"The embedded face model {DATA} is missing or damaged: reinstall the package, or rebuild it with "
            "`python tools/build_open_head.py`."
        ) from error
    refine = sparse.csr_matrix(
        (data["refine_weights"], data["refine_columns"].astype(np.int32), data["refine_rows"]),
        shape=(len(data["mirror"]), data["mean"].shape[0]),
    )

    def refined(controls: np.ndarray) -> np.ndarray:
        """Fine vertices [K, V, 3] of control points [K, C, 3]."""
        columns = controls.astype(np.float32).transpose(1, 0, 2).reshape(controls.shape[1], -1)
        return np.ascontiguousarray((refine @ columns).reshape(-1, len(controls), 3).transpose(1, 0, 2))

    mirror = data["mirror"].astype(np.int64)
    mean = refined(data["mean"][None])[0]
    mean = (mean + mean[mirror] * np.array([-1, 1, 1], np.float32)) / 2  # exactly symmetric, rounding included
    appearance = {part.name: torch.from_numpy(data[f"appearance_{part.name}"]) for part in fields(Appearance)}
    # The scalp is bare: no photo's skin tells what grows there, and a guess ends in a line on the forehead.
    grows = appearance["hair"][1 + data["albedo_names"].tolist().index("scalp_hair")].float()
    appearance["hair_cover"] = appearance["hair_cover"] * (1 - grows / grows.max())
    return OpenHead(
        mean=torch.from_numpy(mean),
        identity_basis=torch.from_numpy(refined(data["identity"])),
        expression_basis=torch.from_numpy(refined(data["expression"])),
        expression_names=tuple(data["expression_names"].tolist()),
        albedo_names=tuple(data["albedo_names"].tolist()),
        triangles=torch.from_numpy(data["triangles"].astype(np.int64)),
        uvs=torch.from_numpy(data["uvs"]),
        uv_triangles=torch.from_numpy(data["uv_triangles"].astype(np.int64)),
        mirror=torch.from_numpy(mirror),
        uv_mirror=torch.from_numpy(data["uv_mirror"].astype(np.int64)),
        identity_mirror=torch.from_numpy(data["identity_mirror"].astype(np.float32)),
        regions={
            name: torch.from_numpy(mask)
            for name, mask in zip(data["region_names"].tolist(), data["regions"], strict=True)
        },
        appearance=Appearance(
            **{
                name: value if value.dtype == torch.bool else value.float()
                for name, value in appearance.items()
            }
        ),
    )


def load_open_head(device: str = "cpu") -> OpenHead:
    """The embedded face model on a device.

    Raises
    ------
    MissingPartError: when its data file is not here.
    """
    return _load().to(device)
