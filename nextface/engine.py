"""reconstruct(): one photo in, a relightable face out. The only place that knows the order of things."""

from __future__ import annotations

import math
import resource
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import renderers
from nextface.config import Config
from nextface.errors import DivergedError, Interrupted, MissingPartError
from nextface.export.debug import write_debug
from nextface.export.files import write_json
from nextface.export.folder import compare, draw, write_results
from nextface.export.plots import plot_losses
from nextface.fitting.coarse import fit_landmarks
from nextface.fitting.illumination import guess_light
from nextface.fitting.refine import MapWeights, refine
from nextface.fitting.refinement_space import complete, refinement_space
from nextface.fitting.statistical import StatisticalWeights, fit_statistical
from nextface.landmarks.embedding import load_or_compute
from nextface.models import create as create_model
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.preparation import Prepared, prepare
from nextface.progress import Progress, Silent
from nextface.reconstruction import LIGHT_LOBES, Checkpoint, Parameters, Reconstruction
from nextface.scene import Scene
from nextface.threads import limit_threads, renderer_threads
from nextface.versions import versions
from renderers.renderer import Renderer
from renderers.settings import Settings

EMBEDDING_SAMPLES = 64  # light paths a pixel, when a new model's mean face is shown to the landmark detector
EVEN_RADIANCE = 1.0  # of the light before anything is known about it


