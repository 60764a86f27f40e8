"""Carries the scans' modes onto the head: skin as it was registered, eyeballs with lids, teeth with teeth.

A mode is a field of offsets on the scans' mesh. Control points get the field whose refinement comes nearest to
it where the registration is trusted, and that bends least elsewhere: behind the lids, in the mouth, low on the
neck. Lids are kept on the eyeballs and lips together: every identity has eyes that fit and a shut mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nextface.surfaces.bending import factorised, similarity

from .. import eyeball
from ..catmull_clark import unique_edges
from ..statistics import reflect
from ..topology import PARTS, Head
from . import ict
from .edge_loops import halves, ring
from .registration import LID_RINGS, LIP_START, Registered, middle_ring

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

BENDING = 1.0  # mm^4: how bending counts against misses
LEAST_TRUST = 0.01  # where a nearest point is no true partner, but moves alike
REACH = 5.0  # mm that the correction of lids and lips reaches
# Rings of the left lids from the eyeball to the crease (two vertices each), and how far each keeps to the ball.
LID_STARTS = (
    (4340, 4341),
    (2242, 2248),
    (3587, 3605),
    (2244, 2249),
    (2246, 2250),
    (3613, 3632),
    (2317, 2330),
    (2346, 2347),
)
LID_SHARES = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4)
SIDES = ((1, "left_eye"), (-1, "right_eye"))
# Round the corners of the mouth: how far (mm), what registered points count there, and bending (mm^4).
CORNER, CORNER_WEIGHT, CORNER_BENDING = 3.0, 1e-4, 0.05
LINING = 8.0  # mm: how far behind the skin the lining of a socket moves with it
FINEST = 3.0  # mm: the population's changes are at least about as smooth as this
HELD = 100.0  # how it counts that lids keep to the eyeballs, and lips together


class Smoothness:
    """Fields over the skin's control points that bend little: discrete Laplacians in mm^-2."""

    def __init__(self, controls: Array, quads: Indices) -> None:
        edges, _, _ = unique_edges(quads)
        squares = ((controls[edges[:, 0]] - controls[edges[:, 1]]) ** 2).sum(1)
        count = len(controls)
        weight = sparse.csr_matrix((1 / squares, (edges[:, 0], edges[:, 1])), (count, count))
        weight = weight + weight.T
        degree = np.bincount(edges.ravel(), minlength=count)
        laplacian = sparse.diags(4 / degree) @ (weight - sparse.diags(np.asarray(weight.sum(1)).ravel()))
        self.bending = (laplacian.T @ laplacian).tocsc()

    def nearest_field(self, rows: sparse.csr_matrix, weights: Array, values: Array, bending: float) -> Array:
        """Fields [C, ...] whose `rows` [N, C] come near `values` [N, ...] by `weights` [N], and bend little."""
        weighted = sparse.diags(weights) @ rows
        system = (rows.T @ weighted + bending * self.bending).tocsc()
        flat = factorised(system).solve(np.asarray(weighted.T @ values.reshape(len(values), -1)))
        return flat.reshape(-1, *values.shape[1:])

    def nudge(self, rows: sparse.csr_matrix, values: Array, reach: float) -> Array:
        """Fields [C, ...] that are `values` [N, ...] at `rows` [N, C] and fade within about `reach` mm."""
        count = rows.shape[1]
        everything = sparse.vstack([rows, sparse.identity(count)]).tocsr()
        weights = np.concatenate([np.full(len(values), HELD), np.full(count, 1.0)])
        padded = np.concatenate([values, np.zeros((count, *values.shape[1:]))])
        return self.nearest_field(everything, weights, padded, reach**4)


@dataclass(frozen=True)
class Ball:
    """How an eyeball moves: offsets of its centre [K, 3] (mm) and growth [K] (mm of its radius)."""

    centre: Array
    radius: Array


def ball_motion(modes: Array, positions: Array, centre: Array, radius: float) -> Ball:
    """The translation and growth nearest to a scan eyeball's offsets [K, N, 3] at positions [N, 3]."""
    away = (positions - centre) / radius
    spread = away - away.mean(0)
    growth = np.einsum("knd,nd->k", modes, spread) / (spread**2).sum()
    return Ball(modes.mean(1) - growth[:, None] * away.mean(0), growth)


@dataclass(frozen=True)
class Carried:
    """The scans' statistics on the head's control points."""

    mean: Array  # [C, 3] mm
    modes: Array  # [K, C, 3] mm a standard deviation
    missed: Array  # [V] mm, root mean square over the trusted skin's modes of what refined control points miss


