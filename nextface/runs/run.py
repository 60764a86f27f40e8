"""One reconstruction on its way through the three stages, with checkpoints, figures and result files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextface.config import Config
from nextface.errors import DivergedError, Interrupted, NextFaceError, OutputError, TooLittleMemoryError
from nextface.export.debug import write_debug
from nextface.export.files import write_json
from nextface.export.folder import compare, draw, write_results
from nextface.export.plots import plot_losses
from nextface.export.report.page import write_report
from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.landmarks.illumination import exposures, guess_lights
from nextface.fitting.landmarks.plausibility import check_landmarks_fit
from nextface.fitting.landmarks.second_look import compared_landmarks
from nextface.fitting.refinement.refine import MapWeights, RefinementSettings, refine
from nextface.fitting.refinement.space import complete, refinement_space
from nextface.fitting.refinement.visibility import for_maps
from nextface.fitting.statistical.adam import fit_statistical
from nextface.fitting.statistical.gauss_newton import fit_by_gauss_newton
from nextface.fitting.statistical.posterior import face_of
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights
from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.fitting.terms.watcher import Watcher
from nextface.fitting.transfer.renderer import can_transfer, with_transfer
from nextface.landmarks.embedding.cache import load_or_compute
from nextface.person.arrangement import SEPARATE, Arrangement, in_places, settled, with_own_poses
from nextface.person.checkpoint import Checkpoint, save_checkpoint
from nextface.person.circumstances import circumstances_of
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Sharing
from nextface.photos.shot import Shot
from nextface.runs.equipment import Equipment
from nextface.runs.exports import EXPORTS, check_formats, export
from nextface.runs.plausibility import check_picture
from nextface.runs.watch import Watch
from nextface.scene import Scene
from nextface.system.atomic import sweep
from nextface.system.interrupts import endings_as_interrupts, held_back
from nextface.system.memory import first_line, is_shortage
from nextface.system.paths import cache_folder
from nextface.system.progress import Progress
from nextface.system.python import shell_line
from nextface.system.usage import Usage
from nextface.system.versions import versions
from renderers.renderer import Renderer

EMBEDDING_SAMPLES = 64  # light paths a pixel, when a new model's mean face is shown to the landmark detector
UNEVEN = 1.6  # ratio of photos' brightness in the same light, from which on the user is warned
EVEN_RADIANCE = 1.0  # of the light before anything is known about it


@dataclass
class Run:
    """One person's photos, and what is done with them.

    Parameters
    ----------
    started: when the run was asked for, as `time.monotonic` tells.
    command: words of the command line that makes this run again, without a checkpoint; empty where a command
        line cannot say it.
    arrangement: who shares what, and where the cameras stand.
    """

    shots: Sequence[Shot]
    folder: Path
    config: Config
    equipment: Equipment
    progress: Progress
    started: float
    command: Sequence[str] = ()
    arrangement: Arrangement = SEPARATE
    losses: dict[int, list[float]] = field(default_factory=dict)
    used: dict[str, Usage] = field(default_factory=dict)  # by each part of the run
    resumable: Path | None = None  # the last checkpoint that this run wrote or started from
    doing: str = "before the first stage"  # what would be interrupted now

    def execute(self, checkpoint: Path | None, skip_stages: frozenset[int]) -> Reconstruction:
        """Run the stages that are wanted and write everything; whatever ends it says how to go on."""
        with endings_as_interrupts():
            try:
                return self._executed(checkpoint, skip_stages)
            except (KeyboardInterrupt, Interrupted):
                raise Interrupted(f"Interrupted {self.doing}. {self._way_on()}") from None
            except DivergedError:  # says more itself: the state that was kept may well diverge again
                raise
            except NextFaceError as error:
                if self.resumable is not None:
                    error.args = (f"{error}\n{self._way_on()}",)
                raise
            except Exception as error:
                if is_shortage(error):
                    raise TooLittleMemoryError(
                        f"There was too little memory {self.doing}: {first_line(error)}. End other programs, "
                        "or make the photo (maxResolution) or the maps (textureResolution) smaller.\n"
                        + self._way_on()
                    ) from error
                if self.resumable is not None:
                    self.progress.warn(f"The program failed {self.doing}. {self._way_on()}")
                raise

    def _executed(self, checkpoint: Path | None, skip_stages: frozenset[int]) -> Reconstruction:
        for folder in (self.folder, cache_folder()):
            sweep(folder)
        check_formats(self.config.exports)
        self.equipment.start(self.progress)
        current = self.start()
        done = 0
        if checkpoint is not None:
            loaded = Checkpoint.load(checkpoint, self.equipment.model)
            current, notes = loaded.resumed(current, self.config.textureResolution)
            done = loaded.stage if loaded.finished else loaded.stage - 1
            self.resumable = checkpoint
            for note in (f"starting from {checkpoint}, stages up to {done} are done", *notes):
                self.progress.note(note)
        wanted = [stage for stage in (1, 2, 3) if stage > done and stage not in skip_stages]
        before_maps: list[float | None] = [None] * len(current)
        if 1 in wanted:
            current = self._stage(1, self._coarse, current)
        if 2 in wanted:
            current = self._stage(2, self._statistical, current)
        if 3 in wanted:
            with self._timed("psnrStage2"):
                statistical = replace(current, material=None)
                before_maps = [
                    compare(self._draw(statistical, photo), shot)["psnr"]
                    for photo, shot in enumerate(self.shots)
                ]
            current = self._stage(3, self._refine, current)
        self.doing = "while writing the results"
        with self._timed("output"):
            figures = self._write(current, self.folder)
        if formats := self.config.exports:
            with self._timed("export"):
                export(current, formats, self.folder / EXPORTS, self.folder.resolve().name)
        for figure, psnr in zip(figures, before_maps, strict=True):
            figure["psnrStage2"] = psnr
        metrics = self._metrics(figures, current)
        write_json(self.folder / "metrics.json", metrics)
        result = replace(current, metrics=metrics, folder=self.folder)
        if self.config.report:
            write_report(result)
        if 3 in wanted or 2 in wanted or done >= 2:  # before, nothing tried to look like the photo
            check_picture(metrics["photos"], self.folder)
        return result

    def start(self) -> Reconstruction:
        """The mean face, in front of every camera, under even light."""
        model, device = self.equipment.model, self.equipment.device
        arrangement = self.arrangement
        circumstances = circumstances_of(self.shots)
        if arrangement.rig is not None:
            circumstances = [replace(one, moment="one") for one in circumstances]
        sharing = Sharing.of(arrangement.table, circumstances)
        rows = {name: sharing.count(name) for name in sharing.table}
        lobe = math.log(EVEN_RADIANCE * 4 * math.pi / LIGHT_LOBES)
        focal = [math.log(self.shots[first].lens.focal) for first in sharing.firsts("focal")]
        parameters = Parameters(
            identity=torch.zeros(rows["identity"], model.identity_size, device=device),
            expression=model.expression_prior.mean.to(device).repeat(rows["expression"], 1),
            albedo=torch.zeros(rows["albedo"], model.albedo_size, device=device),
            rotation=torch.zeros(rows["rotation"], 3, device=device),
            translation=torch.tensor([[0, 0, 600.0]], device=device).repeat(rows["translation"], 1),
            focal=torch.tensor(focal, device=device),
            light=torch.full((rows["light"], LIGHT_LOBES, 3), lobe, device=device),
        )
        frames = tuple(shot.frame for shot in self.shots)
        return Reconstruction(
            model,
            parameters,
            frames,
            self.config.bands,
            self.config.envMapRes,
            rig=arrangement.rig and arrangement.rig.to(device),
            mounts=() if arrangement.rig is None else tuple(range(len(frames))),
            light_of_world=arrangement.light_of_world,
            sharing=sharing,
        )

    def _stage(
        self, stage: int, work: Callable[[Reconstruction, Watch], Reconstruction], start: Reconstruction
    ) -> Reconstruction:
        """Run one stage; whatever ends it, a checkpoint of its last good state is kept."""
        self.doing = f"in stage {stage}"
        watch = Watch(start, lambda iteration, state: self._debug(stage, iteration, state))
        finished = False
        with watch.listening():
            try:
                with self._timed(f"stage{stage}"):
                    result = work(start, watch)
                with held_back():
                    self._keep(result, stage)
                    finished = True
            except BaseException as error:
                with suppress(OutputError):  # where nothing can be written, that is what is said already
                    if not finished:
                        self._keep(watch.state, stage, finished=False)
                if isinstance(error, DivergedError):
                    raise DivergedError(f"{error} The last good state is in {self.resumable}.") from error
                raise
        self.doing = f"after stage {stage}"
        if watch.interrupted:
            raise Interrupted("")
        self.losses[stage] = watch.losses
        plot_losses(self.folder / "checkpoints" / f"stage{stage}_loss.png", watch.losses, stage)
        if self.config.saveIntermediateStage and stage < 3:
            self._write(result, self.folder / f"outputStage{stage}")
        return result

    def _keep(self, state: Reconstruction, stage: int, finished: bool = True) -> None:
        """Write a checkpoint, from which the run can go on."""
        path = self.folder / "checkpoints" / f"stage{stage}.npz"
        save_checkpoint(state, path, stage, finished)
        self.resumable = path

    def _coarse(self, start: Reconstruction, watch: Watch) -> Reconstruction:
        config, count = self.config, len(self.shots)
        fits = (1 if count == 1 else 2 * count) * (2 if self.arrangement.measured else 1)
        with self.progress.stage("1 landmarks", fits * config.iterStep1) as bar:

            def fit(state: Reconstruction) -> Reconstruction:
                steps, focal_moves = config.iterStep1, config.optimizeFocalLength
                fitted = fit_landmarks(state, self._on_model, steps, focal_moves, watch.counts(bar.advance))
                check_landmarks_fit(fitted, self._on_model)
                return fitted

            if self.arrangement.rig is None:
                fitted = fit(start)
            elif self.arrangement.measured:
                placed, said = in_places(fit(with_own_poses(start)), self.arrangement)
                self.progress.note(said)
                fitted = fit(placed)
            else:
                fitted = settled(fit(start))
        lit = guess_lights(fitted, [shot.observation for shot in self.shots])
        if lit.light_of_world:
            self._compare_exposures(lit)
        return lit

    def _compare_exposures(self, lit: Reconstruction) -> None:
        """Warn where photos that share a light are brighter or darker than it makes them."""
        bright = exposures(lit, [shot.observation for shot in self.shots])
        most, least = bright.index(max(bright)), bright.index(min(bright))
        if bright[most] > UNEVEN * bright[least]:
            self.progress.warn(
                f"In the same light {self.shots[most].source.name} is {bright[most] / bright[least]:.1f} times "
                f"as bright as {self.shots[least].source.name}: the cameras may have exposed differently. If "
                "so, --ownLight gives each photo a light of its own."
            )

    def _statistical(self, start: Reconstruction, watch: Watch) -> Reconstruction:
        config = self.config
        weights = StatisticalWeights(
            config.weightLandmarks,
            config.weightIdentity,
            config.weightExpression,
            config.weightAlbedo,
            config.weightLight,
        )
        settings = StatisticalSettings(
            weights, config.iterStep2, config.optimizeFocalLength, config.rtTrainingSamples, config.seed
        )
        renderer = self.equipment.renderer
        with self.progress.stage("2 statistical model", config.iterStep2) as bar:
            watcher = Watcher(watch.counts(bar.advance), watch.keep)
            if config.lightTransfer and not config.visibilityGradients and can_transfer(renderer):
                shots, look = self._on_model, self._compared
                fitted = fit_by_gauss_newton(start, shots, renderer, settings, watcher, look)
            else:
                shots = self._compared(start)
                fitted = fit_statistical(
                    start, shots, self._still_renderer(start, self.shots), settings, watcher
                )
        return fitted if fitted.rig is None or self.arrangement.measured else settled(fitted)

    def _compared(self, state: Reconstruction) -> list[ShotOnModel]:
        """The photos, with their landmarks compared with those in pictures of a state."""
        equipment = self.equipment
        return compared_landmarks(
            state, self._on_model, equipment.renderer, equipment.detectors, self.config.seed
        )

    def _refine(self, start: Reconstruction, watch: Watch) -> Reconstruction:
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
        settings = RefinementSettings(weights, config.iterStep3, config.rtTrainingSamples, config.seed)
        shots = for_maps(start, self.shots)
        renderer = self._still_renderer(start, shots)
        space = refinement_space(start, config.textureResolution, renderer.shades_vertices)
        with self.progress.stage("3 reflectance maps", config.iterStep3) as bar:
            watcher = Watcher(watch.counts(bar.advance), watch.keep)
            refined = refine(start, space, shots, renderer, settings, watcher)
        return complete(refined, space.base, _masks(shots), config.textureResolution)

    def _still_renderer(self, start: Reconstruction, shots: Sequence[Shot]) -> Renderer:
        """The renderer, which draws faster as long as shapes, poses and cameras stay as they are."""
        if not self.config.lightTransfer:
            return self.equipment.renderer
        scenes = [start.scene(photo) for photo in range(len(start))]
        return with_transfer(self.equipment.renderer, scenes, _masks(shots), start.bands)

    @cached_property
    def _on_model(self) -> list[ShotOnModel]:
        """The photos, with the places of their landmarks on the model."""

        def draw_mean_face(scene: Scene) -> Tensor:
            return self.equipment.renderer.render(scene, EMBEDDING_SAMPLES, self.config.seed)

        model, detectors = self.equipment.model, {shot.landmarks.detector for shot in self.shots}
        known = {name: load_or_compute(model, name, draw_mean_face) for name in detectors}
        return [ShotOnModel(shot, model, known[shot.landmarks.detector]) for shot in self.shots]

    def _draw(self, current: Reconstruction, photo: int) -> Any:
        """A picture between the stages, which needs fewer light paths than the final one."""
        samples = max(self.config.rtSamples // 2, 1)
        return draw(current, self.equipment.renderer, samples, self.config.seed, photo)

    def _debug(self, stage: int, iteration: int, state: Reconstruction) -> None:
        every = self.config.debugFrequency
        if not every or iteration % every:
            return
        for photo, shot in enumerate(self.shots):
            name = f"stage{stage}_iteration{iteration:04d}" + (f"_{photo}" if photo else "")
            write_debug(self.folder / "debug", name, state[photo], self._draw(state, photo), shot)

    def _write(self, current: Reconstruction, folder: Path) -> list[dict[str, float | None]]:
        config = self.config
        return write_results(
            current,
            self.shots,
            self.equipment.renderer,
            folder,
            config.rtSamples,
            config.seed,
            config.textureResolution,
            config.saveExr,
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = Usage.now()
        yield
        self.used[part] = Usage.now().since(start)

    def _metrics(self, figures: Sequence[dict[str, float | None]], current: Reconstruction) -> dict[str, Any]:
        deviation = current.shape_deviation
        unsure = None if deviation is None else float(deviation[face_of(current.model)].median())
        photos: list[dict[str, Any]] = [
            {"photo": shot.source.name, **figure, "maskShareOfOval": shot.mask_share}
            for shot, figure in zip(self.shots, figures, strict=True)
        ]
        renderer = self.equipment.renderer
        return {
            **{name: _mean([photo[name] for photo in photos]) for name in photos[0] if name != "photo"},
            "photos": photos,
            "uncertaintyMedian": unsure,
            "seconds": time.monotonic() - self.started,
            "peakMemoryMB": Usage.now().peak_memory,
            "secondsByPart": {part: used.seconds for part, used in self.used.items()},
            "cpuSecondsByPart": {part: used.cpu_seconds for part, used in self.used.items()},
            "peakMemoryMBByPart": {part: used.peak_memory for part, used in self.used.items()},
            "iterations": {f"stage{stage}": len(losses) for stage, losses in self.losses.items()},
            "losses": {
                f"stage{stage}": losses[-1] if losses else None for stage, losses in self.losses.items()
            },
            "lossCurves": {
                f"stage{stage}": [float(f"{loss:.6g}") for loss in losses]
                for stage, losses in self.losses.items()
            },
            "warnings": [
                *self.equipment.warnings,
                *(warning for shot in self.shots for warning in shot.warnings),
            ],
            "backend": renderer.name,
            "castsShadows": renderer.casts_shadows,
            "maxBounces": renderer.max_bounces,
            "device": str(self.shots[0].observation.srgb.device),
            "seed": self.config.seed,
            "versions": versions(),
        }

    def _way_on(self) -> str:
        """How to go on from the last checkpoint."""
        if self.resumable is None:
            return "There is nothing to go on from: run it again."
        if not self.command:
            return f"Go on with checkpoint={str(self.resumable)!r}."
        words = [*self.command, "--checkpoint", str(self.resumable)]
        for item in fields(self.config):
            value = getattr(self.config, item.name)
            if value != item.default:
                words += ["--set", f"{item.name}={value}"]
        return f"Go on with:\n  {shell_line(words)}"


def _masks(shots: Sequence[Shot]) -> list[Tensor]:
    return [shot.observation.mask for shot in shots]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that there are, None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
