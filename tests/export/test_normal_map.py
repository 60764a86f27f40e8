"""The normal map against spheres, and its refinement against trimesh's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch.nn.functional import normalize

from nextface.export.head.normals import encoded_normals, refined, smooth_normals
from nextface.scene import Mesh
from nextface.scene.baking import bake_vertices, sample_map
from nextface.scene.geometry import vertex_normals


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.array(mesh.vertices)), torch.from_numpy(np.array(mesh.faces)).long()


@pytest.mark.parametrize(
    "mesh",
    [
        trimesh.creation.icosphere(subdivisions=2),
        trimesh.creation.revolve([[1, 0], [1.3, 1], [1.1, 2], [0.8, 3]], sections=9),
    ],
    ids=["closed", "a tube with rims"],
)
def test_it_refines_as_another_library_does(mesh: trimesh.Trimesh) -> None:
    vertices, triangles = refined(*tensors(mesh))
    wanted, faces = trimesh.remesh.subdivide_loop(mesh.vertices, mesh.faces, iterations=1)
    used = vertices[triangles].numpy()
    np.testing.assert_allclose(used, wanted[faces], atol=1e-12)


def dome(columns: int, radius: float = 80.0) -> Any:
    """A person whose head is a part of a sphere, seen from +z, mapped by its longitude and latitude."""
    u, v = torch.meshgrid(torch.linspace(0, 1, columns), torch.linspace(0, 1, columns), indexing="xy")
    uvs = torch.stack([u.flatten(), v.flatten()], 1)
    place = radius * outward(uvs)
    number = torch.arange(columns**2).view(columns, columns)
    a, b, c, d = (
        part.flatten() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    )
    triangles = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    prior = SimpleNamespace(mean=torch.zeros(1))
    model = SimpleNamespace(
        triangles=triangles,
        uvs=uvs,
        uv_triangles=triangles,
        expression_prior=prior,
        vertices=lambda identity, expression: place[None],
    )
    return SimpleNamespace(model=model, parameters=SimpleNamespace(identity=torch.zeros(1, 1)))


def outward(uv: torch.Tensor) -> torch.Tensor:
    """The sphere's normals [..., 3] at places of its map."""
    longitude, latitude = (2 * (uv - 0.5)).unbind(-1)
    return torch.stack([longitude.sin() * latitude.cos(), latitude.sin(), longitude.cos() * latitude.cos()], -1)


def test_bent_normals_are_nearer_to_a_sphere() -> None:
    """Told back in the mesh's own frame, where a wrong sign would bend interpolated ones away."""
    person, size = dome(9), 64
    found = smooth_normals(person, size)
    model = person.model
    rest = model.vertices(None, None)
    mesh = Mesh.from_vertices(rest, model.triangles, model.uvs, model.uv_triangles)
    across = normalize(bake_vertices(vertex_normals(rest, model.triangles), mesh, size)[0], dim=-1)
    middle = (torch.arange(size) + 0.5) / size
    u, v = torch.meshgrid(middle, 1 - middle, indexing="xy")
    truth = outward(torch.stack([u, v], -1))
    along = torch.stack([truth[..., 2], torch.zeros_like(u), -truth[..., 0]], -1)  # increasing u
    along = normalize(along - (along * across).sum(-1, keepdim=True) * across, dim=-1)
    up = torch.linalg.cross(across, along)
    bent = found[..., :1] * along + found[..., 1:2] * up + found[..., 2:] * across
    inner = slice(size // 4, -size // 4)  # away from the rim, which both draw in

    def off(normals: torch.Tensor) -> float:
        return float(torch.rad2deg((normals - truth).norm(dim=-1))[inner, inner].square().mean().sqrt())

    assert off(bent) < 0.75 * off(across)


def test_green_says_which_way_is_up() -> None:
    normal = torch.tensor([[0.6, 0.0, 0.8], [0.0, 0.6, 0.8]])
    np.testing.assert_allclose(encoded_normals(normal), [[0.8, 0.5, 0.9], [0.5, 0.8, 0.9]], atol=1e-7)
    np.testing.assert_allclose(encoded_normals(normal, down=True)[1], [0.5, 0.2, 0.9], atol=1e-7)


def test_a_map_of_a_flat_mesh_is_flat() -> None:
    person = dome(5)
    flat = person.model.vertices(None, None) * torch.tensor([1.0, 1.0, 0.0])
    person.model.vertices = lambda identity, expression: flat
    normals = sample_map(smooth_normals(person, 32)[None], torch.rand(50, 2))
    np.testing.assert_allclose(normals[0], [[0.0, 0.0, 1.0]] * 50, atol=1e-5)
