"""Shadows of backends that tell nothing of them: Embree's rays against the other ray tracer's."""

from __future__ import annotations

import sys

import pytest
import torch
from rendered_photo import person
from torch import Tensor
from torch.nn.functional import normalize

from nextface.errors import MissingPartError
from nextface.models import create as create_model
from nextface.scene import Scene
from renderers.mitsuba.renderer import MitsubaRenderer
from renderers.ray_casting import cast_rays, occlusion_of
from renderers.vertex.renderer import VertexRenderer

RAYS = 2_000_000
ABOVE = 0.1  # mm, of the surface, from which rays start while fitting


@pytest.fixture(scope="module")
def head() -> Scene:
    pytest.importorskip("embreex")
    with torch.no_grad():
        return person(create_model("open"), 64).scene()


def rays_from_skin(scene: Scene) -> tuple[Tensor, Tensor]:
    """Origins and directions [RAYS, 3] of rays from anywhere on the mesh into the half space above."""
    generator = torch.Generator().manual_seed(1)
    corners = scene.camera.transform(scene.mesh.vertices)[0][scene.mesh.triangles]
    up = normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=-1)
    triangle = torch.randint(len(corners), (RAYS,), generator=generator)
    weight = torch.rand(RAYS, 3, generator=generator).clamp(min=1e-3)
    weight = weight / weight.sum(1, keepdim=True)
    origins = (weight[..., None] * corners[triangle]).sum(1) + ABOVE * up[triangle]
    directions = normalize(torch.randn(RAYS, 3, generator=generator), dim=1)
    below = (directions * up[triangle]).sum(1) < 0
    return origins, torch.where(below[:, None], -directions, directions)


def test_rays_meet_what_mitsubas_rays_meet(head: Scene) -> None:
    origins, directions = rays_from_skin(head)
    renderer = MitsubaRenderer("cpu", threads=1)
    expected = occlusion_of(renderer, head)(origins, directions)
    renderer.close()
    reached = cast_rays(head)(origins, directions)
    assert reached.dtype == torch.bool
    assert 0.3 < float(reached.float().mean()) < 0.95
    assert float((reached != expected).float().mean()) < 2e-6  # of rays that graze an edge


def test_double_precision_and_layout_do_not_matter(head: Scene) -> None:
    origins, directions = (values[:1000] for values in rays_from_skin(head))
    reached = cast_rays(head)
    expected = reached(origins, directions)
    assert torch.equal(reached(origins.double(), directions.T.contiguous().T), expected)
    assert len(reached(origins[:0], directions[:0])) == 0


def test_a_backend_is_asked_first(head: Scene) -> None:
    """No light is hidden where vertices are shaded, whatever Embree would say."""
    origins, directions = (values[:1000] for values in rays_from_skin(head))
    assert occlusion_of(VertexRenderer(), head)(origins, directions).all()


def test_without_embree_the_way_out_is_said(head: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("embreex", "embreex.mesh_construction", "embreex.rtcore_scene"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPartError, match=r"pip install 'embreex.*lightTransfer = False"):
        cast_rays(head)
