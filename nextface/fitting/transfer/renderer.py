"""Images as matrix products, without noise, for as long as geometry and view stand still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from nextface.fitting.transfer.interreflection import at_vertices, interreflection_of
from nextface.fitting.transfer.light_transfer import lobe_at, roughness_weights, transfer_vectors, vectors_size
from nextface.scene import Scene
from nextface.scene.pixel_points import PixelPoints, WeightedRows
from nextface.system.tensor_store import TensorStore
from renderers.ray_casting import occlusion_of
from renderers.renderer import Renderer, Transferable

MOST_STORED = 2_000_000_000  # bytes of all transfer vectors together; photos beyond it are drawn by ray tracing


class TransferRenderer:
    """Draws by light transfer what stands still, and leaves the rest to the renderer that it is put before.

    Scenes with the mesh and camera of one of those it was made for, and without gradients of these, are drawn
    by their light transfer: with colour in chosen pixels only, and 0 elsewhere. Gradients reach material and
    light; in what one place of the surface sends to another, albedo counts as given. A pixel shows the product
    of its mean reflectance and its mean transfer.

    Parameters
    ----------
    renderer: draws all other scenes, and says what is reflected, and what casts shadows. It is not closed with
        this one.
    scenes: one scene (N = 1) for each photo.
    masks: [height, width] bool of each photo, the pixels whose colour is wanted.
    bands: spherical harmonics bands that describe the light completely.
    """

    def __init__(
        self, renderer: Transferable, scenes: Sequence[Scene], masks: Sequence[Tensor], bands: int
    ) -> None:
        self.name = renderer.name
        self.casts_shadows = renderer.casts_shadows
        self.shades_vertices = renderer.shades_vertices
        self.max_bounces = renderer.max_bounces
        self._renderer = renderer
        self._bands = bands
        self.noisy = False
        self._photos: list[_Photo] = []
        store, size = TensorStore(), 0
        for scene, mask in zip(scenes, masks, strict=True):
            size += 4 * vectors_size(int(mask.sum()), bands)
            if size <= MOST_STORED:
                self._photos.append(_Photo(scene, mask, bands, renderer, store))
            else:
                self.noisy = renderer.noisy

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance and coverage [N, height, width, 4]; transfer needs neither `samples` nor `seed`.

        Protocol: `renderers.renderer.Renderer.render`.
        """
        for photo in self._photos:
            if photo.shows(scene):
                return photo.draw(scene, scene.environment.coefficients(self._bands)[0])[None]
        return self._renderer.render(scene, samples, seed)

    def close(self) -> None:
        """Release what was precomputed."""
        self._photos = []


def can_transfer(renderer: Renderer) -> TypeGuard[Transferable]:
    """Whether a renderer's images are sums over the light that arrives directly."""
    return isinstance(renderer, Transferable)


def with_transfer(renderer: Renderer, scenes: Sequence[Scene], masks: Sequence[Tensor], bands: int) -> Renderer:
    """A `TransferRenderer` before a renderer whose images are sums over light; else the renderer itself."""
    if can_transfer(renderer) and not renderer.shades_vertices:
        return TransferRenderer(renderer, scenes, masks, bands)
    return renderer


class _Photo:
    """One photo's transfer."""

    def __init__(
        self, scene: Scene, mask: Tensor, bands: int, renderer: Transferable, store: TensorStore
    ) -> None:
        self._geometry = [values.detach().clone() for values in _geometry(scene)]
        self._mask, self._store = mask, store
        points = PixelPoints.of(scene, mask)
        vectors = transfer_vectors(points, bands, occlusion_of(renderer, scene), renderer.specular_lobe)
        self._vectors = store.keep(vectors.mul_(points.share))
        self._pixel, self._share, self._coverage = points.pixel, points.share, points.coverage
        self._between = interreflection_of(renderer, scene, bands)
        if self._between is not None:
            self._from_vertices = points.vertex_averages(scene.mesh).kept(store.keep)
        self._averages: Callable[[], WeightedRows] | None = None
        self._layout: torch.Size | None = None  # of the material that `_averages` are for

    def shows(self, scene: Scene) -> bool:
        """Whether a scene has the mesh and camera of this photo, and wants no gradients of them."""
        return all(
            not b.requires_grad and a.shape == b.shape and torch.equal(a, b)
            for a, b in zip(self._geometry, _geometry(scene), strict=True)
        )

    def draw(self, scene: Scene, light: Tensor) -> Tensor:
        """The image [height, width, 4] under light [bands^2, 3]."""
        material = scene.material
        if self._averages is None or self._layout != material.diffuse.shape:
            # The points are found again here, because kept they would need a quarter of the vectors' memory.
            self._averages = PixelPoints.of(scene, self._mask).averages(scene).kept(self._store.keep)
            self._layout = material.diffuse.shape
        values = torch.cat([material.diffuse, material.specular, material.roughness], -1).flatten(0, -2)
        diffuse, specular, roughness = self._averages()(values).split([3, 1, 1], 1)
        # [3, 1 + 2 LEVELS, P]: in this layout the product and its gradient by the light read memory in order.
        vectors = self._vectors()
        response = (light.T @ vectors.flatten(1)).unflatten(1, vectors.shape[1:])
        plain, grazing = lobe_at(response, roughness_weights(roughness))
        colour = diffuse.T * response[:, 0] + specular.T * plain + grazing
        if self._between is not None:
            arriving = self._between.light(light, self._between.whole(*at_vertices(scene)))
            bounced = self._from_vertices()(arriving) * self._share[:, None]
            colour = colour + (self._between.whole(diffuse, specular) * bounced).T
        coverage = self._coverage
        image = colour.new_zeros(coverage.numel(), 3).index_copy(0, self._pixel, colour.T)
        return torch.cat([image.view(*coverage.shape, 3), coverage[..., None]], -1)


def _geometry(scene: Scene) -> list[Tensor]:
    mesh, camera = scene.mesh, scene.camera
    return [mesh.vertices, mesh.normals, camera.intrinsics, camera.turn, camera.translation]
