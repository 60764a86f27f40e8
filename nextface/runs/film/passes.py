"""Passes over a film's frames: each is compared with the person, then all are smoothed together.

Three passes: by landmarks alone, then with the frames' pixels at two sizes. In each, every frame is linearised
around its present state by itself, which is kept in a file; then all frames of a take are solved for at once
(`nextface.fitting.tracking.smoothing`). So no frame depends on the direction in which the film is run through,
memory does not grow with the film, and a run that was stopped goes on at the frame where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nextface.fitting.landmarks.coarse import initial_pose
from nextface.fitting.terms.shot_on_model import expected_expression
from nextface.fitting.tracking.coordinates import DRIFT
from nextface.fitting.tracking.frame_problem import FrameProblem, Observed
from nextface.fitting.tracking.frame_view import FrameView
from nextface.fitting.tracking.smoothing import Factors, smoothed, windows
from nextface.fitting.tracking.track import state_type
from nextface.landmarks.points import Landmarks
from nextface.preparation.film.cuts import Take
from nextface.preparation.film.sightings import landmarks_of
from nextface.system.progress import Progress
from nextface.videos.records import Records
from nextface.videos.video import Video

SIDES = (None, 80, 144)  # pixels across the face's square in each pass; None: landmarks alone
FIRST_STEPS = 5  # of a frame that starts at the mean expression, by landmarks alone
FIRST_DAMPING = 1e-3  # of these, relative to the diagonal
USUAL_FRAMES = 2000  # at most, that tell the usual sharpness


@dataclass(frozen=True)
class Passes:
    """What all passes need.

    Parameters
    ----------
    folder: where what is not final is kept.
    key: what it was made from and how.
    weight: of the prior of motion.
    """

    video: Video
    scheme: str
    sightings: Records
    takes: Sequence[Take]
    problem: FrameProblem
    folder: Path
    key: str
    weight: float
    progress: Progress

    def run(self, finished: Records) -> None:
        """Run all passes; the last one's states go to `finished`, which may hold some already."""
        states: Records | None = None
        for number, side in enumerate(SIDES):
            last = number == len(SIDES) - 1
            with self._equations(number) as equations:
                self._linearise(number, side, states, equations)
                if states is not None:
                    states.__exit__(None, None, None)
                states = finished if last else self._states(number)
                self._smooth(equations, states)

    def _equations(self, number: int) -> Records:
        return Records(self.folder / f"pass{number}.equations", equation_type(self.problem), self.key)

    def _states(self, number: int) -> Records:
        kind = state_type(self.problem.coordinates.size)
        return Records(self.folder / f"pass{number}.states", kind, self.key)

    def _linearise(self, number: int, side: int | None, states: Records | None, equations: Records) -> None:
        """Add the equations of all frames that are not there yet."""
        usual = self._usual_sharpness()
        name = f"4 film, pass {number + 1} of {len(SIDES)}"
        with self.progress.count(name, len(equations), len(self.sightings), "frames") as count:
            for frame, rgb in self._pictures(len(equations), side is not None):
                record = np.zeros((), equations.kind)
                sighting = self.sightings.read(frame, frame + 1)[0]
                face = landmarks_of(sighting, self.scheme)
                if face is not None and self._take_of(frame) >= 0:
                    view = None if side is None or rgb is None else FrameView.of(rgb, face, side)
                    seen = self._observed(face, view, float(sighting["sharpness"]) / usual)
                    if states is None:
                        state = self._first_state(seen)
                    else:
                        state = states.read(frame, frame + 1)[0]["state"]
                    found = self.problem.linearised(state, seen)
                    record["state"], record["explained"] = state, found.explained
                    record["gradient"] = found.matrix @ state - found.vector
                    record["matrix"] = found.matrix[_lower(len(state))]
                equations.append(record)
                count.step()

    def _pictures(self, first: int, wanted: bool) -> Iterator[tuple[int, np.ndarray | None]]:
        """Numbers of the frames from `first` on, with their pictures [H, W, 3] where these are wanted."""
        if first >= len(self.sightings):
            return
        if not wanted:
            yield from ((frame, None) for frame in range(first, len(self.sightings)))
            return
        stamp = int(self.sightings.read(first, first + 1)["stamp"][0])
        done = first
        for frame in self.video.frames(first, stamp):
            if frame.number < len(self.sightings):
                yield frame.number, frame.rgb
                done = frame.number + 1
        yield from ((frame, None) for frame in range(done, len(self.sightings)))  # that cannot be read again

    def _smooth(self, equations: Records, states: Records) -> None:
        """Add the states of all frames that are not there yet."""
        prior = self.problem.coordinates.motion(self.weight)
        low, high = self.problem.coordinates.bounds()
        size = self.problem.coordinates.size
        for number, take in enumerate(self.takes):
            self._skip(states, take.first)
            for inner, outer in windows(take.first, take.stop):
                if len(states) >= inner.stop:
                    continue
                times = self.sightings.read(outer.start, outer.stop)["time"]
                records = equations.read(outer.start, outer.stop)
                solved = smoothed(factors(records, size), times, prior, low, high)
                chosen = slice(inner.start - outer.start, inner.stop - outer.start)
                made = np.zeros(inner.stop - inner.start, states.kind)
                made["time"], made["take"], made["state"] = times[chosen], number, solved[chosen]
                made["seen"] = self.sightings.read(inner.start, inner.stop)["found"]
                made["confidence"] = np.where(made["seen"], records["explained"][chosen], 0)
                states.append(made[max(len(states) - inner.start, 0) :])
        self._skip(states, len(self.sightings))

    def _skip(self, states: Records, frame: int) -> None:
        """Add frames without a take up to a frame."""
        while len(states) < frame:
            stop = min(frame, len(states) + USUAL_FRAMES)
            empty = np.zeros(stop - len(states), states.kind)
            empty["time"], empty["take"] = self.sightings.read(len(states), stop)["time"], -1
            states.append(empty)

    def _take_of(self, frame: int) -> int:
        """The number of the take that a frame belongs to, or -1."""
        return next((number for number, take in enumerate(self.takes) if take.first <= frame < take.stop), -1)

    def _usual_sharpness(self) -> float:
        """The median over the film's faces."""
        every = -(-len(self.sightings) // USUAL_FRAMES)
        some = [self.sightings.read(frame, frame + 1)[0] for frame in range(0, len(self.sightings), every)]
        known = [float(one["sharpness"]) for one in some if one["found"]]
        return max(float(np.median(known)), 1e-6) if known else 1.0

    def _observed(self, face: Landmarks, view: FrameView | None, sharpness: float) -> Observed:
        model = self.problem.points.state.model
        expected = expected_expression(model, face.blendshapes).mean.double().cpu()
        points = torch.from_numpy(face.points)
        size = float((points.amax(0) - points.amin(0)).prod().sqrt())
        indices = self.problem.habit.embedding.indices.cpu()
        return Observed(points[indices], size, expected, view, sharpness)

    def _first_state(self, seen: Observed) -> np.ndarray:
        """A frame's state by its own landmarks alone."""
        problem = self.problem
        low, high = problem.coordinates.bounds()
        expression = seen.expected
        places, _, _ = problem.habit.around(expression)
        rotation, translation = initial_pose(places, seen.points, problem.camera.intrinsics[0].double())
        state = np.concatenate([expression.numpy(), rotation, translation, np.zeros(DRIFT)]).clip(low, high)
        for _ in range(FIRST_STEPS):
            found = problem.linearised(state, seen)
            damped = found.matrix + np.diag(FIRST_DAMPING * found.matrix.diagonal() + 1e-9)
            step = np.linalg.solve(damped, found.vector - found.matrix @ state)
            state = (state + step).clip(low, high)
        return state


def equation_type(problem: FrameProblem) -> np.dtype:
    """What is kept of each frame's equations."""
    size = problem.coordinates.size
    return np.dtype(
        [
            ("state", "<f8", (size,)),  # around which they hold
            ("gradient", "<f8", (size,)),
            ("matrix", "<f4", (size * (size + 1) // 2,)),  # its lower triangle, row by row
            ("explained", "<f4"),
        ]
    )


def factors(records: np.ndarray, size: int) -> Factors:
    """What records of `equation_type` say, for the smoothing."""
    rows, columns = _lower(size)
    matrix = np.zeros((len(records), size, size))
    matrix[:, rows, columns] = records["matrix"]
    matrix[:, columns, rows] = records["matrix"]
    return Factors(matrix, np.einsum("tuv,tv->tu", matrix, records["state"]) - records["gradient"])


def _lower(size: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.tril_indices(size)
    return rows, columns
