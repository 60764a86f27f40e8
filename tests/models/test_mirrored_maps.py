"""Mirror images of texels, on layouts that are symmetric and on others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from puppet import Puppet, make_puppet
from scipy.spatial import cKDTree
from torch import Tensor

from nextface.fitting.refinement.space import complete, refinement_space
from nextface.models.mirrored_maps import FlippedMap, texel_mirror
from nextface.models.open_head import load_open_head
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene import Mesh
from nextface.scene.baking import bake_vertices, texel_points
from nextface.scene.reflectance import from_latent, to_latent

SIZE = 256  # texels
ACROSS = torch.tensor([-1.0, 1, 1])


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    """The puppet with a mirror map of vertices; its two UV charts are no mirror images of each other."""
    puppet = make_puppet()
    mean = puppet.sheet.mean
    gap, mirror = cKDTree(mean.numpy()).query((mean * ACROSS).numpy())
    assert gap.max() < 1e-3
    return replace(puppet, mirror=torch.from_numpy(mirror))


def departures(mesh: Mesh, mirror: Tensor) -> tuple[Tensor, float]:
    """How far (mm) the mirrored map of places is from the mirrored places, where known, and how much is."""
    found = texel_mirror(mesh, mirror)
    assert found is not None and not isinstance(found, FlippedMap)
    places = bake_vertices(mesh.vertices, mesh, SIZE)
    mirrored = found.mirrored(places, torch.full_like(places, math.nan))
    gap = (mirrored - places * ACROSS)[0][texel_points(mesh, SIZE).covered].norm(dim=1)
    known = gap.isfinite()
    return gap[known], float(known.float().mean())


def test_mirror_images_are_those_in_space(puppet: Puppet) -> None:
    """Edges run otherwise on the other side, and so does the seam: beside it, texels have no mirror image."""
    assert puppet.mirror is not None
    mesh = Mesh.from_vertices(puppet.sheet.mean[None], puppet.triangles, puppet.uvs, puppet.uv_triangles)
    gap, known = departures(mesh, puppet.mirror)
    assert 0.95 < known < 1
    assert gap.median() < 0.05 and gap.quantile(0.95) < 1.0  # mm; a texel is about 1 mm


def test_triangles_say_where_seams_lead() -> None:
    """The open head with a bent layout: all its triangles have mirror images, those on seams, too."""
    head = load_open_head()
    assert head.uvs is not None and head.mirror is not None
    u, v = head.uvs.unbind(1)
    mesh = Mesh.from_vertices(
        head.mean[None], head.triangles, torch.stack([u * (0.6 + 0.4 * u), v], 1), head.uv_triangles
    )
    gap, known = departures(mesh, head.mirror)
    assert known == 1
    assert gap.median() < 0.05 and gap.quantile(0.95) < 1.0


def test_symmetric_layouts_are_flipped_exactly() -> None:
    head = load_open_head()
    mesh = Mesh.from_vertices(head.mean[None], head.triangles, head.uvs, head.uv_triangles)
    found = texel_mirror(mesh, head.mirror)
    assert found is not None and texel_mirror(mesh, head.mirror) is found
    values = torch.rand(1, 96, 96, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.mirrored(values, values), values.flip(2))
    assert texel_mirror(mesh, None) is None
    assert texel_mirror(Mesh.from_vertices(head.mean[None], head.triangles), head.mirror) is None


def test_maps_are_completed_from_the_other_side_of_any_layout(puppet: Puppet) -> None:
    """Half a face is seen, and darker the higher it is; so is then the half that is not seen."""
    frame = Frame(128, 128, torch.full((1, 2), 64.0), torch.eye(2, 3).numpy())
    parameters = Parameters(
        torch.zeros(1, puppet.identity_size),
        puppet.expression_prior.mean[None],
        torch.zeros(1, 0),
        torch.zeros(1, 3),
        torch.tensor([[0.0, 0, 600]]),
        torch.tensor([math.log(250.0)]),
        torch.zeros(1, LIGHT_LOBES, 3),
    )
    state = Reconstruction(puppet, parameters, (frame,), 9, 32)
    space = refinement_space(state, 128, False)
    mesh = state.scene().mesh
    places = bake_vertices(mesh.vertices, mesh, space.base.diffuse.shape[1])
    darker = (places[..., 1:2] / 200).clamp(-0.5, 0.5) * (places[..., :1] > -10)
    latent = to_latent(space.base.diffuse, "diffuse") - darker
    refined = replace(state, material=replace(space.base, diffuse=from_latent(latent, "diffuse")))
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[:, 64:] = True  # the subject's left, x > 0
    done = complete(refined, space.base, [mask], SIZE)
    assert done.material is not None and done.confidence is not None
    places = bake_vertices(mesh.vertices, mesh, SIZE)
    taken = (done.confidence[..., 1] > 0.9) & texel_points(mesh, SIZE).covered
    assert taken.sum() > 500 and (places[taken][:, 0] < 0).all()
    base = bake_vertices(state.model_material().diffuse, mesh, SIZE)
    change = to_latent(base, "diffuse") - to_latent(done.material.diffuse, "diffuse")
    wanted = (places[..., 1] / 200).clamp(-0.5, 0.5)
    assert (change.mean(-1) - wanted)[taken].abs().quantile(0.95) < 0.03
    correction = space.domain.mirrored(darker)
    assert correction is not None and not torch.equal(correction, darker.flip(2))
