"""The same face in another model: coefficients whose vertices lie nearest to it, by surface correspondence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from nextface.completion.correspondence import SurfacePoints, find_correspondence
from nextface.completion.drawing import draw_plainly
from nextface.models import create
from nextface.models.face_model import FaceModel
from nextface.models.slopes import shape_slopes

EMBEDDED = "open"
NEAR = 4.0  # mm between surfaces at rest, from which correspondence is not believed
STEPS = 6  # Gauss-Newton steps; one is enough for a linear model without bounds
NOISE = 0.5  # mm: what correspondence errs, against a prior of one standard deviation


@dataclass(frozen=True)
class Converted:
    """A face in another model."""

    identity: Tensor  # [1, K]
    expression: Tensor  # [1, E]
    vertices: Tensor  # [1, V, 3] mm, in the frame of the face that was converted
    residual: Tensor  # [P] mm, distances at the points that were compared


@torch.no_grad()
def converted_face(source: FaceModel, identity: Tensor, expression: Tensor, target: FaceModel) -> Converted:
    """The target's coefficients of a source's face [1, K], [1, E], and what they leave.

    Gauss-Newton on distances between corresponding points and on the target's priors; between the steps a
    similarity is found in closed form, because models differ in where their middle is and in what their unit
    makes of a head. Expressions are kept inside their bounds.
    """
    head = create(EMBEDDED)
    points = _on_head(source, head).of(source.vertices(identity, expression)[0], source.triangles)
    there = _on_head(target, head)
    used = (there.distance < NEAR) & (_on_head(source, head).distance < NEAR)
    used &= head.regions["face"] | head.regions["ears"]
    points = points[used].double()
    prior = target.expression_prior
    mean = torch.cat([torch.zeros(target.identity_size), prior.mean]).double()
    spread = torch.cat([torch.ones(target.identity_size), prior.spread]).double()
    people = torch.full((target.identity_size,), torch.inf)
    low, high = (
        torch.cat([one, other]).double() for one, other in ((-people, prior.low), (people, prior.high))
    )
    state = mean.clone()
    slopes: Tensor | None = None

    def shown(vertices: Tensor) -> Tensor:
        return there.of(vertices, target.triangles)[..., used, :]

    def split(values: Tensor) -> tuple[Tensor, Tensor]:
        return values[None, : target.identity_size].float(), values[None, target.identity_size :].float()

    for _ in range(STEPS):
        scale, turn, shift = _similarity(shown(target.vertices(*split(state)))[0].double(), points)
        wanted = (points - shift) @ turn / scale  # in the target's frame
        person, mood = split(state)
        if slopes is None or not target.linear:
            slopes = shape_slopes(target, person[0], mood[0], shown).double().flatten(0, 1)
        missing = (wanted - shown(target.vertices(person, mood))[0].double()).flatten()
        system = slopes.T @ slopes / NOISE**2 + (1 / spread**2).diag()
        right = slopes.T @ missing / NOISE**2 + (mean - state) / spread**2
        state = within(system, state + torch.linalg.solve(system, right), low, high)
    person, mood = split(state)
    scale, turn, shift = _similarity(shown(target.vertices(person, mood))[0].double(), points)
    vertices = (scale * target.vertices(person, mood)[0].double() @ turn.T + shift)[None].float()
    residual = (shown(vertices)[0].double() - points).norm(dim=1)
    return Converted(person, mood, vertices, residual.float())


def within(system: Tensor, wanted: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where between bounds [P] a quadratic is least: of this matrix [P, P], with its minimum at `wanted` [P].

    What a bound takes away, the other coordinates make up for as far as they can: bounded-variable least
    squares (Stark and Parker, 1995).
    """
    root = torch.linalg.cholesky(system).mT
    bounds = (low.numpy(), high.numpy())
    return torch.from_numpy(lsq_linear(root.numpy(), (root @ wanted).numpy(), bounds, method="bvls").x)


def _on_head(model: FaceModel, head: FaceModel) -> SurfacePoints:
    """Where each vertex of the embedded head lies on the model."""
    if model.name == head.name:
        corners = torch.zeros(int(head.triangles.max()) + 1, dtype=torch.long)
        corners[head.triangles] = torch.arange(len(head.triangles))[:, None].expand(-1, 3)
        own = head.triangles[corners] == torch.arange(len(corners))[:, None]
        return SurfacePoints(corners, own.float(), torch.zeros(len(corners)))
    return find_correspondence(getattr(model, "own", model), head, draw_plainly).on_model


def _similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation and shift that take points [P, 3] nearest to others (Umeyama 1991)."""
    from nextface.surfaces.bending import similarity

    scale, turn, shift = similarity(source.numpy(), target.numpy())
    return torch.tensor(scale), torch.from_numpy(turn), torch.from_numpy(shift)
