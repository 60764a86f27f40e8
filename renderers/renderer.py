"""The protocol of a renderer: a scene in, a differentiable image out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from nextface.scene import Scene
from renderers.specular_lobe import SpecularLobe


class Renderer(Protocol):
    """Draws scenes. Gradients flow through torch autograd to every floating-point tensor of the scene."""

    name: str
    casts_shadows: bool  # False: light is unoccluded, and reports must say so
    shades_vertices: bool  # True: colours are computed at vertices only, so maps are refined there
    noisy: bool  # True: images are estimates from random light paths
    max_bounces: int  # surface reflections between light and camera; 1 is direct light

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance, premultiplied by coverage, and coverage alpha: [N, height, width, 4].

        Parameters
        ----------
        scene: what to draw; the environment lights the face but is not seen behind it.
        samples: light paths a pixel; a renderer without noise ignores it.
        seed: two renders with one seed are bit-identical; the backward pass
            derives its own seed from it, so that its noise is independent of the image's.

        Raises
        ------
        ValueError: when shapes or devices of the scene's tensors do not fit together.
        """
        ...

    def close(self) -> None:
        """Release what the renderer holds; it is not used afterwards."""
        ...


Occlusion = Callable[[Tensor, Tensor], Tensor]
"""Which light arrives: [R] bool of origins [R, 3] (mm) and unit directions [R, 3], both in the camera frame.

Origins lie a little above the surface; a direction points to where light comes from.
"""


FirstHits = Callable[[Tensor, Tensor], Tensor]
"""Which triangle each ray meets first, -1 where none: [R] int64 of rays as `Occlusion` takes them."""


@runtime_checkable
class Transferable(Renderer, Protocol):
    """A renderer whose images of direct light can be had as sums over the light, too.

    Only for backends whose images show a Lambert lobe and the specular one that they name.
    """

    specular_lobe: SpecularLobe


@runtime_checkable
class ShadowCaster(Renderer, Protocol):
    """A renderer that also tells where its shadows fall; for others `renderers.ray_casting` finds it out."""

    def occlusion(self, scene: Scene) -> Occlusion:
        """Tell which light the mesh of a scene of one photo lets through."""
        ...


@runtime_checkable
class RayCaster(Renderer, Protocol):
    """A renderer that also tells what its rays meet; for others `renderers.ray_casting` finds it out."""

    def first_hits(self, scene: Scene) -> FirstHits:
        """Tell which triangles of a scene of one photo rays meet."""
        ...