def reconstruct(
    photo: Path | str,
    output: Path | str = "output",
    config: Config | None = None,
    *,
    landmarks: Path | None = None,
    mask: Path | None = None,
    checkpoint: Path | None = None,
    skip_stages: frozenset[int] = frozenset(),
    face: int | None = None,
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> Reconstruction:
    """Reconstruct a relightable face from one photo and write the result folder `output/<photo's name>`.

    Parameters
    ----------
    photo: JPEG, PNG, WebP or HEIC.
    landmarks, mask: files that override detection (JSON, photo pixels) and the skin region (PNG, white = skin).
    checkpoint: where to start from; the stages that it has finished are not run again.
    skip_stages: of 1, 2 and 3, those not to run.
    face: which face, 0 being the largest.
    progress: where to report to; silent by default.
    model: a face model of your own, in place of the one that the configuration names.

    Raises
    ------
    NextFaceError: for everything that a user can mend; see `nextface.errors`.
    """
    photo, config, progress = Path(photo), config or Config(), progress or Silent()
    folder = Path(output) / photo.stem
    limit_threads(config)
    device = _tensor_device(config)
    chosen = model.to(device) if model else create_model(config.morphableModel, device, config.path)
    prepared = prepare(photo, config, folder, device, landmarks, mask, face)
    for note in prepared.notes:
        progress.note(note)
    for warning in prepared.warnings:
        progress.warn(warning)
    renderer = renderers.create(config.renderer, _renderer_settings(config))
    options = [f"--skipStage{stage}" for stage in sorted(skip_stages)]
    for name, value in (("landmarks", landmarks), ("mask", mask), ("face", face)):
        options += [] if value is None else [f"--{name}", str(value)]
    try:
        run = _Run(photo, folder, config, renderer, chosen, prepared, progress, options)
        return run.execute(checkpoint, skip_stages)
    finally:
        renderer.close()


def _renderer_settings(config: Config) -> Settings:
    return Settings(
        config.device,
        config.maxBounces,
        renderer_threads(config),
        config.visibilityGradients,
        config.rednerPython,
    )


def _tensor_device(config: Config) -> str:
    """Where tensors live. Mitsuba brings its own CUDA, so a CPU build of PyTorch may serve a GPU renderer."""
    if torch.cuda.is_available() and config.device != "cpu":
        return "cuda"
    if config.device == "cuda" and config.renderer == "vertex":
        raise MissingPartError(
            "device = cuda: this PyTorch has no working CUDA, and the vertex renderer runs on PyTorch. "
            "Install a CUDA build of PyTorch, or use --device cpu."
        )
    return "cpu"


@dataclass
class _Run:
    """One reconstruction on its way through the stages."""

    photo: Path
    folder: Path
    config: Config
    renderer: Renderer
    model: FaceModel
    prepared: Prepared
    progress: Progress
    options: list[str]  # of the command line, beside input, output, checkpoint and settings
    started: float = field(default_factory=time.monotonic)
    losses: dict[int, list[float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def execute(self, checkpoint: Path | None, skip_stages: frozenset[int]) -> Reconstruction:
        """Run the stages that are wanted and write everything."""
        current = self._start()
        done = 0
        if checkpoint is not None:
            loaded = Checkpoint.load(checkpoint, self.model)
            current, notes = loaded.resumed(current, self.config.textureResolution)
            done = loaded.stage if loaded.finished else loaded.stage - 1
            for note in (f"starting from {checkpoint}, stages up to {done} are done", *notes):
                self.progress.note(note)
        wanted = [stage for stage in (1, 2, 3) if stage > done and stage not in skip_stages]
        figures: dict[str, float | None] = {}
        if 1 in wanted:
            current = self._stage(1, self._coarse, current)
        if 2 in wanted:
            current = self._stage(2, self._statistical, current)
        if 3 in wanted:
            with self._timed("psnrStage2"):
                statistical = self._draw(replace(current, material=None))
                figures["psnrStage2"] = compare(statistical, self.prepared.target)["psnr"]
            current = self._stage(3, self._refine, current)
        try:
            with self._timed("output"):
                figures |= self._write(current, self.folder)
        except KeyboardInterrupt:
            path = self.folder / "checkpoints" / f"stage{max(wanted, default=done)}.npz"
            raise self._interrupted("while writing the results", path) from None
        metrics = self._metrics(figures)
        write_json(self.folder / "metrics.json", metrics)
        return replace(current, metrics=metrics, folder=self.folder)

    def _start(self) -> Reconstruction:
        """The mean face, in front of the camera, under even light."""
        model, observation = self.model, self.prepared.target.observation
        lobe = math.log(EVEN_RADIANCE * 4 * math.pi / LIGHT_LOBES)
        zeros = torch.zeros(1, 1, device=observation.srgb.device)
        parameters = Parameters(
            identity=zeros.repeat(1, model.identity_size),
            expression=zeros.repeat(1, len(model.expression_names)),
            albedo=zeros.repeat(1, model.albedo_size),
            rotation=zeros.new_tensor([[math.pi, 0, 0]]),
            translation=zeros.new_tensor([[0, 0, 600.0]]),
            focal=zeros.new_tensor([math.log(observation.focal)]),
            light=torch.full((1, LIGHT_LOBES, 3), lobe, device=zeros.device),
        )
        return Reconstruction(model, parameters, self.prepared.frame, self.config.bands, self.config.envMapRes)

    def _stage(
        self, stage: int, work: Callable[[Reconstruction, _Watch], Reconstruction], start: Reconstruction
    ) -> Reconstruction:
        """Run one stage; whatever ends it, a checkpoint of its last good state is kept."""
        watch = _Watch(self, stage, start)
        path = self.folder / "checkpoints" / f"stage{stage}.npz"
        try:
            with self._timed(f"stage{stage}"), watch.listening():
                result = work(start, watch)
        except DivergedError as error:
            watch.state.save(path, stage, finished=False)
            raise DivergedError(f"{error} The last good state is in {path}.") from error
        except Interrupted:
            watch.state.save(path, stage, finished=False)
            raise self._interrupted(f"in stage {stage}", path) from None
        result.save(path, stage)
        if watch.interrupted:
            raise self._interrupted(f"after stage {stage}", path)
        self.losses[stage] = watch.losses
        plot_losses(self.folder / "checkpoints" / f"stage{stage}_loss.png", watch.losses, stage)
        if self.config.saveIntermediateStage and stage < 3:
            self._write(result, self.folder / f"outputStage{stage}")
        return result

    def _coarse(self, start: Reconstruction, watch: _Watch) -> Reconstruction:
        observation, config = self.prepared.target.observation, self.config
        with self.progress.stage("1 landmarks", config.iterStep1) as bar:
            fitted = fit_landmarks(
                start,
                observation,
                self._embedding(),
                config.iterStep1,
                config.optimizeFocalLength,
                watch.counts(bar.advance),
            )
        return guess_light(fitted, observation)

    def _statistical(self, start: Reconstruction, watch: _Watch) -> Reconstruction:
        config = self.config
        weights = StatisticalWeights(
            config.weightLandmarks,
            config.weightIdentity,
            config.weightExpression,
            config.weightAlbedo,
            config.weightLight,
        )
        with self.progress.stage("2 statistical model", config.iterStep2) as bar:
            return fit_statistical(
                start,
                [self.prepared.target.observation],
                self._embedding(),
                self.renderer,
                weights,
                config.iterStep2,
                config.rtTrainingSamples,
                config.seed,
                config.optimizeFocalLength,
                watch.counts(bar.advance),
                watch.keep,
            )

    def _refine(self, start: Reconstruction, watch: _Watch) -> Reconstruction:
        config = self.config
        weights = {
            kind: MapWeights(
                *(
                    getattr(config, f"weight{kind.title()}{term}")
                    for term in ("Symmetry", "Consistency", "Smoothness")
                )
            )
            for kind in ("diffuse", "specular", "roughness")
        }
        base, domain = refinement_space(start, config.textureResolution, self.renderer.shades_vertices)
        observations = [self.prepared.target.observation]
        with self.progress.stage("3 reflectance maps", config.iterStep3) as bar:
            refined = refine(
                start,
                base,
                domain,
                observations,
                self.renderer,
                weights,
                config.weightLight,
                config.iterStep3,
                config.rtTrainingSamples,
                config.seed,
                watch.counts(bar.advance),
                watch.keep,
            )
        return complete(
            refined, base, [observation.mask for observation in observations], config.textureResolution
        )

    def _embedding(self) -> LandmarkEmbedding:
        def draw_mean_face(scene: Scene) -> Tensor:
            return self.renderer.render(scene, EMBEDDING_SAMPLES, self.config.seed)

        return load_or_compute(self.model, self.prepared.target.observation.detector, draw_mean_face)

    def _draw(self, current: Reconstruction) -> Any:
        return draw(current, self.renderer, self.config.rtSamples, self.config.seed)

    def _write(self, current: Reconstruction, folder: Path) -> dict[str, float | None]:
        config = self.config
        return write_results(
            current,
            self.prepared.target,
            self.renderer,
            folder,
            config.rtSamples,
            config.seed,
            config.textureResolution,
            config.saveExr,
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - start

    def _metrics(self, figures: dict[str, float | None]) -> dict[str, Any]:
        peak = sum(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        target = self.prepared.target
        return {
            "psnr": figures.get("psnr"),
            "psnrOval": figures.get("psnrOval"),
            "psnrStage2": figures.get("psnrStage2"),
            "maskShareOfOval": float((target.mask & target.oval).sum() / max(target.oval.sum(), 1)),
            "seconds": time.monotonic() - self.started,
            "peakMemoryMB": peak / (1024 if sys.platform != "darwin" else 1024**2),
            "secondsByPart": self.seconds,
            "iterations": {f"stage{stage}": len(losses) for stage, losses in self.losses.items()},
            "losses": {
                f"stage{stage}": losses[-1] if losses else None for stage, losses in self.losses.items()
            },
            "backend": self.renderer.name,
            "castsShadows": self.renderer.casts_shadows,
            "device": str(target.observation.srgb.device),
            "seed": self.config.seed,
            "versions": versions(),
        }

    def _interrupted(self, when: str, checkpoint: Path) -> Interrupted:
        """The orderly end, with the command that goes on from a checkpoint."""
        words = [sys.executable, "-m", "nextface", "reconstruct", "--input", str(self.photo)]
        words += ["--output", str(self.folder.parent), "--checkpoint", str(checkpoint), *self.options]
        for item in fields(self.config):
            value = getattr(self.config, item.name)
            if value != item.default:
                words += ["--set", f"{item.name}={value}"]
        return Interrupted(f"Interrupted {when}. Go on with:\n  {shlex.join(words)}")


class _Watch:
    """Keeps a stage's losses and last good state, writes debug files, and turns Ctrl-C into an orderly end."""

    def __init__(self, run: _Run, stage: int, start: Reconstruction) -> None:
        self.run, self.stage, self.state = run, stage, start
        self.losses: list[float] = []
        self.interrupted = False

    def counts(self, advance: Callable[[float], None]) -> Callable[[float], None]:
        """A callback that records a loss and advances the progress bar."""

        def count(loss: float) -> None:
            self.losses.append(loss)
            advance(loss)

        return count

    def keep(self, iteration: int, state: Reconstruction) -> None:
        """Remember the state after an iteration.

        Raises
        ------
        Interrupted: if Ctrl-C was pressed; the iteration is complete.
        """
        self.state = state
        every = self.run.config.debugFrequency
        if every and iteration % every == 0:
            name = f"stage{self.stage}_iteration{iteration:04d}"
            write_debug(self.run.folder / "debug", name, state, self.run._draw(state), self.run.prepared.target)
        if self.interrupted:
            raise Interrupted("")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first Ctrl-C finish the iteration; the second one stops at once."""

        def remember(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        try:
            previous = signal.signal(signal.SIGINT, remember)
        except ValueError:  # not the main thread: signals are somebody else's business
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)
