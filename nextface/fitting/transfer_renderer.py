"""Images as matrix products, without noise, for as long as geometry and view stand still."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextface.fitting.light_transfer import LEVELS, roughness_weights, transfer_vectors
from nextface.lighting import project_map
from nextface.pixel_points import PixelPoints, WeightedRows
from nextface.scene import Scene
from renderers.renderer import LightTransport, Renderer


class TransferRenderer:
    """Draws the photos that it was made for by their light transfer; gradients reach material and light.

    Colour is drawn in chosen pixels only, and is 0 elsewhere. A pixel shows the product of its mean reflectance
    and its mean transfer. Measured against Mitsuba: see `nextface.fitting.light_transfer`.
    """

    casts_shadows = True
    shades_vertices = False

    def __init__(
        self, renderer: Renderer, scenes: Sequence[Scene], masks: Sequence[Tensor], bands: int
    ) -> None:
        """Precompute the transfer of one scene (N = 1) for each photo.

        Parameters
        ----------
        renderer: says what casts shadows; `transfers_light(renderer)` must be true.
        masks: [height, width] bool of each photo, the pixels whose colour is wanted.
        bands: spherical harmonics bands that describe the light completely.
        """
        assert isinstance(renderer, LightTransport)
        self.name = renderer.name
        self._bands = bands
        self._photos = [_Photo(scene, mask, bands, renderer) for scene, mask in zip(scenes, masks, strict=True)]

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance and coverage [1, height, width, 4]; `samples` and `seed` change nothing here.

        Protocol: `renderers.renderer.Renderer.render`.

        Raises
        ------
        ValueError: for a scene whose mesh or camera is none of those that this was made for.
        """
        for photo in self._photos:
            if photo.shows(scene):
                return photo.draw(scene, project_map(scene.environment.radiance, self._bands)[0])[None]
        raise ValueError("the scene's mesh or camera has moved since its light transfer was computed")

    def close(self) -> None:
        """Release what was precomputed; the renderer that it came from stays open."""
        self._photos = []


def transfers_light(renderer: Renderer) -> bool:
    """Whether a renderer's images are sums over direct light that its shadows let through."""
    return isinstance(renderer, LightTransport) and renderer.max_bounces == 1


class _Photo:
    """One photo's transfer."""

    def __init__(self, scene: Scene, mask: Tensor, bands: int, renderer: LightTransport) -> None:
        self._geometry = _geometry(scene)
        self._points = PixelPoints.of(scene, mask)
        vectors = transfer_vectors(self._points, bands, renderer.occlusion(scene))
        self._vectors = vectors * self._points.share
        self._averages: WeightedRows | None = None
        self._layout: torch.Size | None = None  # of the material that `_averages` are for

    def shows(self, scene: Scene) -> bool:
        """Whether a scene has the mesh and camera of this photo."""
        return all(
            a.shape == b.shape and torch.equal(a, b)
            for a, b in zip(self._geometry, _geometry(scene), strict=True)
        )

    def draw(self, scene: Scene, light: Tensor) -> Tensor:
        """The image [height, width, 4] under light [bands^2, 3]."""
        material = scene.material
        if self._averages is None or self._layout != material.diffuse.shape:
            self._averages, self._layout = self._points.averages(scene), material.diffuse.shape
        values = torch.cat([material.diffuse, material.specular, material.roughness], -1).flatten(0, -2)
        diffuse, specular, roughness = self._averages(values).split([3, 1, 1], 1)
        # [3, 1 + 2 LEVELS, P]: in this layout the product and its gradient by the light read memory in order.
        response = (light.T @ self._vectors.flatten(1)).unflatten(1, self._vectors.shape[1:])
        weights = roughness_weights(roughness).T
        plain, grazing = (
            (weights * part).sum(1) for part in response[:, 1:].unflatten(1, (2, LEVELS)).unbind(1)
        )
        colour = diffuse.T * response[:, 0] + specular.T * plain + grazing
        coverage = self._points.coverage
        image = colour.new_zeros(coverage.numel(), 3).index_copy(0, self._points.pixel, colour.T)
        return torch.cat([image.view(*coverage.shape, 3), coverage[..., None]], -1)


def _geometry(scene: Scene) -> list[Tensor]:
    mesh, camera = scene.mesh, scene.camera
    return [mesh.vertices.detach(), camera.intrinsics, camera.rotation, camera.translation]
