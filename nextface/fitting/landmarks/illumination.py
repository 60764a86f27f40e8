"""A first guess of the light: non-negative least squares on shading, with albedo and geometry given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls

from nextface.person.parameters import LIGHT_LOBES
from nextface.person.reconstruction import Reconstruction
from nextface.photos.observation import Observation
from nextface.scene.lighting import cosine_kernel, scale_bands, sh_basis, to_light_frame

MAX_SAMPLES = 1500  # shading samples; more do not change a light of 81 numbers
EVENNESS = 0.05  # pull towards even light, relative to the data
SMALLEST_LOBE = 1e-3  # of the mean lobe: a floor, because the fit goes on in logarithms


def guess_light(reconstruction: Reconstruction, observation: Observation) -> Reconstruction:
    """One photo's reconstruction (N = 1) with a grey light that explains its brightness.

    Shadows and highlights are ignored; the light is grey so that skin, not light, explains colour first.
    """
    scene = reconstruction.scene()
    normals = scene.camera.rotate(scene.mesh.normals)[0]
    points = scene.camera.transform(scene.mesh.vertices)[0]
    pixels = scene.camera.project(scene.mesh.vertices)[0].floor().long()
    facing = -(normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1)
    height, width = observation.mask.shape
    inside = (pixels >= 0).all(-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height) & (facing > 0.2)
    if "skin" in reconstruction.model.regions:
        inside &= reconstruction.model.regions["skin"].to(inside.device)
    chosen = inside.nonzero()[:, 0]
    column, row = pixels[chosen].unbind(-1)
    chosen, column, row = (values[observation.mask[row, column]] for values in (chosen, column, row))
    if len(chosen) > MAX_SAMPLES:
        keep = torch.linspace(0, len(chosen) - 1, MAX_SAMPLES, device=chosen.device).long()
        chosen, column, row = chosen[keep], column[keep], row[keep]
    if not len(chosen):
        return reconstruction
    albedo = scene.material.diffuse[0, chosen].double()
    radiance = observation.linear[row, column].double()
    transfer = scale_bands(reconstruction.light_lobes(), cosine_kernel(reconstruction.bands) / np.pi)[0]
    shading = sh_basis(to_light_frame(normals[chosen].double().cpu()), reconstruction.bands) @ transfer
    design = (shading * albedo.mean(-1, keepdim=True).cpu()).numpy()
    target = radiance.mean(-1).cpu().numpy()
    level = max(target.sum() / design.sum(), 1e-6)  # power of each lobe if light came evenly from everywhere
    pull = EVENNESS * np.sqrt((design**2).sum() / LIGHT_LOBES)
    system = np.concatenate([design, pull * np.eye(LIGHT_LOBES)])
    power, _ = nnls(system, np.concatenate([target, np.full(LIGHT_LOBES, pull * level)]))
    light = torch.from_numpy(np.log(np.maximum(power, SMALLEST_LOBE * level)))
    old = reconstruction.parameters
    return reconstruction.with_parameters(
        replace(old, light=light[None, :, None].expand(1, -1, 3).to(old.light).clone())
    )
