"""Light that reaches skin by way of other skin: noses, chins and sockets glow in what is beside them.

Between the vertices of a mesh that stands still, diffuse light bounces by a fixed sparse matrix H, from what
each vertex sees to what lights it (radiosity: Goral et al., "Modeling the Interaction of Light Between Diffuse
Surfaces", SIGGRAPH 1984). With D the light that reaches vertices past the face's shadows, for each spherical
harmonic, a white surface there shows

    D light + H (albedo D light) + H (albedo H (albedo D light)) + ...

of which everything after the first is found here. What skin reflects at its surface is a tenth of what it sends
on; it counts as if it went evenly everywhere.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from nextface.scene import Scene
from nextface.scene.baking import sample_map
from nextface.scene.lighting import fibonacci_directions, sh_basis, to_light_frame
from nextface.scene.pixel_points import WeightedRows
from renderers.ray_casting import first_hits_of
from renderers.renderer import FirstHits, Transferable
from renderers.specular_lobe import SpecularLobe

DIRECTIONS = 128  # over the sphere; what bounces is smooth
USUAL_ROUGHNESS = 0.5  # of skin, by which its surface counts
COSINES = 64  # of angles between normal and view, in the mean over them
OFFSET_MM = 0.1  # by which rays start above the surface, lest rounding puts them below it


class Interreflection:
    """What the surface of a scene of one photo sends to itself, as long as its geometry stands still.

    Parameters
    ----------
    bands: spherical harmonics bands that describe the light completely.
    bounces: reflections from one place of the surface to another that are counted.
    lobe: what is reflected beside the Lambert lobe.
    met: tells what rays meet; see `renderers.renderer.FirstHits`.
    """

    @torch.no_grad()
    def __init__(self, scene: Scene, bands: int, bounces: int, lobe: SpecularLobe, met: FirstHits) -> None:
        self._bounces = bounces
        self._plain, self._grazing = _hemispherical(lobe)
        mesh, camera = scene.mesh, scene.camera
        vertices, normals = camera.transform(mesh.vertices)[0], camera.rotate(mesh.normals)[0]
        around = fibonacci_directions(DIRECTIONS)
        basis = (sh_basis(around, bands) * (4 * math.pi / DIRECTIONS)).to(vertices)
        directions = to_light_frame(around).to(vertices)
        cosine = (normals @ directions.T).clamp_(min=0)
        origin, towards = (cosine > 0).nonzero().unbind(1)
        hits = met(vertices[origin] + OFFSET_MM * normals[origin], directions[towards])
        hit = hits >= 0
        reached = torch.ones_like(cosine, dtype=torch.bool).index_put((origin, towards), ~hit)
        self._direct = (cosine / math.pi * reached) @ basis  # [V, bands^2]

        origin, towards, triangle = origin[hit], towards[hit], mesh.triangles[hits[hit]]
        corners = vertices[triangle]
        face = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        front = (face * directions[towards]).sum(-1) < 0
        origin, towards, triangle = origin[front], towards[front], triangle[front]
        weight = cosine[origin, towards] * (4 / DIRECTIONS)
        # Each of a triangle's corners stands for it in turn.
        turn = torch.arange(len(triangle), device=triangle.device) % 3
        seen = triangle.gather(1, turn[:, None])[:, 0]
        self._between = WeightedRows.of(origin, seen, weight, (len(vertices), len(vertices)))

    def whole(self, diffuse: Tensor, specular: Tensor) -> Tensor:
        """All that a surface reflects of light that bounces, of diffuse albedo [V, 3] and F0 [V, 1]: [V, 3]."""
        return diffuse + self._plain * specular + self._grazing

    def light(self, environment: Tensor, albedo: Tensor) -> Tensor:
        """Radiance [V, 3] of a white matt surface at the vertices, by what comes from the surface itself.

        Parameters
        ----------
        environment: spherical-harmonics coefficients [bands^2, 3] of the light.
        albedo: of the vertices, by `whole`, [V, 3].
        """
        coming = self._direct @ environment
        total = torch.zeros_like(coming)
        for _ in range(self._bounces):
            coming = self._between(albedo * coming)
            total = total + coming
        return total


@lru_cache(maxsize=2)
def _hemispherical(lobe: SpecularLobe) -> tuple[float, float]:
    """What a lobe reflects of even light, over all views by their cosine: the part times F0, and the rest."""
    cosine = (torch.arange(COSINES, dtype=torch.float64) + 0.5) / COSINES
    parts = lobe.directional_albedo(USUAL_ROUGHNESS, cosine)
    plain, grazing = (float((2 * cosine * part).mean()) for part in parts)
    return plain, grazing


def interreflection_of(renderer: Transferable, scene: Scene, bands: int) -> Interreflection | None:
    """What a renderer's pictures of a scene's geometry hold beside direct light; None if that is all."""
    if renderer.max_bounces == 1:
        return None
    met = first_hits_of(renderer, scene)
    return Interreflection(scene, bands, renderer.max_bounces - 1, renderer.specular_lobe, met)


@torch.no_grad()
def at_vertices(scene: Scene) -> tuple[Tensor, Tensor]:
    """Diffuse albedo [V, 3] and F0 [V, 1] of a scene's vertices, whether it has maps or not."""
    mesh, material = scene.mesh, scene.material
    if not material.is_mapped:
        return material.diffuse[0], material.specular[0]
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    place = mesh.uvs.new_zeros(mesh.vertices.shape[1], 2)
    place[mesh.triangles.flatten()] = mesh.uvs[mesh.uv_triangles.flatten()]  # of a seam's sides, either
    return sample_map(material.diffuse, place)[0], sample_map(material.specular, place)[0]
