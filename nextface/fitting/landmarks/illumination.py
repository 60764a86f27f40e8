"""A first guess of the light: non-negative least squares on shading, with albedo and geometry given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls

from nextface.person.parameters import LIGHT_LOBES
from nextface.person.reconstruction import Reconstruction
from nextface.photos.observation import Observation
from nextface.scene.lighting import cosine_kernel, scale_bands, sh_basis, to_light_frame

MAX_SAMPLES = 1500  # shading samples of one light; more do not change its 81 numbers
EVENNESS = 0.05  # pull towards even light, relative to the data
SMALLEST_LOBE = 1e-3  # of the mean lobe: a floor, because the fit goes on in logarithms


def guess_lights(reconstruction: Reconstruction, observations: Sequence[Observation]) -> Reconstruction:
    """The reconstruction with grey lights that explain the photos' brightness, each that of all that share it.

    Shadows and highlights are ignored; lights are grey so that skin, not light, explains colour first. A light
    stays as it is where no photo shows skin.
    """
    rows = reconstruction.sharing.rows("light")
    old = reconstruction.parameters
    lights = list(old.light)
    for row in range(len(lights)):
        photos = [photo for photo, used in enumerate(rows) if used == row]
        most = MAX_SAMPLES // len(photos)
        parts = [_shading(reconstruction[photo], observations[photo], most) for photo in photos]
        power = _powers(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        if power is not None:
            lights[row] = torch.from_numpy(np.log(power))[:, None].expand(-1, 3).to(old.light)
    return reconstruction.with_parameters(replace(old, light=torch.stack(lights)))


def exposures(reconstruction: Reconstruction, observations: Sequence[Observation]) -> list[float]:
    """How bright each photo's skin is, over what its light makes of it; 1 where nothing of it is seen.

    Photos that share a light but not the camera's exposure differ in it.
    """
    found = []
    for photo, observation in enumerate(observations):
        design, target = _shading(reconstruction[photo], observation, MAX_SAMPLES)
        power = reconstruction[photo].parameters.light[0].exp().mean(-1).double().cpu().numpy()
        found.append(float(target.sum() / (design @ power).sum()) if target.sum() > 0 else 1.0)
    return found


def _powers(design: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Powers [LIGHT_LOBES] of lobes whose shading [S, LIGHT_LOBES] explains the brightness [S]."""
    if not len(target):
        return None
    level = max(target.sum() / design.sum(), 1e-6)  # power of each lobe if light came evenly from everywhere
    pull = EVENNESS * np.sqrt((design**2).sum() / LIGHT_LOBES)
    system = np.concatenate([design, pull * np.eye(LIGHT_LOBES)])
    power, _ = nnls(system, np.concatenate([target, np.full(LIGHT_LOBES, pull * level)]))
    return np.asarray(np.maximum(power, SMALLEST_LOBE * level))


def _shading(single: Reconstruction, observation: Observation, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Shading by each lobe [S, LIGHT_LOBES], and brightness [S], of vertices whose skin a photo (N = 1) shows.

    Parameters
    ----------
    most: of S; of more vertices some are taken.
    """
    scene = single.scene()
    normals = scene.camera.rotate(scene.mesh.normals)[0]
    points = scene.camera.transform(scene.mesh.vertices)[0]
    pixels = scene.camera.project(scene.mesh.vertices)[0].floor().long()
    facing = -(normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1)
    height, width = observation.mask.shape
    inside = (pixels >= 0).all(-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height) & (facing > 0.2)
    if "skin" in single.model.regions:
        inside &= single.model.regions["skin"].to(inside.device)
    chosen = inside.nonzero()[:, 0]
    column, row = pixels[chosen].unbind(-1)
    chosen, column, row = (values[observation.mask[row, column]] for values in (chosen, column, row))
    if len(chosen) > most:
        keep = torch.linspace(0, len(chosen) - 1, most, device=chosen.device).long()
        chosen, column, row = chosen[keep], column[keep], row[keep]
    albedo = scene.material.diffuse[0, chosen].double()
    radiance = observation.linear[row, column].double()
    transfer = scale_bands(single.light_lobes(), cosine_kernel(single.bands) / np.pi)[0]
    shading = sh_basis(to_light_frame(normals[chosen].double().cpu()), single.bands) @ transfer
    return (shading * albedo.mean(-1, keepdim=True).cpu()).numpy(), radiance.mean(-1).cpu().numpy()
