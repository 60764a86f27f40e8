"""What hides the light from points on a mesh: asked of the backend where it can tell, else of Embree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextface.errors import MissingPartError
from nextface.scene import Scene
from nextface.system.python import pip_install
from renderers.renderer import FirstHits, Occlusion, RayCaster, Renderer, ShadowCaster


def occlusion_of(renderer: Renderer, scene: Scene) -> Occlusion:
    """Which light the mesh of a scene of one photo lets through, by the renderer's own rays or by Embree's.

    Raises
    ------
    MissingPartError: when the renderer tells nothing of shadows and Embree is not here.
    """
    return renderer.occlusion(scene) if isinstance(renderer, ShadowCaster) else cast_rays(scene)


def cast_rays(scene: Scene) -> Occlusion:
    """Which light the mesh of a scene of one photo lets through, by Embree on one thread.

    Rays are traced in single precision, on the CPU: 6 million a second and core against a head.

    Raises
    ------
    MissingPartError: when the package embreex is not here.
    """
    hit = _traced(scene, "OCCLUDED")
    return lambda origins, directions: hit(origins, directions) == -1


def first_hits_of(renderer: Renderer, scene: Scene) -> FirstHits:
    """Which triangles of a scene of one photo rays meet, by the renderer's own rays or by Embree's.

    Raises
    ------
    MissingPartError: when the renderer casts no rays itself and Embree is not here.
    """
    return renderer.first_hits(scene) if isinstance(renderer, RayCaster) else first_hits(scene)


def first_hits(scene: Scene) -> FirstHits:
    """Which triangles of a scene of one photo rays meet, by Embree on one thread.

    Raises
    ------
    MissingPartError: when the package embreex is not here.
    """
    hit = _traced(scene, "INTERSECT")
    return lambda origins, directions: hit(origins, directions).long()


def _traced(scene: Scene, query: str) -> Callable[[Tensor, Tensor], Tensor]:
    """What Embree answers to a query about rays against a mesh in the camera frame, [R] int32."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingPartError(
            f"Shadows are found with the package embreex, which cannot be imported ({error}). Install it with "
            f"`{pip_install('embreex>=4.4,<5')}`, or set lightTransfer = False, which is slower and needs none."
        ) from error
    tracer = EmbreeScene()
    TriangleMesh(
        tracer,
        _rows(scene.camera.transform(scene.mesh.vertices)[0]),
        scene.mesh.triangles.cpu().numpy().astype(np.int32),
    )  # which puts itself into the scene

    def answers(origins: Tensor, directions: Tensor) -> Tensor:
        return torch.from_numpy(tracer.run(_rows(origins), _rows(directions), query=query)).to(origins.device)

    return answers


def _rows(values: Tensor) -> NDArray[np.float32]:
    return values.detach().to("cpu", torch.float32).contiguous().numpy()
