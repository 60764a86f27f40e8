"""Stage 2's solver: its derivatives against differences, its equations against dense least squares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from made_shots import made_shot, on_model
from rendered_photo import person, together
from scipy.optimize import lsq_linear
from torch import Tensor

from nextface.fitting.landmarks.problem import problem_of, unknowns_of
from nextface.fitting.statistical.gauss_newton import Problem
from nextface.fitting.statistical.linear_image import LinearImage
from nextface.fitting.statistical.model_slopes import ModelSlopes, ShapeSlopes, reflectance_slopes
from nextface.fitting.statistical.normal_equations import NormalEquations, solve
from nextface.fitting.statistical.photo_problem import PhotoProblem
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights
from nextface.fitting.statistical.unknowns import UnknownLayout
from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.landmark_errors import LandmarkWhitening
from nextface.fitting.terms.losses import (
    AROUND_GREEN,
    AROUND_WARMTH,
    EXPOSURE_WEIGHT,
    GREEN_WEIGHT,
    HUE_WEIGHT,
    WARMTH_WEIGHT,
    WHITE_CARD,
    light_residual_slopes,
    light_residuals,
    light_term,
)
from nextface.fitting.terms.point_motion import image_motion, normal_motion
from nextface.fitting.terms.robust import geman_mcclure, geman_mcclure_weight, pseudo_huber, pseudo_huber_weight
from nextface.fitting.terms.shot_on_model import PosedShot, landmark_points
from nextface.fitting.transfer.interreflection import Interreflection
from nextface.models import create as create_model
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Group
from nextface.photos.observation import Observation
from nextface.scene.geometry import vertex_normals
from nextface.scene.pixel_points import PixelPoints
from nextface.scene.raster import rasterize_scene
from renderers.ray_casting import first_hits
from renderers.specular_lobe import GGX
from renderers.vertex.renderer import VertexRenderer

SIZE = 96
DIRECTIONS = 512


def random_rows(seed: int, rows: int, unknowns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, unknowns, generator=generator, dtype=torch.float64),
        torch.randn(rows, generator=generator, dtype=torch.float64),
    )


def sizes_of(shared: int, own: int, count: int) -> list[dict[Group, int]]:
    """How many unknowns the person and each of some photos have."""
    return [{("person", 0): shared, ("photo", number): own} for number in range(count)]


def test_photos_that_share_unknowns_are_solved_as_one_system() -> None:
    shared, own = 3, 4
    photos, dense, right = [], [], []
    for number in range(3):
        slopes, residuals = random_rows(number, 12, shared + own)
        equations = NormalEquations.zeros(shared + own)
        equations.add_block([(0, slopes[:, :2]), (2, slopes[:, 2:])], residuals)
        photos.append(equations)
        row = torch.zeros(12, shared + 3 * own).double()
        row[:, :shared] = slopes[:, :shared]
        row[:, shared + number * own : shared + (number + 1) * own] = slopes[:, shared:]
        dense.append(row)
        right.append(residuals)
    steps = solve(photos, sizes_of(shared, own, 3), 0.0, {})
    expected = torch.linalg.lstsq(torch.cat(dense), -torch.cat(right)[:, None]).solution[:, 0]
    found = torch.cat([steps["person", 0], *(steps["photo", number] for number in range(3))])
    assert torch.allclose(found, expected, atol=1e-8)


def test_float32_slopes_are_multiplied_in_float64() -> None:
    slopes, residuals = (values.float() for values in random_rows(11, 3500, 30))
    equations = NormalEquations.zeros(30)
    equations.add_block([(0, slopes[:, :12]), (12, slopes[:, 12:])], residuals)
    dense = slopes.double()
    length = dense.norm(dim=0)
    assert ((equations.matrix - dense.T @ dense).abs() / length.outer(length)).max() < 1e-14
    expected = dense.T @ residuals.double()
    assert ((equations.gradient - expected).abs() / (length * residuals.double().norm())).max() < 1e-14


def test_steps_end_at_their_bounds() -> None:
    shared, own = 2, 5
    slopes, residuals = random_rows(7, 20, shared + own)
    equations = NormalEquations.zeros(shared + own)
    equations.add(slopes, residuals)
    free = torch.linalg.lstsq(slopes, -residuals[:, None]).solution[shared:, 0]
    lower, upper = torch.full((own,), -math.inf).double(), torch.full((own,), math.inf).double()
    upper[0] = free[0] - 0.05
    lower[3] = free[3] + 0.02
    steps = solve([equations], sizes_of(shared, own, 1), 0.0, {("photo", 0): (lower, upper)})
    everything = [torch.full((shared,), sign * math.inf).double() for sign in (-1, 1)]
    bounds = (torch.cat([everything[0], lower]).numpy(), torch.cat([everything[1], upper]).numpy())
    expected = lsq_linear(slopes.numpy(), -residuals.numpy(), bounds).x
    assert torch.allclose(
        torch.cat([steps["person", 0], steps["photo", 0]]), torch.from_numpy(expected), atol=1e-6
    )


def test_damping_shortens_the_step() -> None:
    slopes, residuals = random_rows(3, 20, 6)
    equations = NormalEquations.zeros(6)
    equations.add(slopes, residuals)
    sizes = sizes_of(2, 4, 1)
    lengths = [float(solve([equations], sizes, damping, {})["photo", 0].norm()) for damping in (0, 0.1, 10)]
    assert lengths[0] > lengths[1] > 3 * lengths[2]


@pytest.fixture(scope="module")
def state() -> Reconstruction:
    return person(create_model("open"), SIZE)


@pytest.fixture(scope="module")
def photo() -> WorkingPhoto:
    """A photo whose content does not matter."""
    empty = torch.ones(SIZE, SIZE, dtype=torch.bool)
    seen = Observation(torch.zeros(SIZE, SIZE, 3), empty, ~empty)
    return WorkingPhoto(seen, SIZE, SIZE, seen.mask)


def drawn(state: Reconstruction, photo: WorkingPhoto, between: Interreflection | None = None) -> LinearImage:
    return LinearImage(state, photo, photo.observation.mask, VertexRenderer(), DIRECTIONS, between=between)


def model_slopes(state: Reconstruction) -> ModelSlopes:
    model, parameters = state.model, state.parameters
    return ModelSlopes(reflectance_slopes(model, parameters.albedo), ShapeSlopes(model, parameters))


def changed(state: Reconstruction, name: str, number: int, step: float) -> Reconstruction:
    values = getattr(state.parameters, name).clone()
    values.view(-1)[number] += step
    return state.with_parameters(replace(state.parameters, **{name: values}))


@torch.no_grad()
@pytest.mark.parametrize("bounces", [0, 2])
def test_colour_changes_with_albedo_and_light_as_their_slopes_say(
    state: Reconstruction, photo: WorkingPhoto, bounces: int
) -> None:
    scene = state.scene()
    between = Interreflection(scene, state.bands, bounces, GGX(), first_hits(scene)) if bounces else None
    image, step = drawn(state, photo, between), 1e-2
    albedo = image.albedo_slopes(state.parameters, model_slopes(state).reflectance)
    light = image.light_slopes(state.parameters)
    cases = [("albedo", number, albedo[..., number]) for number in (0, 3, 11)]
    brightest = int(state.parameters.light[0, :, 1].argmax())
    by_green = torch.zeros_like(albedo[..., 0])
    by_green[:, 1] = light[1, :, brightest]
    cases.append(("light", 3 * brightest + 1, by_green))
    for name, number, slopes in cases:
        ahead, behind = (image.colour(changed(state, name, number, sign * step).parameters) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        assert (difference - slopes).norm() < 0.05 * difference.norm(), (name, number)


@torch.no_grad()
def test_colour_changes_with_geometry_as_its_slopes_say(state: Reconstruction, photo: WorkingPhoto) -> None:
    """To the accuracy of pixels that are averaged over texture: the direction is right, and the size."""
    parameters = state.parameters
    image = drawn(state, photo)
    colour = image.colour(parameters)
    basis = ShapeSlopes(state.model, parameters).around(parameters)
    slopes = image.geometry_slopes(parameters, basis, colour)
    face = inside_the_face(image, state)
    shapes = parameters.identity.shape[1]
    expressions = len(state.model.expression_names)
    pose = shapes + expressions
    jaw = state.model.expression_names.index("mouthSmileLeft")
    cases = [("identity", number, number, 0.5) for number in (0, 1, 4)]
    cases.append(("expression", jaw, shapes + jaw, 0.1))
    cases += [("rotation", axis, pose + axis, 0.01) for axis in range(3)]
    cases += [("translation", axis, pose + 3 + axis, 1.0) for axis in range(3)]
    cases.append(("focal", 0, pose + 6, 0.01))
    for name, number, column, step in cases:
        moved = changed(state, name, number, step)
        after = drawn(moved, photo)
        there = torch.full((SIZE * SIZE, 3), math.nan).index_copy(
            0, after.pixel, after.colour(moved.parameters)
        )
        difference = (there[image.pixel] - colour)[face]
        predicted = (slopes[..., column] * step)[face]
        known = ~difference.isnan().any(1)
        difference, predicted = difference[known], predicted[known]
        likeness = float((difference * predicted).sum() / difference.norm() / predicted.norm())
        size = float((difference * predicted).sum() / predicted.square().sum())
        assert likeness > 0.8, (name, number, likeness)
        assert 0.8 < size < 1.3, (name, number, size)


def inside_the_face(image: LinearImage, state: Reconstruction) -> Tensor:
    """[P] bool, pixels of the face's skin that have only such pixels around them."""
    region = state.model.regions["face"] & state.model.regions["skin"] & ~state.model.regions["ears"]
    skin = torch.zeros(SIZE * SIZE)
    points = PixelPoints.of(state.scene(), torch.ones(SIZE, SIZE, dtype=torch.bool))
    assert torch.equal(points.pixel, image.pixel)
    skin[image.pixel] = region[state.model.triangles[points.triangle]].all(-1).all(-1).float()
    outside = torch.nn.functional.max_pool2d(1 - skin.view(1, 1, SIZE, SIZE), 5, 1, 2)
    return outside.flatten()[image.pixel] == 0


