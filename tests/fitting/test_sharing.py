"""Who shares what: tables other than the person's, from the solver to whole fits and checkpoints."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_shots import fewer, made_shot, on_model
from rendered_photo import person, together
from scipy.optimize import lsq_linear
from torch import Tensor

from nextface.errors import CheckpointError
from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.statistical.adam import fit_statistical
from nextface.fitting.statistical.gauss_newton import fit_by_gauss_newton
from nextface.fitting.statistical.normal_equations import NormalEquations, solve
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights
from nextface.fitting.terms.shot_on_model import ShotOnModel, landmark_points
from nextface.fitting.terms.watcher import Watcher
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint, save_checkpoint
from nextface.person.circumstances import Circumstances
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY, Group, Sharing, SharingTable
from renderers.vertex.renderer import VertexRenderer

MULTIVIEW: SharingTable = {**SHARED_IDENTITY, "expression": "moment", "light": "moment", "focal": "camera"}
MOMENTS, CAMERAS = (0, 0, 1), ("left", "right", "left")
SIZE = 64  # pixels of the photos, before one of them is reduced
FOCALS = {"left": 160.0, "right": 208.0}
TURNS = {"left": (4.0, 20.0), "right": (3.0, -18.0)}  # degrees down and to the side
CROPS = (1.0, 1.0, 0.8)  # by which the photos were reduced


def test_rows_are_counted_as_they_appear_and_what_is_unknown_is_shared_with_none() -> None:
    known = [Circumstances("a", 2, None), Circumstances("a", 1, None), Circumstances(None, 2, "x")]
    sharing = Sharing.of({**MULTIVIEW, "light": "session"}, known)
    assert sharing.rows("identity") == (0, 0, 0) and sharing.rows("rotation") == (0, 1, 2)
    assert sharing.rows("expression") == (0, 1, 0) and sharing.firsts("expression") == (0, 1)
    assert sharing.rows("focal") == (0, 1, 2) and sharing.rows("light") == (0, 0, 1)
    assert [sharing.share("expression", photo) for photo in range(3)] == [0.5, 1.0, 0.5]
    assert sharing.by_photo("expression", torch.tensor([5.0, 7.0])).tolist() == [5.0, 7.0, 5.0]


@pytest.mark.parametrize("bounded", [False, True])
def test_groups_at_several_levels_are_solved_as_one_dense_system(bounded: bool) -> None:
    """Six photos of two crossing kinds of groups, neither of which contains the other."""
    sizes = {"person": 3, "session": 2, "camera": 1, "moment": 2, "photo": 4}
    groups = {
        "person": (0,) * 6,
        "session": (0, 0, 0, 0, 1, 1),
        "camera": (0, 1, 0, 1, 0, 2),
        "moment": (0, 0, 1, 1, 2, 3),
        "photo": tuple(range(6)),
    }
    keys: list[Group] = [(owner, number) for owner in sizes for number in sorted(set(groups[owner]))]  # type: ignore[misc]
    first = dict(zip(keys, np.cumsum([0] + [sizes[owner] for owner, _ in keys]).tolist(), strict=False))
    total = sum(sizes[owner] for owner, _ in keys)
    generator = torch.Generator().manual_seed(5)
    photos, rows, right, dense = [], [], [], []
    for number in range(6):
        slopes = torch.randn(14, 12, generator=generator, dtype=torch.float64)
        residuals = torch.randn(14, generator=generator, dtype=torch.float64)
        equations = NormalEquations.zeros(12)
        equations.add(slopes, residuals)
        photos.append(equations)
        mine: dict[Group, int] = {(owner, groups[owner][number]): size for owner, size in sizes.items()}  # type: ignore[misc]
        rows.append(mine)
        wide, place = torch.zeros(14, total).double(), 0
        for key, size in mine.items():
            wide[:, first[key] : first[key] + size] = slopes[:, place : place + size]
            place += size
        dense.append(wide)
        right.append(residuals)
    matrix, target = torch.cat(dense).numpy(), -torch.cat(right).numpy()
    low, high = np.full(total, -np.inf), np.full(total, np.inf)
    free = np.linalg.lstsq(matrix, target, rcond=None)[0]
    bounds: dict[Group, tuple[Tensor, Tensor]] = {}
    if bounded:
        keys_held: list[tuple[Group, int, float]] = [(("moment", 1), 0, 0.02), (("photo", 4), 3, -0.03)]
        for key, number, by in keys_held:
            one, size = first[key] + number, sizes[key[0]]
            (low if by > 0 else high)[one] = free[one] + by
            span = slice(first[key], first[key] + size)
            bounds[key] = (torch.from_numpy(low[span].copy()), torch.from_numpy(high[span].copy()))
    steps = solve(photos, rows, 0.0, bounds)
    expected = lsq_linear(matrix, target, (low, high), tol=1e-14).x
    assert np.abs(expected - free).max() > 0.01 or not bounded
    assert torch.cat([steps[key] for key in keys]).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def truth() -> Reconstruction:
    """One person with two expressions, each seen by two cameras at once; one photo was reduced further."""
    model = create_model("open")
    photos = []
    for moment, camera, crop in zip(MOMENTS, CAMERAS, CROPS, strict=True):
        one = person(model, round(SIZE * crop), turned=TURNS[camera])
        expression = one.parameters.expression.clone()
        expression[0, model.expression_names.index("jawOpen")] = 0.6 * moment
        focal = torch.tensor([math.log(FOCALS[camera] * crop)])
        shift = torch.tensor([[12.0, -8.0, 600.0 * FOCALS[camera] / 160]])
        changed = replace(one.parameters, expression=expression, focal=focal, translation=shift)
        photos.append(one.with_parameters(changed))
    return together(photos, MULTIVIEW, known())


def known() -> list[Circumstances]:
    """What is known of the photos; the focal lengths assumed are 20 % off."""
    return [
        Circumstances(moment=moment, camera=camera, focal=1.2 * FOCALS[camera] * crop)
        for moment, camera, crop in zip(MOMENTS, CAMERAS, CROPS, strict=True)
    ]


@pytest.fixture(scope="module")
def shots(truth: Reconstruction) -> list[ShotOnModel]:
    """The photos, drawn without rays, with noise on their landmarks."""
    generator = torch.Generator().manual_seed(8)
    found = []
    for photo, circumstances in enumerate(known()):
        scene = truth.scene(photo)
        with torch.no_grad():
            image = VertexRenderer().render(scene, 1, 0)[0]
        embedding = truth.model.landmarks("mediapipe")
        assert embedding is not None
        places = scene.camera.project(landmark_points(scene.mesh.vertices, truth.model, embedding))[0].detach()
        points = torch.zeros(478, 2)
        points[embedding.indices] = places + 0.05 * torch.randn(places.shape, generator=generator)
        encoded = image[..., :3].clamp(0, 1) ** (1 / 2.2)
        shot = made_shot(encoded, image[..., 3] > 0.5, points, circumstances.focal, 0.25)
        found.append(replace(on_model(shot, truth.model), embedding=fewer(embedding, 4)))
    return found


def start_of(truth: Reconstruction, table: SharingTable) -> Reconstruction:
    """The mean face with the truth's light, in photos that share by a table."""
    photos = [truth[photo] for photo in range(len(truth))]
    start = together(photos, table, known())
    none = {
        name: torch.zeros_like(getattr(start.parameters, name)) for name in ("identity", "expression", "albedo")
    }
    return start.with_parameters(replace(start.parameters, **none))


