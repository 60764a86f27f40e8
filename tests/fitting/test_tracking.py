"""The face in every frame: what a frame says of it, and what all frames say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_film import TrueFrame, degrees, frames_at, known_problem, with_light

from nextface.fitting.tracking import smoothing
from nextface.fitting.tracking.coordinates import DRIFT, FrameCoordinates
from nextface.fitting.tracking.frame_problem import FrameProblem
from nextface.fitting.tracking.smoothing import Factors, MotionPrior, smoothed, windows
from nextface.models.gaze import eyeball_regions, gaze_directions
from nextface.models.open_head import load_open_head
from nextface.scene.geometry import rotation_matrix

SIZE = 128
WITHOUT_BOUNDS = np.full(4, -1e9), np.full(4, 1e9)


def random_factors(frames: int, unknowns: int = 4, rows: int = 6) -> tuple[Factors, np.ndarray]:
    """Factors of frames at uneven times [T]."""
    random = np.random.default_rng(0)
    slopes = random.normal(size=(frames, rows, unknowns))
    matrix = np.einsum("tru,trv->tuv", slopes, slopes)
    return Factors(matrix, random.normal(size=(frames, unknowns))), np.cumsum(
        random.uniform(0.02, 0.06, frames)
    )


def test_the_banded_solution_is_that_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven times, one frame that says nothing; without reweighting, against dense least squares."""
    monkeypatch.setattr(smoothing, "ROUNDS", 1)
    factors, times = random_factors(9)
    factors.matrix[3], factors.vector[3] = 0, 0
    prior = MotionPrior(np.array([1.0, 2, 30, 5]), 0.5)
    found = smoothed(factors, times, prior, *WITHOUT_BOUNDS)
    whole, (rows, spread) = np.zeros((9, 4, 9, 4)), prior.rows(times)
    for frame in range(9):
        whole[frame, :, frame] = factors.matrix[frame]
    for first, row in enumerate(rows):
        for unknown in range(4):
            jump = np.zeros((9, 4))
            jump[first : first + 3, unknown] = row / (spread[first] * prior.agility[unknown])
            whole += prior.weight * np.einsum("tu,sv->tusv", jump, jump)
    expected = np.linalg.solve(whole.reshape(36, 36), factors.vector.ravel()).reshape(9, 4)
    assert np.allclose(found, expected, atol=1e-6)


def test_steady_motion_costs_nothing_and_the_film_may_run_backwards() -> None:
    factors, times = random_factors(30)
    prior = MotionPrior(np.full(4, 0.3), 1.0)
    course = times[:, None] * [1.0, -2, 0.5, 3] + 1
    exact = Factors(factors.matrix, np.einsum("tuv,tv->tu", factors.matrix, course))
    assert np.allclose(smoothed(exact, times, prior, *WITHOUT_BOUNDS), course, atol=1e-5)
    forwards = smoothed(factors, times, prior, *WITHOUT_BOUNDS)
    backwards = Factors(factors.matrix[::-1], factors.vector[::-1])
    assert np.allclose(
        smoothed(backwards, times[-1] - times[::-1], prior, *WITHOUT_BOUNDS), forwards[::-1], atol=1e-6
    )


def test_windows_fit_together() -> None:
    """A take that is longer than a window, solved in windows and at once."""
    factors, times = random_factors(300)
    prior = MotionPrior(np.full(4, 10.0), 1.0)
    whole = smoothed(factors, times, prior, *WITHOUT_BOUNDS)
    parts = []
    for inner, outer in windows(0, 300):
        part = smoothed(
            Factors(factors.matrix[outer], factors.vector[outer]), times[outer], prior, *WITHOUT_BOUNDS
        )
        parts.append(part[inner.start - outer.start : inner.stop - outer.start])
    assert [len(part) for part in parts] == [128, 128, 44]
    assert np.abs(np.concatenate(parts) - whole).max() < 0.01 * whole.std()


def test_bounds_hold_and_jumps_stay_sharp() -> None:
    """A blink among noise: it stays a blink, where squares alone would smear it; and nothing leaves [0, 1]."""
    times = np.arange(40) / 30
    true = np.zeros(40)
    true[20:23] = 1
    seen = true + np.random.default_rng(0).normal(size=40) * 0.03
    factors = Factors(np.full((40, 1, 1), 40.0), 40 * seen[:, None])
    found = smoothed(factors, times, MotionPrior(np.array([7.0]), 0.14), np.zeros(1), np.ones(1))[:, 0]
    assert found.min() >= 0 and found.max() <= 1
    assert found[21] > 0.85 and found[17] < 0.1
    still = slice(0, 16)
    assert np.diff(found[still], 2).std() < 0.5 * np.diff(seen[still], 2).std()