def opposite_points(upper: Indices, lower: Indices, fine: Array) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Rows [P, V] of points on the upper half of a ring of lids or lips; of those below them on the lower."""
    inner = upper[1:-1]
    place = np.interp(fine[inner, 0], fine[lower, 0], np.arange(len(lower)))
    before = np.minimum(place.astype(int), len(lower) - 2)
    share = place - before
    row = np.arange(len(inner))
    shape = (len(inner), len(fine))
    opposite = sparse.csr_matrix(
        (
            np.concatenate([1 - share, share]),
            (np.tile(row, 2), np.concatenate([lower[before], lower[before + 1]])),
        ),
        shape,
    )
    return sparse.csr_matrix((np.ones(len(inner)), (row, inner)), shape), opposite


def close_lips(
    fields: Array, rest: Array, head: Head, quads: Indices, positions: Array, smooth: Smoothness
) -> Array:
    """Fields [K, C, 3] over the skin, changed near the lips so that they meet at `rest` + field.

    `rest` [C, 3] is 0 for modes. Opening the mouth is the business of expressions.
    """
    refine = head.refine[: len(head.part), : len(positions)][head.part == 0]
    fine = refine @ positions
    loop = middle_ring(quads, LIP_START[0], fine)
    above, below = (rows @ refine for rows in opposite_points(*halves(loop, fine), fine))
    gap = np.stack([(above - below) @ (rest + field) for field in fields], 1) * [0, 1, 0]
    rows = sparse.vstack([above, below]).tocsr()
    return fields + smooth.nudge(rows, np.concatenate([-gap, gap]) / 2, REACH).transpose(1, 0, 2)


def soften_corners(controls: Array, rest: Array, head: Head, quads: Indices) -> Array:
    """Control points [C, 3] of the skin whose surface does not fold at the corners of the mouth.

    Where two lips meet on one line nearest points say nothing about the fold behind it: there the change from
    `rest` [C, 3] bends least.
    """
    refine = head.refine[: len(head.part), : len(controls)][head.part == 0]
    fine = refine @ controls
    loop = middle_ring(quads, LIP_START[0], fine)
    corners = fine[loop[[fine[loop, 0].argmin(), fine[loop, 0].argmax()]]]
    near = cKDTree(corners).query(controls)[0] < CORNER
    weights = np.where(near, CORNER_WEIGHT, 1.0)
    everything = sparse.identity(len(controls), format="csr")
    smooth = Smoothness(rest, quads)
    return rest + smooth.nearest_field(everything, weights, controls - rest, CORNER_BENDING)


def without_fine_detail(fields: Array, mean: Array, head: Head, quads: Indices) -> Array:
    """Fields [K, C, 3] without what changes over a few millimetres of the skin.

    On lids and lips, where edges are short, sums of such fields turn triangles over.
    """
    skin = int((head.control_part == 0).sum())
    smooth = Smoothness(mean[:skin], quads)
    everything = sparse.identity(skin, format="csr")
    calm = fields.copy()
    values = fields[:, :skin].transpose(1, 0, 2)
    calm[:, :skin] = smooth.nearest_field(everything, np.ones(skin), values, FINEST**4).transpose(1, 0, 2)
    return calm


def keep_linings_behind(
    fields: Array, mean: Array, lining: Indices, outer: Indices, head: Head, quads: Indices
) -> Array:
    """Fields [K, C, 3] of the skin by which the lining of the eye sockets moves with the skin in front of it.

    `lining` and `outer` number fine vertices. The scans have no such lining; left to itself, it stays where it
    is while a flat brow comes through it.
    """
    refine = head.refine[:, : fields.shape[1]]
    fine = head.refine @ mean
    distance, nearest = cKDTree(fine[outer]).query(fine[lining])
    near = distance < LINING
    rows = refine[lining[near]]
    apart = refine[outer[nearest[near]]] - rows
    values = np.stack([apart @ field for field in fields], 1)
    smooth = Smoothness(mean[: fields.shape[1]], quads)
    return fields + smooth.nudge(rows, values, REACH / 2).transpose(1, 0, 2)


class Socket:
    """The left eye: where its lids touch the ball, and the ball that fits them."""

    TRUST_IN_SCANS = 0.3  # of the scans' eyeball, against one point of the lids' edge

    def __init__(self, refine: sparse.csr_matrix, quads: Indices, positions: Array) -> None:
        self.contact = ring(quads, *LID_RINGS[1][0])
        self.outer = ring(quads, *LID_RINGS[0][0])
        self.lids = [self.contact] + [ring(quads, *start) for start in LID_STARTS]
        self.refine, self.positions = refine, positions

    def miss(self, centre: Array, gap: Array) -> tuple[Array, Array]:
        """How far [1, N] the lids' edge lies off the ball at a centre, beyond a gap [N]; normals [N, 3]."""
        away = (self.refine @ self.positions)[self.contact] - centre
        distance = np.linalg.norm(away, axis=1)
        return (distance - eyeball.RADIUS - gap)[None], away / distance[:, None]

    def place_ball(self, start: Array, gap: Array) -> Array:
        """The centre [3], near `start`, of the ball whose gap to the lids' edge is nearest to `gap` [N]."""
        centre = start
        for _ in range(20):
            (miss,), normals = self.miss(centre, gap)
            system = normals.T @ normals + self.TRUST_IN_SCANS * np.eye(3)
            centre = centre + np.linalg.solve(system, normals.T @ miss - self.TRUST_IN_SCANS * (centre - start))
        return centre

    def motions(self, fields: Array, scanned: Ball, centre: Array) -> tuple[Ball, Array, Array]:
        """How the ball follows the lids of fields [K, C, 3]; how far [K, N] they still miss it; its normals."""
        normals = (self.refine @ self.positions)[self.contact] - centre
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        rows = self.refine[self.contact]
        outward = np.stack([((rows @ field) * normals).sum(1) for field in fields])
        design = np.column_stack([normals, np.ones(len(normals))])
        start = np.column_stack([scanned.centre, scanned.radius])
        miss = outward - start @ design.T
        step = np.linalg.solve(design.T @ design + self.TRUST_IN_SCANS * np.eye(4), design.T @ miss.T).T
        motion = start + step
        return Ball(motion[:, :3], motion[:, 3]), outward - motion @ design.T, normals

    def hold_lids(self, fields: Array, ball: Ball, centre: Array, smooth: Smoothness) -> Array:
        """Changes [K, C, 3] of fields by which whole lids, not only their edges, follow a ball."""
        rows, values = [], []
        for loop, share in zip(self.lids, LID_SHARES, strict=True):
            normals = (self.refine @ self.positions)[loop] - centre
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            outward = np.stack([((self.refine[loop] @ field) * normals).sum(1) for field in fields])
            miss = outward - ball.centre @ normals.T - ball.radius[:, None]
            rows.append(self.refine[loop])
            values.append(-share * miss[..., None] * normals)
        return smooth.nudge(
            sparse.vstack(rows).tocsr(), np.concatenate(values, 1).transpose(1, 0, 2), REACH / 2
        ).transpose(1, 0, 2)

    def keep_lids_on(self, fields: Array, miss: Array, normals: Array, smooth: Smoothness) -> Array:
        """Fields [K, C, 3] whose lids' edges move outward by -miss [K, N] more, outer edges along with them."""
        edge = (self.refine @ self.positions)[self.contact]
        outside = (self.refine @ self.positions)[self.outer]
        nearest = ((outside[:, None] - edge[None]) ** 2).sum(2).argmin(1)
        shift = -miss[..., None] * normals
        rows = self.refine[np.concatenate([self.contact, self.outer])]
        values = np.concatenate([shift, shift[:, nearest]], 1).transpose(1, 0, 2)
        return fields + smooth.nudge(rows, values, REACH / 2).transpose(1, 0, 2)


