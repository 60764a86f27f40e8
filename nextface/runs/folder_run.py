"""A folder of photos, each of another person: one result folder each, and an index of them all."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nextface.config import Config
from nextface.errors import ConfigError, Interrupted, NextFaceError, OutputError
from nextface.export.claim import claimed
from nextface.export.report.index import Outcome, write_index
from nextface.models.face_model import FaceModel
from nextface.photos.folder import find_photos, result_names, sidecar
from nextface.runs.engine import reconstruct_with
from nextface.runs.equipment import Equipment
from nextface.runs.threads import excess_of_threads, share_of_cores
from nextface.system.atomic import replacing, sweep
from nextface.system.interrupts import endings_as_interrupts, held_back
from nextface.system.paths import given_path, given_path_or_none
from nextface.system.progress import Count, Progress, Silent, Stage
from nextface.system.workers import run_in_workers

NOTHING_KEPT = "Interrupted before there was anything to keep."
TRACE = "error.log"  # in a photo's result folder, where the program itself failed


@dataclass(frozen=True)
class Job:
    """One photo of the folder."""

    photo: Path
    folder: Path  # of its results
    landmarks: Path | None
    mask: Path | None
    skip_stages: frozenset[int]


class _Gathering:
    """Passes a run's reports on, keeps its warnings, and knows whether a stage began."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.warnings: list[str] = []
        self.began = False

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        self.began = True
        return self._progress.stage(name, total)

    def count(self, name: str, done: int, total: int, unit: str) -> AbstractContextManager[Count]:
        return self._progress.count(name, done, total, unit)

    def note(self, text: str) -> None:
        self._progress.note(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._progress.warn(text)


class Workplace:
    """Reconstructs photos one after another with one model and one renderer, loaded for the first of them."""

    def __init__(
        self, config: Config, model: FaceModel | None = None, progress: Progress | None = None
    ) -> None:
        self._config, self._model, self._progress = config, model, progress or Silent()
        self._equipment: Equipment | None = None

    def __call__(self, job: Job) -> Outcome:
        """Reconstruct one photo; whatever goes wrong with it is told in the outcome."""
        started = time.monotonic()
        progress = _Gathering(self._progress)
        status: str = "done"
        error: str | None = None
        psnr: float | None = None
        equipment: Equipment | None = None
        with suppress(OSError):  # it was never written, or the folder cannot be
            (job.folder / TRACE).unlink()
        try:
            equipment = self._equipment = self._equipment or Equipment(self._config, self._model)
            result = reconstruct_with(
                equipment,
                job.photo,
                job.folder,
                progress,
                started,
                landmarks=job.landmarks,
                mask=job.mask,
                skip_stages=job.skip_stages,
            )
            psnr = result.metrics["psnr"]
        except Interrupted as stopped:
            status, error = "interrupted", str(stopped)
        except KeyboardInterrupt:
            status, error = "interrupted", NOTHING_KEPT
        except NextFaceError as wrong:
            status, error = "failed", str(wrong)
        except Exception as fault:
            trace = f"{job.photo}\n\n{traceback.format_exc()}"
            with suppress(OutputError), replacing(job.folder / TRACE) as temporary:
                temporary.write_text(trace, encoding="utf-8", errors="backslashreplace")
            self.close()  # nobody knows what state the renderer is in: the next photo gets another
            status = "failed"
            error = (
                f"Internal error: {type(fault).__name__}: {fault}. This is our fault, not yours; please "
                f"report it with the file {job.folder / TRACE}."
            )
        drawn = status == "done" or progress.began
        of_renderer = equipment.warnings if equipment is not None and drawn else ()
        own = tuple(warning for warning in progress.warnings if warning not in of_renderer)
        return Outcome(job.photo, job.folder, status, psnr, time.monotonic() - started, error, own, of_renderer)

    def close(self) -> None:
        """Release the renderer."""
        if self._equipment is not None:
            self._equipment.close()
        self._equipment = None


def reconstruct_folder(
    photos: Path | str,
    output: Path | str = "output",
    config: Config | None = None,
    *,
    landmarks: Path | str | None = None,
    mask: Path | str | None = None,
    skip_stages: frozenset[int] = frozenset(),
    workers: int = 1,
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> list[Outcome]:
    """Reconstruct every photo in a folder, each as a person of its own, into `output/<photo's name>`.

    A photo that fails does not stop the others. `output/index.json` and `output/index.html` tell what became of
    each, and are kept up to date while the run goes on.

    Parameters
    ----------
    photos: the folder. Files that are no photos are ignored with a note.
    landmarks, mask: folders with <photo's name>.json and <photo's name>.png for photos whose landmarks or skin
        are given.
    workers: processes that work at the same time; with 1, this one works alone. Each takes its share of the
        cores, unless the configuration's `threads` says how many each may use.
    skip_stages, progress, model: as for `reconstruct`; a model of your own needs `workers` = 1.

    Returns
    -------
    What became of each photo, in the order of their names.

    Raises
    ------
    PhotoError: if the folder cannot be read or holds no photo.
    Interrupted: on Ctrl-C, after the photos that are being worked on have kept their checkpoints.
    """
    config, progress = config or Config(), progress or Silent()
    if workers < 1:
        raise ConfigError(f"--workers {workers}: at least one process must work.")
    if workers > 1 and model is not None:
        raise ConfigError("A model of your own cannot be handed to other processes: use workers = 1.")
    source, output = given_path(photos, "The folder's path"), given_path(output, "output")
    landmarks, mask = given_path_or_none(landmarks, "landmarks"), given_path_or_none(mask, "mask")
    found = find_photos(source)
    if found.note:
        progress.note(found.note)
    names = result_names(found.photos)
    jobs = [
        Job(
            photo,
            output / name,
            sidecar(landmarks, photo, ".json", "--landmarks"),
            sidecar(mask, photo, ".png", "--mask"),
            skip_stages,
        )
        for photo, name in zip(found.photos, names, strict=True)
    ]
    interrupted = False
    with endings_as_interrupts(), claimed(output, source):
        outcomes = [Outcome(job.photo, job.folder, "waiting", None, 0.0, None) for job in jobs]
        sweep(output)
        write_index(output, source, outcomes, found.others)
        if min(workers, len(jobs)) == 1:
            finished = _one_after_another(jobs, config, model, progress)
        else:
            finished = _at_the_same_time(jobs, config, min(workers, len(jobs)), progress)
        try:
            with closing(finished):
                for number, outcome in finished:
                    with held_back():
                        outcomes[number] = outcome
                        write_index(output, source, outcomes, found.others)
                    done = sum(other.status != "waiting" for other in outcomes)
                    progress.note(f"{done} of {len(jobs)}: {outcome.line()}")
        except KeyboardInterrupt:
            interrupted = True
    stopped = [outcome for outcome in outcomes if outcome.status == "interrupted"]
    if stopped or interrupted:
        done = sum(outcome.status == "done" for outcome in outcomes)
        lines = [f"Interrupted; {done} of {len(jobs)} photos are done. {output / 'index.json'} lists them."]
        lines += [f"{outcome.photo.name}: {outcome.error}" for outcome in stopped]
        raise Interrupted("\n".join(lines))
    return outcomes


def _one_after_another(
    jobs: list[Job], config: Config, model: FaceModel | None, progress: Progress
) -> Generator[tuple[int, Outcome], None, None]:
    """Every job's number and outcome; an interrupted job is the last."""
    with closing(Workplace(config, model, progress)) as workplace:
        for number, job in enumerate(jobs):
            progress.note(f"photo {number + 1} of {len(jobs)}: {job.photo.name}")
            outcome = workplace(job)
            yield number, outcome
            if outcome.status == "interrupted":
                return


def _at_the_same_time(
    jobs: list[Job], config: Config, workers: int, progress: Progress
) -> Generator[tuple[int, Outcome], None, None]:
    """Every started job's number and outcome, as they come."""
    own = share_of_cores(config, workers)
    excess = excess_of_threads(own)
    if excess is not None:
        progress.note(excess)
    progress.note(f"{len(jobs)} photos, {workers} at a time")
    lost = partial(_lost, started=time.time())
    said: set[str] = set()  # by renderers; each worker's says the same
    for number, outcome in run_in_workers(jobs, workers, partial(Workplace, own), lost):
        for warning in outcome.renderer_warnings:
            if warning not in said:
                progress.warn(warning)
        said.update(outcome.renderer_warnings)
        for warning in outcome.warnings:
            progress.warn(f"{outcome.photo.name}: {warning}")
        yield number, outcome


def _lost(job: Job, code: int | None, started: float) -> Outcome:
    """What became of a photo whose worker is gone; `started`: when the run did, as `time.time` tells."""
    found = (job.folder / "checkpoints").glob("stage*.npz")
    kept = sorted(path for path in found if path.stat().st_mtime >= started)
    way_on = f" Its last checkpoint is {kept[-1]}: go on with --checkpoint." if kept else ""
    if code is None:
        said = f"Interrupted.{way_on}" if kept else NOTHING_KEPT
        return Outcome(job.photo, job.folder, "interrupted", None, 0.0, said)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    error = (
        f"The process that worked on it {how}. If the machine ran out of memory, use fewer --workers; if not, "
        f"reconstruct this photo alone to see more.{way_on}"
    )
    return Outcome(job.photo, job.folder, "failed", None, 0.0, error)
