"""One person's skin as some thousand points, each with all that a frame needs to be compared with it.

A frame of a film is compared with these points and not with a picture of the whole mesh: where they lie in the
frame, what their colour is under its light, and how both change, costs some hundredths of a second. Points are
where keyframes show skin, about evenly spread; so hair, glasses and what else hid the skin there has none.

Colour is the project's own reflectance, unshadowed, times the share of the light that arrives past the head's
own shadows. That share turns with the head under the light (precomputed radiance transfer, as in
`nextface.fitting.transfer.light_transfer`): it is exact for a head that keeps its expression.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.point_motion import normal_motion
from nextface.fitting.tracking.sight import Sight
from nextface.fitting.transfer.light_transfer import transfer_vectors
from nextface.models.bases import neutral_vertices
from nextface.models.face_model import FaceModel
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.scene.geometry import rotation_matrix, vertex_normals
from nextface.scene.lighting import sh_rotation
from nextface.scene.pixel_points import PixelPoints
from renderers.ray_casting import occlusion_of
from renderers.renderer import Transferable

KEYFRAME_PIXELS = 3000  # of a keyframe's skin, that points are taken from
SPACING = 3.0  # mm between points, about
SHADOW_BANDS = 5  # of the light, in which its shadows are told
DIRECTIONS = 256  # of light that are followed
DIFFERENCE = 0.05  # spreads to either side, of expressions' slopes
MOST_LIT = 1.5  # times the unshadowed light: both are sums over few directions


@dataclass(frozen=True)
class MovingPoints:
    """Where points of a head are with an expression, and how they move with it; in model space."""

    places: Tensor  # [P, 3] mm
    motion: Tensor  # [P, 3, E] mm a unit
    normals: Tensor  # [P, 3] unit
    turning: Tensor  # [P, 3, E] of the normals, before they are made unit vectors


@dataclass(frozen=True)
class FacePoints:
    """P points of one person's skin."""

    state: Reconstruction  # of one keyframe (N = 1), for the model and the identity
    triangle: Tensor  # [P] int64
    barycentric: Tensor  # [P, 3]
    reflectance: Tensor  # [P, 5] diffuse albedo, F0 and roughness, means over a keyframe's pixel
    arriving: Tensor  # [2, P, SHADOW_BANDS^2] what the Lambert lobe sends on of a light in model space:
    # past the head's shadows, and without any
    sight: Sight
    rest: MovingPoints  # at the mean expression

    def __len__(self) -> int:
        return len(self.triangle)

    @classmethod
    @torch.no_grad()
    def of(cls, person: Reconstruction, shots: Sequence[Shot], renderer: Transferable) -> FacePoints:
        """The points that the keyframes show.

        Parameters
        ----------
        person: fitted to the keyframes, with or without maps.
        shots: the keyframes, with the skin in them.
        renderer: says what casts shadows.
        """
        parts = [_of_keyframe(person[number], shot, renderer) for number, shot in enumerate(shots)]
        state = person[0]
        vertices = neutral_vertices(state.model, state.parameters.identity)[0]
        triangle, barycentric, facing, reflectance, arriving = (
            torch.cat(values, 1 if number == 4 else 0) for number, values in enumerate(zip(*parts, strict=True))
        )
        places = _at(vertices, state.model.triangles[triangle], barycentric)
        chosen = _spread(places, facing)
        triangle, barycentric, places = triangle[chosen], barycentric[chosen], places[chosen]
        sight = Sight.of(places, vertices, state.model.triangles)
        mean = state.model.expression_prior.mean
        rest = _moving(state, triangle, barycentric, mean)
        return cls(state, triangle, barycentric, reflectance[chosen], arriving[:, chosen], sight, rest)

    def moved(self, expression: Tensor) -> MovingPoints:
        """The points with an expression [E], and their slopes there."""
        model = self.state.model
        if not model.linear:
            return _moving(self.state, self.triangle, self.barycentric, expression)
        offset = expression - model.expression_prior.mean.to(expression)
        normals = torch.nn.functional.normalize(self.rest.normals + self.rest.turning @ offset, dim=-1)
        return MovingPoints(
            self.rest.places + self.rest.motion @ offset, self.rest.motion, normals, self.rest.turning
        )

    def lit_share(self, light: Tensor, rotation: Tensor) -> Tensor:
        """How much [P] of a light [bands^2, 3] (camera's light frame) arrives past the head turned by [3]."""
        bands = min(math.isqrt(len(light)), SHADOW_BANDS)
        turned = sh_rotation(rotation_matrix(rotation.double()).T, bands).to(light) @ light[: bands**2]
        shadowed, free = (self.arriving[..., : bands**2] @ turned).mean(-1)
        return (shadowed / free.clamp(min=1e-6)).clamp(0, MOST_LIT)