def _frame(centre: Array, radius: Array | float, side: int) -> Array:
    """The four control points [4, 3] of an upright eyeball."""
    axes = np.array([[0, 0, 0], [side, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    return centre + radius * axes


def _frames(ball: Ball, side: int) -> Array:
    """Offsets [K, 4, 3] of an eyeball's control points; for side -1, of the mirror image of `ball`."""
    moved = zip(ball.centre, ball.radius, strict=True)
    return np.stack([_frame(centre * [side, 1, 1], radius, side) for centre, radius in moved])


def _affine(offsets: Array, source: Array, target: Array) -> Array:
    """Offsets [K, M, 3] at `target` [M, 3] of the affine maps nearest to `offsets` [K, N, 3] at `source`."""
    middle = source.mean(0)
    design = np.column_stack([source - middle, np.ones(len(source))])
    maps = np.einsum("an,knd->kad", np.linalg.pinv(design), offsets)
    return np.column_stack([target - middle, np.ones(len(target))]) @ maps


def carry(head: Head, controls: Array, quads: Indices, registered: Registered, scans: ict.Scans) -> Carried:
    """The scans' mean and modes on all control points, given the head's own mean `controls` [C, 3]."""
    skin = int((head.control_part == 0).sum())
    refine = head.refine[head.part == 0][:, :skin]
    smooth = Smoothness(registered.controls, quads)
    fine_modes = np.stack([registered.found.weights @ mode for mode in scans.modes], 1)
    trust = np.maximum(registered.trust, LEAST_TRUST)
    fields = smooth.nearest_field(refine, trust, fine_modes, BENDING).transpose(1, 0, 2)
    missed = np.sqrt(sum(((refine @ field - fine_modes[:, k]) ** 2).sum(1) for k, field in enumerate(fields)))

    still = np.zeros((1, skin, 3))
    rest = registered.scale * controls[:skin] @ registered.rotation.T
    soft = soften_corners(registered.controls, rest, head, quads)
    closed = soft + close_lips(still, soft, head, quads, soft, smooth)[0]
    ball = np.arange(ict.LEFT_EYE[0], ict.EYE_SURFACE)
    design = np.column_stack([2 * scans.neutral[ball], np.ones(len(ball))])
    scanned = np.linalg.lstsq(design, (scans.neutral[ball] ** 2).sum(1), rcond=None)[0][:3]
    own = controls[head.control_part == PARTS.index("left_eye")]
    old_gap = np.linalg.norm((refine @ controls[:skin])[ring(quads, *LID_RINGS[1][0])] - own[0], axis=1)
    old_gap -= np.linalg.norm(own[1:] - own[0], axis=1).mean()
    socket = Socket(refine, quads, closed)
    centre = socket.place_ball(scanned, old_gap)
    change = socket.keep_lids_on(still, *socket.miss(centre, old_gap), smooth)
    lids = closed + (change + reflect(change, head.control_mirror[:skin]))[0]

    mean, modes = np.zeros(controls.shape), np.zeros((len(fields), *controls.shape))
    mean[:skin], modes[:, :skin] = lids, fields
    radius = np.linalg.norm(scans.neutral[ball] - scanned, axis=1).mean()
    other = cKDTree(scans.neutral).query(scans.neutral[ball] * [-1, 1, 1])[1]
    offsets = {1: scans.modes[:, ball], -1: scans.modes[:, other] * [-1, 1, 1]}
    for side, name in SIDES:
        mine = np.flatnonzero(head.control_part == PARTS.index(name))
        mean[mine] = _frame(centre * [side, 1, 1], eyeball.RADIUS, side)
        moved = ball_motion(offsets[side], scans.neutral[ball], scanned, radius)
        modes[:, mine] = _frames(moved, side)

    loop = middle_ring(quads, LIP_START[0], refine @ controls[:skin])
    scale, rotation, shift = similarity((refine @ controls[:skin])[loop], (refine @ lids)[loop])
    upper, lower = ict.teeth(scans)
    for name, source in (("upper_teeth", upper), ("lower_teeth", lower), ("tongue", lower)):
        mine = head.control_part == PARTS.index(name)
        mean[mine] = scale * controls[mine] @ rotation.T + shift
        modes[:, mine] = _affine(scans.modes[:, source], scans.neutral[source], mean[mine])
    mean = (mean + reflect(mean, head.control_mirror)) / 2
    return Carried(mean, modes, missed)


def settle(head: Head, quads: Indices, mean: Array, fields: Array, scanned: int) -> Array:
    """Components [K, C, 3] with eyeballs that follow the lids, lids that keep to them, lips that stay shut.

    Of the first `scanned` components only the lids' edges are changed: those of the scans have lids that fit.
    """
    skin = int((head.control_part == 0).sum())
    mirror = head.control_mirror[:skin]
    smooth = Smoothness(mean[:skin], quads)
    socket = Socket(head.refine[head.part == 0][:, :skin], quads, mean[:skin])
    settled = fields.copy()
    settled[:, :skin] = close_lips(fields[:, :skin], np.zeros((skin, 3)), head, quads, mean[:skin], smooth)
    centre = mean[head.control_part == PARTS.index("left_eye")][0]
    changes = []
    for side, name in SIDES:
        # The right eye is the left one of the mirrored field.
        mine = np.flatnonzero(head.control_part == PARTS.index(name))
        left = settled[:, :skin] if side == 1 else reflect(settled[:, :skin], mirror)
        frames = fields[:, mine] * [side, 1, 1]
        growth = np.trace(frames[:, 1:] - frames[:, :1], axis1=1, axis2=2) / 3
        ball, miss, normals = socket.motions(left, Ball(frames[:, 0], growth), centre)
        settled[:, mine] = _frames(ball, side)
        change = np.concatenate(
            [
                socket.keep_lids_on(np.zeros_like(left[:scanned]), miss[:scanned], normals, smooth),
                socket.hold_lids(
                    left[scanned:], Ball(ball.centre[scanned:], ball.radius[scanned:]), centre, smooth
                ),
            ]
        )
        changes.append(change if side == 1 else reflect(change, mirror))
    settled[:, :skin] += sum(changes)
    return settled