@torch.no_grad()
def test_points_move_on_the_image_as_their_slopes_say(state: Reconstruction) -> None:
    parameters, vertex = state.parameters, torch.tensor([100, 5000, 9000])
    basis = ShapeSlopes(state.model, parameters).around(parameters)
    slopes = image_motion(state.camera(), state.vertices()[0, vertex], basis[vertex])
    shapes, expressions = parameters.identity.shape[1], len(state.model.expression_names)
    columns = {"identity": 0, "expression": shapes, "rotation": shapes + expressions}
    columns |= {"translation": columns["rotation"] + 3, "focal": columns["rotation"] + 6}

    def seen(one: Reconstruction) -> Tensor:
        return one.camera().project(one.vertices()[:, vertex])[0].double()

    for name, first in columns.items():
        step = {"translation": 1.0, "identity": 0.1, "expression": 0.1}.get(name, 1e-3)
        ahead, behind = (seen(changed(state, name, 0, sign * step)) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        assert torch.allclose(difference, slopes[..., first].double(), rtol=2e-2, atol=2e-2), name


def test_normals_turn_as_their_slopes_say(state: Reconstruction) -> None:
    generator = torch.Generator().manual_seed(4)
    vertices, triangles = state.vertices()[0].double(), state.model.triangles
    motion = torch.randn(len(vertices), 3, 2, generator=generator, dtype=torch.float64)
    slopes, step = normal_motion(vertices, triangles, motion), 1e-5
    for column in range(2):
        ahead, behind = (
            vertex_normals((vertices + sign * step * motion[..., column])[None], triangles)[0]
            for sign in (1, -1)
        )
        difference = (ahead - behind) / (2 * step)
        assert torch.allclose(
            slopes[..., column], difference, rtol=1e-4, atol=1e-4 * float(difference.norm(dim=1).median())
        )
    some = triangles[:100]
    seen = torch.zeros(len(vertices), dtype=torch.bool)
    seen[some] = True
    assert not normal_motion(vertices, some, motion)[~seen].any()


def test_the_light_prior_is_the_sum_of_its_squares() -> None:
    light = torch.randn(2, 256, 3, generator=torch.Generator().manual_seed(0))
    squares = [float(light_residuals(alone).square().sum()) for alone in light]
    assert float(light_term(light)) == pytest.approx(sum(squares) / 2, rel=1e-5)
    even = math.log(4 * math.pi / 256 * WHITE_CARD)  # of each lobe, for light of that radiance from everywhere
    assert float(light_term(torch.full((1, 256, 3), even))) == pytest.approx(0, abs=1e-4)
    brighter = float(light_term(torch.full((1, 256, 3), even + 0.5)))
    assert brighter == pytest.approx(EXPOSURE_WEIGHT * 0.25, rel=0.02)
    slopes = torch.autograd.functional.jacobian(light_residuals, light[0])
    assert torch.allclose(light_residual_slopes(light[0]), slopes, atol=1e-6)
    tinted = torch.full((1, 256, 3), even)
    tinted[..., 0] = 0.1
    deviation = tinted[0, 0] - tinted[0, 0].mean()
    cast = 0.1 - even  # of red's logarithm: as warm as that, and half as much less green
    warmth, green = WARMTH_WEIGHT + 5 * AROUND_WARMTH, GREEN_WEIGHT + 5 * AROUND_GREEN
    expected = HUE_WEIGHT * deviation.square().mean() + warmth * cast**2 + green * (cast / 2) ** 2
    expected += EXPOSURE_WEIGHT * (tinted[0].exp().mean() / math.exp(even)).log().square()
    assert float(light_term(tinted)) == pytest.approx(float(expected), rel=0.02)


def test_a_photo_is_shrunk_to_the_pixels_that_are_asked_for(state: Reconstruction) -> None:
    mask = torch.zeros(80, 100, dtype=torch.bool)
    mask[20:60, 30:80] = True
    srgb = torch.rand(80, 100, 3, generator=torch.Generator().manual_seed(1))
    seen = Observation(srgb, mask, ~mask)
    small = WorkingPhoto.of(seen, 500)
    assert (small.height, small.width) == (40, 50)
    assert int(small.observation.mask.sum()) == 500
    assert torch.allclose(small.observation.linear[3, 4], seen.linear[6:8, 8:10].mean((0, 1)), atol=1e-5)
    assert WorkingPhoto.of(seen, 5000).observation is seen
    camera = replace(state.camera(), width=100, height=80)
    points = state.vertices()[:, :50]
    assert torch.allclose(small.camera(camera).project(points), camera.project(points) / 2, atol=1e-3)


def test_landmarks_of_stage_1_move_as_their_slopes_say(state: Reconstruction) -> None:
    points = torch.rand(478, 2, generator=torch.Generator().manual_seed(2)) * SIZE
    shot = made_shot(torch.zeros(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, dtype=torch.bool), points)
    problem = problem_of(state, on_model(shot, state.model), optimize_focal=True)
    unknown = unknowns_of(state, problem)
    slopes = torch.autograd.functional.jacobian(problem.residuals, unknown)
    assert torch.allclose(problem.jacobian(unknown), slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("term", ["pixels", "landmarks", "empty pixels", "expression", "light"])
def test_a_photos_equations_have_the_gradient_of_its_loss(state: Reconstruction, term: str) -> None:
    """Term by term; the pixels' by albedo and light, because an image that stands still knows no geometry."""
    embedding = state.model.landmarks("mediapipe")
    assert embedding is not None
    generator = torch.Generator().manual_seed(2)
    on_face = rasterize_scene(state.scene()).triangle >= 0
    srgb = torch.rand(SIZE, SIZE, 3, generator=generator)
    points = torch.rand(478, 2, generator=generator) * SIZE
    if term == "empty pixels":
        on_face = on_face.roll(5, 1)
        points = state.camera().project(landmark_points(state.vertices(), state.model, embedding))[0]
    shot = made_shot(srgb, on_face, points, clipped=~on_face, blendshapes={"jawOpen": 0.6})
    layout = UnknownLayout.of(state.parameters, state.sharing, geometry=True)
    model = model_slopes(state)

    def gradients(**chosen: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of the loss and of the equations, with these weights and no others."""
        weights = dict.fromkeys((item.name for item in fields(StatisticalWeights)), 0.0) | chosen
        problem = PhotoProblem(
            WorkingPhoto.of(shot.observation, 10**6),
            PosedShot(
                shot,
                state.model,
                embedding,
                LandmarkWhitening.of(torch.linspace(0.1, 1, 478), embedding.errors, state.camera(), 60.0),
            ),
            VertexRenderer(),
            StatisticalSettings(StatisticalWeights(**weights), iterations=1, optimize_focal=True),
        )
        image = problem.drawn(state)
        leaves = {name: getattr(state.parameters, name).clone().requires_grad_() for name in layout.sizes}
        problem.loss(state.with_parameters(replace(state.parameters, **leaves)), image).backward()
        slopes = {
            name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
        }
        slopes["light"] = slopes["light"].mT
        with torch.no_grad():
            equations = 2 * problem.equations(state, image, model, layout).gradient
        rows = equations.split(list(layout.sizes.values()))
        return slopes, dict(zip(layout.sizes, rows, strict=True))

    without, without_rows = gradients()
    if term == "pixels":
        pairs = [(without[name], without_rows[name]) for name in ("albedo", "light")]
    else:
        slopes, rows = gradients(**{"landmarks" if term == "empty pixels" else term: 1.0})
        pairs = [(slopes[name] - without[name], rows[name] - without_rows[name]) for name in slopes]
        pairs = [(slope, row) for slope, row in pairs if slope.any()]
    assert pairs
    for slope, row in pairs:
        assert torch.allclose(row, slope.flatten().double(), rtol=0, atol=2e-3 * float(slope.abs().max()))


def test_what_is_known_of_the_person_counts_once_whatever_the_number_of_photos(
    state: Reconstruction, photo: WorkingPhoto
) -> None:
    """In the loss, which is a mean over photos, and in the equations, which are a sum."""
    weights = StatisticalWeights(0, identity=2.0, expression=0, albedo=3.0, light=0)
    nothing = StatisticalWeights(*(0.0 for _ in fields(StatisticalWeights)))
    embedding = state.model.landmarks("mediapipe")
    assert embedding is not None
    whitening = LandmarkWhitening.of(torch.linspace(0.1, 1, 478), None, state.camera(), 60.0)
    shot = made_shot(photo.observation.srgb, photo.reach, torch.linspace(0, SIZE, 956).view(478, 2))
    settings = StatisticalSettings(nothing, iterations=1, optimize_focal=True)
    rest = (photo, PosedShot(shot, state.model, embedding, whitening), VertexRenderer(), settings)
    identity, albedo = state.parameters.identity[0], state.parameters.albedo[0]
    expected = torch.cat([2 * 0.02 * identity, 2 * 3.0 / len(albedo) * albedo])
    slopes = model_slopes(state)
    for count in (1, 2):
        photos = [PhotoProblem(*rest)] * count
        copies = together([state] * count)
        layout = UnknownLayout.of(copies.parameters, copies.sharing, geometry=True)
        shared = layout.groups(0)["person", 0]
        gradients, losses = [], []
        with torch.no_grad():
            images = Problem(photos, nothing).drawn(copies)
            for some in (weights, nothing):
                problem = Problem(photos, some)
                losses.append(problem.loss(copies, images))
                system = problem.system(copies, images, [slopes], layout)
                gradients.append(2 * sum(one.gradient[:shared] for one in system.photos))
        term = 0.02 * identity.square().sum() + 3.0 * albedo.square().mean()
        assert losses[0] - losses[1] == pytest.approx(float(term) / count, rel=1e-3)
        assert torch.allclose(gradients[0] - gradients[1], expected.double(), atol=1e-6)


def test_steps_reach_the_parameters_that_they_are_of(state: Reconstruction) -> None:
    """The same ones, whether the geometry has a place in the row or not."""
    old = state.parameters
    alone, everything = (UnknownLayout.of(old, state.sharing, geometry) for geometry in (False, True))
    sizes = old.albedo.numel(), old.albedo.numel() + old.identity.numel()
    groups = [layout.groups(0) for layout in (alone, everything)]
    assert tuple(one["person", 0] for one in groups) == sizes
    rows = [torch.zeros(layout.unknowns) for layout in (alone, everything)]
    for layout, row in zip((alone, everything), rows, strict=True):
        row[layout.first("albedo") + 2] = 0.25
        row[layout.first("light") + 256 + 7] = -0.5  # green
    rows[1][everything.first("translation") + 2] = 9.0
    moved = [
        layout.moved(old, dict(zip(one, row.split(list(one.values())), strict=True)))
        for layout, row, one in zip((alone, everything), rows, groups, strict=True)
    ]
    for new, depth in zip(moved, (0.0, 9.0), strict=True):
        expected = {item.name: getattr(old, item.name).clone() for item in fields(old)}
        expected["albedo"][0, 2] += 0.25
        expected["light"][0, 7, 1] -= 0.5
        expected["translation"][0, 2] += depth
        for name, values in expected.items():
            assert torch.equal(getattr(new, name), values), name


@pytest.mark.parametrize(
    ("function", "weight"),
    [(geman_mcclure, geman_mcclure_weight), (pseudo_huber, pseudo_huber_weight)],
)
def test_robust_weights_are_the_slopes_of_their_functions(
    function: Callable[[Tensor, float], Tensor], weight: Callable[[Tensor, float], Tensor]
) -> None:
    squares = torch.tensor([0.0, 0.01, 0.5, 4.0, 100.0], dtype=torch.float64, requires_grad=True)
    values = function(squares, 0.7)
    (slopes,) = torch.autograd.grad(values.sum(), squares)
    assert torch.allclose(slopes, weight(squares.detach(), 0.7))
    assert float(slopes[0]) == 1 and float(values.detach()[1]) == pytest.approx(0.01, rel=0.03)
