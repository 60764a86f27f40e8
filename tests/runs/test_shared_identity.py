"""One person in several photos: one identity and one set of maps, fitted to all photos together."""

from __future__ import annotations

import json
import shlex
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PORTRAIT
from ctrl_c import PressesCtrlC
from made_shots import made_shot, on_model
from PIL import Image
from rendered_photo import fitting_config, person, photograph, together
from torch import Tensor
from typer.testing import CliRunner

from nextface import Config, cli, reconstruct, reconstruct_shared
from nextface.errors import CheckpointError, FaceNotFoundError, Interrupted
from nextface.export.saved.result import load_result
from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.refinement.refine import MapWeights, RefinementSettings, refine
from nextface.fitting.refinement.space import refinement_space
from nextface.fitting.refinement.visibility import relative_visibility
from nextface.fitting.statistical.adam import _priors, fit_statistical
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights, expression_scale
from nextface.fitting.terms.accumulation import PHOTO_SCALE, PhotoLosses, Shared, differentiate
from nextface.fitting.terms.losses import PhotoTerm
from nextface.fitting.terms.shot_on_model import ShotOnModel, landmark_points
from nextface.fitting.terms.watcher import Watcher
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.system.progress import Silent
from renderers.vertex.renderer import VertexRenderer

SIZES = (112, 104, 100)  # pixels of the photos
TURNS = ((4, 0), (3, 32), (5, -30))  # degrees down and to the side
QUICK: dict[str, Any] = {"iterStep1": 12, "iterStep2": 2, "iterStep3": 2, "rtSamples": 4, "report": False}


def in_photos(sizes: Sequence[int] = SIZES) -> Reconstruction:
    """The same person in several photos."""
    alone = [person(create_model("open"), size, turned=turn) for size, turn in zip(sizes, TURNS, strict=False)]
    return together(alone)


def shots_of(truth: Reconstruction, noise: float = 0.0) -> list[ShotOnModel]:
    """What photos of the truth show, drawn without rays, with noise on the landmarks (fraction of the face)."""
    random = torch.Generator().manual_seed(3)
    shots = []
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    for photo in range(len(truth)):
        scene = truth.scene(photo)
        with torch.no_grad():
            image = VertexRenderer().render(scene, 1, 0)[0]
        points = scene.camera.project(landmark_points(scene.mesh.vertices, truth.model, embedding))[0]
        points = points.detach() + noise * scene.camera.width * torch.randn(points.shape, generator=random)
        landmarks = torch.zeros(478, 2)
        landmarks[embedding.indices] = points
        encoded = image[..., :3].clamp(0, 1) ** (1 / 2.2)
        mask = image[..., 3] > 0.5
        focal = float(truth.parameters.focal[photo].exp())
        shots.append(on_model(made_shot(encoded, mask, landmarks, focal, 0.03), truth.model))
    return shots


# One graph at a time