@pytest.fixture(scope="module")
def frames() -> list[TrueFrame]:
    return frames_at((0, 14, 22), SIZE)


@pytest.fixture(scope="module")
def problem(frames: list[TrueFrame]) -> FrameProblem:
    return known_problem(frames[:2])


def settled(
    problem: FrameProblem, frame: TrueFrame, start: np.ndarray, side: int | None, noise: float
) -> np.ndarray:
    """Where Gauss-Newton's steps from a state end."""
    seen, state = frame.observed(side, noise), start
    low, high = problem.coordinates.bounds()
    for _ in range(6):
        found = problem.linearised(state, seen)
        damped = found.matrix + np.diag(1e-6 * found.matrix.diagonal())
        state = (state + np.linalg.solve(damped, found.vector - found.matrix @ state)).clip(low, high)
    return state


def test_a_frame_brings_a_face_back_to_where_it_is(problem: FrameProblem, frames: list[TrueFrame]) -> None:
    """A frame that is no keyframe, from a start that is 4 degrees, 8 mm and a closed mouth away."""
    frame = frames[2]
    mine, true = with_light(problem, frame), frame.state()
    expressions = problem.coordinates.expressions
    start = true.copy()
    start[:expressions] *= 0.3
    start[expressions : expressions + 3] += np.radians([2, -3, 2])
    start[expressions + 3 : expressions + 6] += [5, -4, 6]
    found = settled(mine, frame, start, 80, 0.0)
    assert degrees(found[expressions : expressions + 3], true[expressions : expressions + 3]) < 0.35
    assert (
        np.abs(found[expressions + 3 : expressions + 5] - true[expressions + 3 : expressions + 5]).max() < 0.6
    )
    assert np.abs(found[:expressions] - true[:expressions]).max() < 0.12


def test_pixels_tell_what_noisy_landmarks_do_not(problem: FrameProblem, frames: list[TrueFrame]) -> None:
    frame = frames[2]
    mine, true = with_light(problem, frame), frame.state()
    turn = slice(problem.coordinates.expressions, problem.coordinates.expressions + 3)
    alone, both = (settled(mine, frame, true, side, 2.0) for side in (None, 80))
    assert degrees(both[turn], true[turn]) < 0.9 * degrees(alone[turn], true[turn])


def test_the_drift_follows_the_light(problem: FrameProblem, frames: list[TrueFrame]) -> None:
    """A frame a third brighter and redder than under the main light."""
    frame = frames[2]
    gain = torch.tensor([1.4, 1.25, 1.2]).log()
    dimmed = with_light(problem, frame)
    dimmed = replace(dimmed, light=dimmed.light - gain)
    found = settled(dimmed, frame, frame.state(), 80, 0.0)
    drifted = dimmed.light_of(torch.from_numpy(found[-DRIFT:]))[0]
    true = dimmed.light_of(torch.zeros(DRIFT))[0] * gain.exp()
    assert torch.allclose(drifted, true, rtol=0.12)
    assert dimmed.linearised(found, frame.observed(80)).explained > 0.95


def test_an_eye_looks_where_it_was_turned() -> None:
    model = load_open_head()
    rest = model.mean
    eyes = eyeball_regions(model, rest)
    turn = rotation_matrix(torch.tensor([0.1, 0.3, 0.0]))
    turned = rest.clone()
    centre = rest[eyes[0]].mean(0)
    turned[eyes[0]] = (rest[eyes[0]] - centre) @ turn.T + centre + 5
    left, right = gaze_directions(rest, turned[None], eyes)[0]
    assert torch.allclose(left, turn[:, 2], atol=1e-4)
    assert torch.allclose(right, torch.tensor([0.0, 0, 1]), atol=1e-4)
    look = torch.zeros(1, len(model.expression_names))
    look[0, model.expression_names.index("eyeLookUpLeft")] = 1.0
    moved = model.vertices(torch.zeros(1, model.identity_size), look)
    assert gaze_directions(rest, moved, eyes)[0, 0, 1] > 0.15


def test_coordinates_are_told_apart() -> None:
    coordinates = FrameCoordinates(load_open_head().expression_prior)
    low, high = coordinates.bounds()
    prior = coordinates.motion(2.0)
    assert len(low) == len(high) == len(prior.agility) == coordinates.size == 52 + 6 + DRIFT
    assert (low[:52] == 0).all() and (high[:52] == 1).all() and low[57] > 0
    parts = coordinates.split(torch.arange(coordinates.size))
    assert [len(part) for part in parts] == [52, 3, 3, DRIFT]