WEIGHTS = StatisticalWeights(1.0, 0.5, 3.0, 0.2, 0.2)


def test_a_table_of_moments_and_cameras_is_fitted_by_all_stages(
    truth: Reconstruction, shots: list[ShotOnModel]
) -> None:
    """What is shared stays shared, and comes nearer to the truth."""
    start = start_of(truth, MULTIVIEW)
    coarse = fit_landmarks(start, shots, 12, True, lambda _: None)
    settings = StatisticalSettings(WEIGHTS, iterations=9, optimize_focal=True)
    found = fit_by_gauss_newton(coarse, shots, VertexRenderer(), settings, Watcher())
    jaw = truth.model.expression_names.index("jawOpen")
    for state in (coarse, found):
        assert len(state.parameters.focal) == len(state.parameters.expression) == 2
        photos = [state[photo].parameters for photo in range(3)]
        focal = [float(one.focal - truth[photo].parameters.focal) for photo, one in enumerate(photos)]
        assert focal[0] == pytest.approx(focal[2], abs=1e-5), "one camera, whatever the crop"
        assert np.abs(focal).max() < math.log(1.2), "nearer than what was assumed"
        jaws = [float(one.expression[0, jaw]) for one in photos]
        assert jaws[0] == jaws[1]
        assert jaws[2] - jaws[0] == pytest.approx(0.6, abs=0.2)


def test_adam_moves_shared_rows_by_all_photos_and_counts_their_priors_once(
    truth: Reconstruction, shots: list[ShotOnModel]
) -> None:
    losses: list[float] = []
    settings = StatisticalSettings(WEIGHTS, iterations=4, optimize_focal=True)
    start = start_of(truth, MULTIVIEW)
    found = fit_statistical(start, shots, VertexRenderer(), settings, Watcher(on_loss=losses.append))
    assert losses[-1] < losses[0]
    for name in ("light", "expression", "focal"):
        rows = getattr(found.parameters, name)
        assert len(rows) == 2 and not torch.equal(rows, getattr(start.parameters, name))


def test_a_checkpoint_keeps_who_shares_what(truth: Reconstruction, tmp_path: Path) -> None:
    save_checkpoint(truth, tmp_path / "stage2.npz", 2)
    loaded = Checkpoint.load(tmp_path / "stage2.npz", truth.model)
    resumed, _ = loaded.resumed(truth, 256)
    for item in fields(truth.parameters):
        assert torch.equal(getattr(resumed.parameters, item.name), getattr(truth.parameters, item.name))
    assert torch.equal(resumed[2].parameters.focal, truth[2].parameters.focal)
    other = together([truth[photo] for photo in range(3)])
    with pytest.raises(CheckpointError, match="sharing their expression"):
        loaded.resumed(other, 256)
    arrays = dict(np.load(tmp_path / "stage2.npz"))
    np.savez(tmp_path / "odd.npz", **{**arrays, "rows_light": np.array([1, 0, 0])})
    with pytest.raises(CheckpointError, match="rows_light"):
        Checkpoint.load(tmp_path / "odd.npz", truth.model)
