"""The front door for films: a film in, what one person does in it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

import renderers
from nextface.config import Config
from nextface.errors import ConfigError, FaceNotFoundError, Interrupted, VideoError
from nextface.export.claim import Claim, claimed
from nextface.export.film.results import write_track
from nextface.export.formats.gltf.head import write_glb
from nextface.fitting.statistical.terms import StatisticalWeights
from nextface.fitting.tracking.coordinates import FrameCoordinates
from nextface.fitting.tracking.face_points import FacePoints
from nextface.fitting.tracking.frame_problem import FrameProblem
from nextface.fitting.tracking.landmark_habit import LandmarkHabit
from nextface.fitting.tracking.track import Track, state_type
from nextface.landmarks.embedding.cache import load_or_compute
from nextface.models.face_model import FaceModel
from nextface.person.reconstruction import Reconstruction
from nextface.photos.folder import result_name
from nextface.preparation.film.choice import keyframes
from nextface.preparation.film.cuts import Take, takes
from nextface.preparation.film.sightings import scan, scheme_of, sighting_type
from nextface.runs.equipment import Equipment, equipped
from nextface.runs.film import person as film_person
from nextface.runs.film.animation import head_motion
from nextface.runs.film.passes import Passes
from nextface.scene import Camera, Scene
from nextface.scene.geometry import intrinsic_matrix
from nextface.system.interrupts import endings_as_interrupts
from nextface.system.paths import given_path
from nextface.system.progress import Progress, Silent
from nextface.system.versions import versions
from nextface.videos.records import Records
from nextface.videos.video import Video
from renderers.renderer import Transferable
from renderers.settings import Settings

HEAD = "head.glb"  # the person's head, moving as in the film
WORK = "work"  # in the result folder: what a stopped run goes on from; removed at the end
EMBEDDING_SAMPLES = 64  # light paths a pixel, when a new model's mean face is shown to the landmark detector


def track(
    video: Path | str,
    output: Path | str = "output",
    config: Config | None = None,
    *,
    face: int = 0,
    films: bool = True,
    meshes: bool = False,
    pictures: bool = False,
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> Path:
    """Follow one face through a film and write the result folder `output/<film's name>`, which is returned.

    A run that was stopped goes on where it stopped, when it is started with the same film and settings.

    Parameters
    ----------
    video: a film that FFmpeg reads.
    face: which face to follow where one is first seen, 0 being the largest.
    films: whether to draw the fit over the film, and beside it.
    meshes: whether to write the head of every frame as a mesh.
    pictures: whether to write every frame as a picture, for programs that read `transforms.json`.
    progress: where to report to; silent by default.
    model: a face model of your own, in place of the one that the configuration names.

    Raises
    ------
    NextFaceError: for everything that a user can mend; see `nextface.errors`.
    """
    started = time.monotonic()
    video, output = given_path(video, "The film's path"), given_path(output, "output")
    config, progress = config or Config(), progress or Silent()
    if face < 0:
        raise ConfigError(f"--face {face}: faces are counted from 0, the largest.")
    if config.device == "cuda":
        raise ConfigError("A film is tracked on the CPU; leave device = auto, or set device = cpu.")
    config = replace(config, device="cpu")
    shown = Video.open(video)
    folder = output / result_name(video)
    with equipped(config, model) as equipment, claimed(folder, video) as claim, endings_as_interrupts():
        run = _FilmRun(shown, folder, claim, equipment, face, progress, started)
        try:
            with ExitStack() as files:
                found = run.tracked(files)
                write_track(found, shown, folder, films, meshes, pictures, run.draw, progress)
                write_glb(folder / HEAD, found.person[0], motion=head_motion(found))
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(
                f"Interrupted {run.doing}. Run the same command again: it goes on there."
            ) from None
        run.tidy()
    return folder


class _FilmRun:
    """One film on its way to a track."""

    def __init__(
        self,
        video: Video,
        folder: Path,
        claim: Claim,
        equipment: Equipment,
        face: int,
        progress: Progress,
        started: float,
    ) -> None:
        self._video, self._folder, self._claim, self._equipment = video, folder, claim, equipment
        self._face, self._progress, self._started = face, progress, started
        config = equipment.config
        settings = {name: value for name, value in asdict(config).items() if name not in ("threads", "verbose")}
        stat = video.path.stat()
        self._key = f"{versions()} {settings} {face} {stat.st_size} {stat.st_mtime_ns}"
        self._scheme = scheme_of(config.landmarksDetectorType)
        self._plain = renderers.create("vertex", Settings(str(equipment.device)))
        self.doing = "before the first frame"

    def tracked(self, files: ExitStack) -> Track:
        """The track; its records stay open as long as `files`."""
        for note in self._video.notes:
            self._progress.note(note)
        sightings = files.enter_context(self._records("sightings", sighting_type(self._scheme)))
        self._scan(sightings)
        found = self._takes(sightings)
        keyframe_numbers = keyframes(
            sightings, found, self._equipment.config.keyFrames, self._video.width, self._video.height
        )
        self.doing = "while the person was reconstructed"
        folder = self._folder / film_person.FOLDER
        chosen = film_person.keyframe_shots(
            self._video, sightings, keyframe_numbers, self._equipment, folder, self._progress
        )
        named = ", ".join(str(one.number) for one in chosen)
        self._progress.note(f"The person is reconstructed from {len(chosen)} frames: {named}.")
        with self._records("person", film_person.MARK_TYPE) as marks:
            person = film_person.reconstructed(
                chosen, self._equipment, folder, self._progress, self._started, marks
            )
        self._keep_earlier(folder)
        problem = self._problem(person, chosen)
        states = files.enter_context(self._records("states", state_type(problem.coordinates.size)))
        self.doing = "in the film's frames"
        config, work = self._equipment.config, self._folder / WORK
        Passes(
            self._video,
            self._scheme,
            sightings,
            found,
            problem,
            work,
            self._key,
            config.weightMotion,
            self._progress,
        ).run(states)
        self.doing = "while the results were written"
        return Track(person, problem, states)

    def draw(self, scene: Scene) -> torch.Tensor:
        """The picture [h, w, 4] of a scene of one frame, without noise: linear, premultiplied."""
        return self._plain.render(scene, 1, 0)[0]

    def tidy(self) -> None:
        """Remove what is no longer needed, and what an earlier run left and this one did not make."""
        for path in (self._folder / WORK).glob("*"):
            path.unlink()
        (self._folder / WORK).rmdir()
        self._claim.remove_stale()

    def _records(self, name: str, kind: np.dtype) -> Records:
        return Records(self._folder / WORK / f"{name}.records", kind, self._key)

    def _scan(self, sightings: Records) -> None:
        """Look at every frame.

        Raises
        ------
        VideoError: if there is one frame alone.
        """
        self.doing = "while the film was looked through"
        name = self._equipment.config.landmarksDetectorType
        detector, notes = self._equipment.detectors.get(name)
        for note in notes:
            self._progress.note(note)
        total = max(self._video.expected, len(sightings))
        with self._progress.count("0 looking through the film", len(sightings), total, "frames") as count:
            scan(self._video, self._scheme, detector, self._face, sightings, count.step)
        if len(sightings) < 2:
            raise VideoError(
                f"{self._video.path} has one frame. Reconstruct it as a photo: `nextface reconstruct`."
            )

    def _takes(self, sightings: Records) -> list[Take]:
        """Where the film shows the face without a cut.

        Raises
        ------
        FaceNotFoundError: if it never does.
        """
        found = sightings.column("found")
        if not found.any():
            raise FaceNotFoundError(
                f"No face was found in any of the {len(found)} frames of {self._video.path} "
                f"({self._video.width} x {self._video.height} pixels). The face must be well lit, not hidden, "
                "and upright."
            )
        centres, sizes = [], []
        for first in range(0, len(sightings), 1024):
            points = sightings.read(first, first + 1024)["points"]
            centres.append(points.mean(1))
            sizes.append(np.sqrt(np.ptp(points, axis=1).prod(-1)))
        times, unlike = sightings.column("time"), sightings.column("unlike")
        result = takes(found, times, unlike, np.concatenate(centres), np.concatenate(sizes))
        inside = sum(len(take) for take in result)
        self._progress.note(
            f"The face is in {int(found.sum())} of {len(found)} frames, in {len(result)} "
            f"take{'s' if len(result) > 1 else ''} of {inside} frames together."
        )
        return result

    def _problem(self, person: Reconstruction, chosen: Sequence[film_person.Keyframe]) -> FrameProblem:
        """What frames are compared with."""
        config, renderer, model = self._equipment.config, self._equipment.renderer, person.model
        assert isinstance(renderer, Transferable)
        first = person[0]
        scale = float(np.sqrt(abs(np.linalg.det(first.frames[0].photo_to_image[:, :2]))))
        focal = first.parameters.focal.exp().double().cpu() / scale
        width, height = self._video.width, self._video.height
        middle = torch.tensor([[width / 2, height / 2]]).double()
        still = torch.zeros(1, 3).double()
        camera = Camera(intrinsic_matrix(focal, middle), still, still, width, height)
        light = person.sharing.by_photo("light", person.parameters.light)
        weights = StatisticalWeights(
            config.weightLandmarks,
            config.weightIdentity,
            config.weightExpression,
            config.weightAlbedo,
            config.weightLight,
        )
        embedding = load_or_compute(model, self._scheme, self._draw_mean_face())
        return FrameProblem(
            FacePoints.of(person, [one.shot for one in chosen], renderer),
            LandmarkHabit.of(person, embedding, [one.look for one in chosen]),
            FrameCoordinates(model.expression_prior),
            camera,
            light.exp().mean(0).log(),  # of powers: a mean of logarithms would be darker
            person.bands,
            weights,
        )

    def _draw_mean_face(self) -> Callable[[Scene], torch.Tensor]:
        renderer, seed = self._equipment.renderer, self._equipment.config.seed
        return lambda scene: renderer.render(scene, EMBEDDING_SAMPLES, seed)

    def _keep_earlier(self, folder: Path) -> None:
        """Files of the person that an earlier part of this run wrote belong to it, too."""
        self._claim.written.update(path for path in folder.rglob("*") if path.is_file())