def _of_keyframe(single: Reconstruction, shot: Shot, renderer: Transferable) -> tuple[Tensor, ...]:
    """Triangle [Q], barycentric [Q, 3], facing [Q], reflectance [Q, 5] and arriving [2, Q, B] of its points."""
    photo = WorkingPhoto.of(shot.observation, KEYFRAME_PIXELS)
    scene = single.scene()
    scene = replace(scene, camera=photo.camera(scene.camera))
    points = PixelPoints.of(scene, photo.observation.mask)
    material = scene.material
    values = torch.cat([material.diffuse, material.specular, material.roughness], -1)
    reflectance = points.averages(scene)(values.flatten(1, -2)[0])
    bands = min(single.bands, SHADOW_BANDS)
    turn = sh_rotation(rotation_matrix(single.parameters.rotation[0].double()).T, bands)
    lobe = renderer.specular_lobe
    arriving = []
    for reached in (occlusion_of(renderer, scene), _all_of_it):
        vectors = transfer_vectors(points, bands, reached, lobe, DIRECTIONS)[:, 0]  # of the Lambert lobe
        arriving.append((turn.to(vectors) @ vectors).T)
    view = torch.nn.functional.normalize(-points.positions[:, 0], dim=-1)
    facing = (points.normals[:, 0] * view).sum(-1)
    return points.triangle[:, 0], points.barycentric[:, 0], facing, reflectance, torch.stack(arriving)


def _all_of_it(origins: Tensor, directions: Tensor) -> Tensor:
    return origins.new_ones(len(origins), dtype=torch.bool)


def _spread(places: Tensor, facing: Tensor) -> Tensor:
    """Numbers of points [Q, 3] about `SPACING` apart: in each cell the one that faces its camera most."""
    cells = (places / SPACING).floor().long()
    cells = cells - cells.amin(0)
    size = cells.amax(0) + 1
    cell = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    order = facing.argsort(descending=True)
    order = order[cell[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = cell[order][1:] != cell[order][:-1]
    return order[first]


def expression_slopes(model: FaceModel, identity: Tensor, expression: Tensor) -> Tensor:
    """Derivatives [V, 3, E] (mm a unit) of an identity's [1, K] vertices by an expression [E]."""
    spread = model.expression_prior.spread.to(expression)
    steps = (DIFFERENCE * spread).diag()
    people = identity.expand(len(steps), -1)
    there, back = (model.vertices(people, expression + sign * steps) for sign in (1, -1))
    return ((there - back) / (2 * DIFFERENCE * spread[:, None, None])).permute(1, 2, 0)


def _moving(state: Reconstruction, triangle: Tensor, barycentric: Tensor, expression: Tensor) -> MovingPoints:
    """Points around an expression [E]."""
    model, identity = state.model, state.parameters.identity
    corners = model.triangles[triangle]
    vertices = model.vertices(identity, expression[None].to(identity))[0]
    slopes = expression_slopes(model, identity, expression.to(identity))
    seen = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    seen[corners] = True
    around = model.triangles[seen[model.triangles].any(1)]
    normals = vertex_normals(vertices[None], model.triangles)[0]
    turning = normal_motion(vertices, around, slopes)
    return MovingPoints(
        _at(vertices, corners, barycentric),
        _at(slopes, corners, barycentric),
        torch.nn.functional.normalize(_at(normals, corners, barycentric), dim=-1),
        _at(turning, corners, barycentric),
    )


def _at(values: Tensor, corners: Tensor, barycentric: Tensor) -> Tensor:
    """Vertex values [V, ...] at points of corners [P, 3]: [P, ...]."""
    weight = barycentric.to(values).view(*barycentric.shape, *[1] * (values.dim() - 1))
    return (values[corners] * weight).sum(1)