def test_photo_by_photo_gives_the_gradient_of_the_sum() -> None:
    """Also through what the photos share, and with a regulariser of it."""
    truth, renderer = in_photos(), VertexRenderer()
    observations = [shot.observation for shot in shots_of(truth)]
    albedo = torch.zeros_like(truth.parameters.albedo).requires_grad_()
    light = truth.parameters.light.clone().requires_grad_()
    parts = [albedo, light]

    def state() -> Reconstruction:
        return truth.with_parameters(replace(truth.parameters, albedo=albedo, light=light))

    material = state().model_material()
    shared = Shared(material.diffuse, material.specular, material.roughness)
    drawn = replace(state(), material=Material(*shared.leaves))
    photos = PhotoLosses(3, observations, renderer, 0.4, 1, 0, 0)
    value = photos.backward(0, drawn.scene)
    value += differentiate(material.diffuse.square().mean(), 0, 3, shared)
    found = [part.grad for part in parts]

    terms = [PhotoTerm(observation, 0.4) for observation in observations]
    whole = state().model_material().diffuse.square().mean()
    for photo, term in enumerate(terms):
        image = renderer.render(state().scene(photo), 1, 0)[0]
        whole = whole + PHOTO_SCALE * term(image) / len(terms)
    expected = torch.autograd.grad(whole, parts)
    assert value == pytest.approx(whole.item(), rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert one is not None and other.abs().max() > 0
        assert (one - other).norm() < 1e-4 * other.norm()


class SavedTensors:
    """How much memory tensors take that autograd keeps for backward passes, now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    class _Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def pack(self, tensor: Tensor) -> _Held:
        held, size = SavedTensors._Held(tensor), tensor.numel() * tensor.element_size()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(held, self._free, size)
        return held

    def _free(self, size: int) -> None:
        self.now -= size

    @staticmethod
    def unpack(held: _Held) -> Tensor:
        return held.tensor


@pytest.mark.parametrize("stage", [2, 3])
def test_memory_does_not_grow_with_the_number_of_photos(stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of four photos take no more than one's."""
    most = []
    for count in (1, 4):
        truth = together([in_photos()[0]] * count)
        saved = SavedTensors()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
            fit(truth, stage)
        assert saved.now < 1000, "nothing is kept"
        most.append(saved.most)
    assert most[0] > 1e6
    assert most[1] < 1.1 * most[0]


def fit(truth: Reconstruction, stage: int, iterations: int = 2) -> Reconstruction:
    """A few iterations of stage 2 or 3, without rays."""
    shots, renderer = shots_of(truth), VertexRenderer()
    if stage == 2:
        weights = StatisticalWeights(1.0, 0.5, 3.0, 0.2, 0.2)
        return fit_statistical(
            truth, shots, renderer, StatisticalSettings(weights, iterations, True), Watcher()
        )
    space = refinement_space(truth, 256, True)
    maps = {kind: MapWeights(1.0, 1.0, 1.0) for kind in ("diffuse", "specular", "roughness")}
    settings = RefinementSettings(maps, iterations, samples=1, seed=0)
    return refine(truth, space, [one.shot for one in shots], renderer, settings, Watcher())


def test_more_photos_mean_more_evidence_against_the_same_prior() -> None:
    """Photo terms are means, so the priors of what photos share are divided by their number."""
    alone = in_photos()[0]
    scale = expression_scale(alone.model.expression_prior)
    weights = StatisticalWeights(1.0, 0.5, 3.0, 0.2, 0.2)
    costs = {}
    for count in (1, 4):
        copies = together([alone] * count)
        tracked = copies.parameters.detached()
        for item in fields(tracked):
            getattr(tracked, item.name).requires_grad_()
        state = copies.with_parameters(tracked)
        _priors(state, torch.zeros_like(tracked.expression), scale, weights).backward()
        costs[count] = {item.name: getattr(tracked, item.name).grad for item in fields(tracked)}
    for name in ("identity", "albedo"):
        assert torch.allclose(costs[4][name], costs[1][name] / 4)
    for name in ("expression", "light"):
        assert torch.allclose(costs[4][name].sum(0), costs[1][name][0], rtol=1e-4)


# Together is better than alone


def test_stage_1_knows_the_person_better_from_all_photos() -> None:
    truth = in_photos()
    shots = [
        replace(shot, embedding=replace(shot.embedding, errors=None))  # the noise here is independent
        for shot in shots_of(truth, noise=0.01)
    ]
    mean = replace(
        truth.parameters,
        identity=torch.zeros_like(truth.parameters.identity),
        expression=torch.zeros_like(truth.parameters.expression),
    )
    start = truth.with_parameters(mean)
    face = truth.model.regions["skin"]

    def shape_error(found: Reconstruction) -> float:
        neutral = torch.zeros(1, len(truth.model.expression_names))
        one, other = (
            truth.model.vertices(state.parameters.identity, neutral)[0, face] for state in (found, truth)
        )
        return float((one - other).norm(dim=1).mean())

    def quietly(cost: float) -> None:
        pass

    together = fit_landmarks(start, shots, 12, False, quietly)
    alone = [fit_landmarks(start[photo], [shots[photo]], 12, False, quietly) for photo in range(3)]
    assert together.parameters.identity.shape == truth.parameters.identity.shape
    assert shape_error(together) < 0.9 * np.mean([shape_error(one) for one in alone])
    for photo in range(3):
        turn = together.parameters.rotation[photo] - truth.parameters.rotation[photo]
        assert turn.norm() < 0.06


def test_a_pixel_counts_as_much_as_its_photo_shows_it_best() -> None:
    truth = in_photos((96, 96, 96))
    scenes = [truth.scene(photo) for photo in range(3)]
    masks = [shot.observation.mask for shot in shots_of(truth)]
    assert torch.equal(relative_visibility(scenes[:1], masks[:1])[0], torch.ones(96, 96))
    shares = relative_visibility(scenes, masks)
    sides = [
        [float(share[mask & half].mean()) for half in (torch.arange(96) < 48, torch.arange(96) >= 48)]
        for share, mask in zip(shares, masks, strict=True)
    ]
    assert min(sides[0]) > 0.9, "nothing shows the front better than the front view"
    for photo, far in ((1, sides[1]), (2, sides[2])):
        assert abs(far[0] - far[1]) > 0.03, f"one cheek turns away in view {photo}"
    assert all(share.min() >= 0 and share.max() <= 1.0001 for share in shares)


# Whole runs


@dataclass(frozen=True)
class Album:
    """Photos of one person, and the landmarks of them."""

    photos: Path
    landmarks: Path


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """Three photos of different sizes, one in which there is no face, and a text."""
    folder = tmp_path_factory.mktemp("album")
    result = Album(folder / "kim", folder / "points")
    result.photos.mkdir()
    result.landmarks.mkdir()
    truth = in_photos()
    for photo, name in enumerate(("a", "b", "d")):
        files = photograph(truth[photo], folder / name, samples=32)
        shutil.move(files.photo, result.photos / f"{name}.png")
        shutil.move(files.landmarks, result.landmarks / f"{name}.json")
    Image.new("RGB", (90, 70), (90, 120, 60)).save(result.photos / "c.png")
    (result.photos / "notes.txt").write_text("No photo.")
    return result


def quick_config(**changes: Any) -> Config:
    return fitting_config(112, **({"renderer": "vertex"} | QUICK | changes))


class Listener(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note


@pytest.fixture(scope="module")
def shared_run(album: Album, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reconstruction, list[str]]:
    listener = Listener()
    output = tmp_path_factory.mktemp("shared")
    config = quick_config()
    result = reconstruct_shared(album.photos, output, config, landmarks=album.landmarks, progress=listener)
    assert result.folder == output / "kim"
    return result, listener.said


def test_one_person_with_maps_once_and_the_rest_for_each_photo(shared_run) -> None:  # type: ignore[no-untyped-def]
    result, _ = shared_run
    names = {path.name for path in result.folder.iterdir()}
    for number in range(3):
        assert {f"scene_{number}.json", f"mesh{number}.obj", f"render_{number}.png"} <= names
        assert {f"reconstruction_{number}.png", f"envMap_{number}.exr", f"mask_{number}.png"} <= names
    assert {"diffuseMap_0.png", "visibility_0.png", "meshNeutral0.obj"} <= names
    assert not names & {"diffuseMap_1.png", "visibility_1.png", "meshNeutral1.obj", "scene_3.json"}
    described = [json.loads((result.folder / f"scene_{number}.json").read_text()) for number in range(3)]
    assert described[0]["model"]["identity"] == described[2]["model"]["identity"]
    assert described[0]["model"]["albedo"] == described[2]["model"]["albedo"]
    assert described[0]["model"]["expression"] != described[2]["model"]["expression"]
    assert described[0]["rotation"] != described[2]["rotation"]
    for number, scene in enumerate(described):
        with Image.open(result.folder / f"reconstruction_{number}.png") as picture:
            assert picture.size == (scene["width"], scene["height"])
    assert len({scene["width"] for scene in described}) > 1
    assert result.parameters.identity.shape[0] == 1 and len(result) == 3


def test_the_folder_is_read_back(shared_run) -> None:  # type: ignore[no-untyped-def]
    result, _ = shared_run
    read = load_result(result.folder).reconstruction
    assert len(read) == 3
    for photo in range(3):
        wanted, found = result.scene(photo), read.scene(photo)
        assert torch.equal(found.mesh.vertices, wanted.mesh.vertices)
        assert torch.equal(found.camera.turn, wanted.camera.turn)
        torch.testing.assert_close(found.camera.intrinsics, wanted.camera.intrinsics)
        torch.testing.assert_close(found.environment.radiance, wanted.environment.radiance)


def test_figures_tell_of_each_photo_and_their_means(shared_run) -> None:  # type: ignore[no-untyped-def]
    metrics = shared_run[0].metrics
    assert [photo["photo"] for photo in metrics["photos"]] == ["a.png", "b.png", "d.png"]
    for name in ("psnr", "psnrStage2", "maskShareOfOval"):
        assert metrics[name] == pytest.approx(np.mean([photo[name] for photo in metrics["photos"]]))
    assert all(photo["psnr"] > 15 for photo in metrics["photos"])


def test_a_photo_without_a_face_is_left_out_with_a_warning(shared_run) -> None:  # type: ignore[no-untyped-def]
    _, said = shared_run
    assert any("c.png is left out" in text and "No face" in text for text in said)
    assert any("notes.txt" in text for text in said)


def test_no_usable_photo_is_an_error(album: Album, tmp_path: Path) -> None:
    with pytest.raises(FaceNotFoundError, match="None of the 1 photos"):
        reconstruct_shared([album.photos / "c.png"], tmp_path, quick_config())


def test_maps_are_seen_from_all_sides(shared_run, album: Album, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    points = album.landmarks / "a.json"
    single = reconstruct(album.photos / "a.png", tmp_path, quick_config(), landmarks=points)
    together = shared_run[0]
    assert single.confidence is not None and together.confidence is not None
    assert together.confidence[..., 0].mean() > 1.1 * single.confidence[..., 0].mean()


def test_mitsuba_fits_several_photos_through_the_command_line(shared_run, album: Album, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """From the end of stage 1, which no backend takes part in."""
    words = ["reconstruct", "--input", str(album.photos), "--output", str(tmp_path), "--sharedIdentity"]
    words += ["--landmarks", str(album.landmarks), "--renderer", "mitsuba", "--device", "cpu"]
    words += ["--checkpoint", str(shared_run[0].folder / "checkpoints" / "stage1.npz")]
    for key, value in {**QUICK, "iterStep2": 1, "iterStep3": 1, "maxResolution": 80}.items():
        words += ["--set", f"{key}={value}"]
    result = CliRunner().invoke(cli.app, [*words, "--set", "textureResolution=256"])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "kim" / "metrics.json").read_text())
    assert metrics["backend"] == "mitsuba" and len(metrics["photos"]) == 3


# Checkpoints


def test_a_run_goes_on_from_a_checkpoint_of_all_photos(shared_run, album: Album, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result, _ = shared_run
    checkpoint = result.folder / "checkpoints" / "stage2.npz"
    resumed = reconstruct_shared(
        album.photos,
        tmp_path,
        quick_config(maxResolution=80),
        landmarks=album.landmarks,
        checkpoint=checkpoint,
        skip_stages=frozenset({3}),
    )
    kept = Checkpoint.load(checkpoint, result.model).parameters
    for item in fields(Parameters):
        if item.name != "focal":
            assert torch.equal(getattr(resumed.parameters, item.name), getattr(kept, item.name)), item.name
    scales = [
        now.photo_to_image[0, 0] / then.photo_to_image[0, 0]
        for now, then in zip(resumed.frames, result.frames, strict=True)
    ]
    ratio = (resumed.parameters.focal - kept.focal).exp()
    assert ratio.numpy() == pytest.approx(scales, rel=1e-4)


@pytest.mark.parametrize(
    ("names", "words"), [(["a", "b"], "3 photo.* this run has 2"), (["b", "a", "d"], "another photo 0")]
)
def test_a_checkpoint_of_other_photos_is_an_error(
    shared_run,  # type: ignore[no-untyped-def]
    album: Album,
    tmp_path: Path,
    names: list[str],
    words: str,
) -> None:
    with pytest.raises(CheckpointError, match=words):
        reconstruct_shared(
            [album.photos / f"{name}.png" for name in names],
            tmp_path,
            quick_config(),
            landmarks=album.landmarks,
            checkpoint=shared_run[0].folder / "checkpoints" / "stage2.npz",
        )


def test_a_checkpoint_of_the_first_release_is_read(finished: Path, tmp_path: Path) -> None:
    """It holds one photo, without a leading dimension."""
    arrays = dict(np.load(finished / "checkpoints" / "stage2.npz"))
    old = {**arrays, "version": 1, "photoToImage": arrays["photoToImage"][0]}
    old |= {name: arrays[name][0] for name in ("width", "height")}
    np.savez(tmp_path / "old.npz", **old)
    one, other = (
        Checkpoint.load(path, create_model("open"))
        for path in (tmp_path / "old.npz", finished / "checkpoints" / "stage2.npz")
    )
    assert np.array_equal(one.photo_to_image, other.photo_to_image)
    assert np.array_equal(one.sizes, other.sizes)


@pytest.mark.parametrize("name", ["identity", "albedo", "light", "focal"])
def test_a_checkpoint_whose_photos_do_not_match_is_an_error(
    name: str,
    shared_run,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    arrays = dict(np.load(shared_run[0].folder / "checkpoints" / "stage2.npz"))
    np.savez(tmp_path / "odd.npz", **{**arrays, name: np.concatenate([arrays[name][:1]] * 2)})
    with pytest.raises(CheckpointError, match=name):
        Checkpoint.load(tmp_path / "odd.npz", create_model("open"))


def test_ctrl_c_prints_the_command_that_goes_on(shared_run, album: Album, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Interrupted) as caught:
        reconstruct_shared(
            album.photos,
            tmp_path,
            quick_config(),
            landmarks=album.landmarks,
            checkpoint=shared_run[0].folder / "checkpoints" / "stage1.npz",
            progress=PressesCtrlC("2"),
        )
    words = shlex.split(str(caught.value).splitlines()[-1])
    assert "--sharedIdentity" in words
    assert words[words.index("--input") + 1] == str(album.photos)
    assert words[words.index("--landmarks") + 1] == str(album.landmarks)
    checkpoint = Path(words[words.index("--checkpoint") + 1])
    assert checkpoint.is_relative_to(tmp_path)
    kept = Checkpoint.load(checkpoint, create_model("open"))
    assert kept.stage == 2 and len(kept.sizes) == 3


def test_ctrl_c_without_any_checkpoint_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nextface.runs.run.write_results", press)
    with pytest.raises(Interrupted, match="nothing to go on from"):
        reconstruct(PORTRAIT, tmp_path, quick_config(), skip_stages=frozenset({1, 2, 3}))
