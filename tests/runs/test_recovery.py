"""Known parameters come back from a rendered photo, and the loss knows where the face is.

The photo fixes some things only together with others; each limit below says what was left free:

- The focal length is given. With it free, a nearer head seen by a wider lens looks nearly the same.
- A larger head farther away looks the same, so distance is only as good as the identity prior's idea of size:
  it has a limit of its own, and sideways positions are compared at the true distance.
- Brighter light on darker skin looks the same: light is compared after one gain for all directions and colours.
- Light shows in what it does to skin: it is compared as irradiance, over the directions that the face looks to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import PORTRAIT, SMALL
from rendered_photo import fitting_config, person, photograph, relative_error, rigid_distance, turn_between
from torch import Tensor

import renderers
from nextface import Config, reconstruct
from nextface.config import DEFAULTS
from nextface.fitting.refinement.visibility import vertex_visibility
from nextface.fitting.statistical.terms import OUTLIER_RESIDUAL
from nextface.fitting.terms.losses import PhotoTerm
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.preparation.prepare import prepare
from nextface.scene.lighting import cosine_kernel, scale_bands, sh_basis, to_light_frame
from renderers.settings import Settings

SIZE = 128  # pixels of the photo
LARGEST_TURN = 1.0  # degrees
LARGEST_SHIFT = 0.5  # mm, across the line of sight
LARGEST_DEPTH_ERROR = 0.04  # of the distance
LARGEST_LIGHT_ERROR = 0.1  # relative, of irradiance
LARGEST_SHAPE_ERROR = 2.0  # mm


@dataclass(frozen=True)
class Recovered:
    """A true head, and what the program made of its photo."""

    truth: Reconstruction
    stage1: Reconstruction
    found: Reconstruction
    seen: Tensor  # [V] bool, skin that the photo shows


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> Recovered:
    folder = tmp_path_factory.mktemp("recovery")
    truth = person(create_model("open"), SIZE)
    files = photograph(truth, folder, samples=96)
    config = fitting_config(SIZE, rtSamples=16)
    assert config.iterStep2 == DEFAULTS["iterStep2"]
    found = reconstruct(files.photo, folder, config, landmarks=files.landmarks, skip_stages=frozenset({3}))
    checkpoint = Checkpoint.load(folder / "photo" / "checkpoints" / "stage1.npz", truth.model)
    shown = vertex_visibility(truth.scene(), torch.ones(SIZE, SIZE, dtype=torch.bool))[:, 0] > 0.3
    seen = shown & truth.model.regions["skin"]
    return Recovered(truth, found.with_parameters(checkpoint.parameters), found, seen)


def test_the_head_turns_as_it_did(recovered: Recovered) -> None:
    turn = turn_between(recovered.found.parameters.rotation[0], recovered.truth.parameters.rotation[0])
    assert turn < LARGEST_TURN


def test_the_head_is_where_it_was(recovered: Recovered) -> None:
    """The middle of the face: where the head's origin lies in it is a matter of identity."""
    found, truth = (middle_of_face(item) for item in (recovered.found, recovered.truth))
    shift = found[:2] * (truth[2] / found[2]) - truth[:2]
    assert shift.norm() < LARGEST_SHIFT
    assert abs(found[2] / truth[2] - 1) < LARGEST_DEPTH_ERROR


def middle_of_face(item: Reconstruction) -> Tensor:
    """In the camera's frame [3], mm."""
    return item.camera().transform(item.vertices())[0, item.model.regions["face"]].mean(0)


def irradiance_on(directions: Tensor, light: Reconstruction) -> Tensor:
    """Irradiance [P, 3] of a reconstruction's light on surfaces that look to directions [P, 3]."""
    coefficients = scale_bands(light.light_coefficients().double(), cosine_kernel(light.bands))[0]
    return sh_basis(directions.double(), light.bands) @ coefficients


def test_the_light_is_what_it_was(recovered: Recovered) -> None:
    scene = recovered.truth.scene()
    directions = to_light_frame(scene.camera.rotate(scene.mesh.normals)[0][recovered.seen])
    found, truth = (irradiance_on(directions, item) for item in (recovered.found, recovered.truth))
    error, gain = relative_error(found, truth)
    assert error < LARGEST_LIGHT_ERROR
    assert 0.7 < gain < 1.4
    even = torch.ones_like(truth)
    assert error < 0.5 * relative_error(even, truth)[0]  # and the light was not even to begin with


def test_the_face_has_its_shape(recovered: Recovered) -> None:
    truth = recovered.truth.vertices()[0][recovered.seen]
    found = recovered.found.vertices()[0][recovered.seen]
    mean = torch.zeros_like(recovered.truth.parameters.identity)
    mean_face = recovered.truth.model.vertices(mean, recovered.truth.parameters.expression)[0][recovered.seen]
    error = rigid_distance(found, truth)
    assert error < LARGEST_SHAPE_ERROR
    assert error < 0.6 * rigid_distance(mean_face, truth)
    assert error < rigid_distance(recovered.stage1.vertices()[0][recovered.seen], truth)


def test_the_skin_has_its_colour_up_to_the_brightness_of_the_light(recovered: Recovered) -> None:
    found, truth = (
        item.model_material().diffuse[0, recovered.seen] for item in (recovered.found, recovered.truth)
    )
    assert relative_error(found, truth)[0] < 0.1
    mean = recovered.truth.model.reflectance(torch.zeros(1, recovered.truth.model.albedo_size)).diffuse[0]
    assert (found - truth).norm() < (mean[recovered.seen] - truth).norm()


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Shot:
    """The bundled portrait as the stages see it."""
    config = Config(**SMALL)  # type: ignore[arg-type]
    return prepare(PORTRAIT, config, tmp_path_factory.mktemp("prepared"), "cpu", None, None, None)


def at_distance(state: Reconstruction, factor: float) -> Reconstruction:
    """The head moved along the line of sight: it covers less of the picture, everything else stays."""
    parameters = state.parameters
    return state.with_parameters(replace(parameters, translation=parameters.translation * factor))


@pytest.mark.parametrize("stage", [1, 2])
def test_shrinking_the_face_never_lowers_the_loss(portrait_run, portrait: Shot, stage: int) -> None:  # type: ignore[no-untyped-def]
    """Empty pixels of the mask cost more than badly explained ones, whatever the light is so far."""
    assert portrait_run.process.returncode == 0, portrait_run.process.stderr
    state = fitted_state(portrait_run.folder, portrait, stage)
    renderer = renderers.create(portrait_run.backend, Settings("cpu"))
    observation = portrait.observation
    try:
        for brightness in (0.1, 1.0, 3.0):
            light = state.parameters.light + torch.log(torch.tensor(brightness))
            lit = state.with_parameters(replace(state.parameters, light=light))
            losses = []
            for factor in (1.0, 1.03, 1.1, 1.3, 2.0, 4.0):
                with torch.no_grad():
                    image = renderer.render(at_distance(lit, factor).scene(), 16, seed=1)[0]
                    term = PhotoTerm(observation, OUTLIER_RESIDUAL)
                    term(image)  # weights come from earlier renders
                    losses.append(float(term(image)))
            assert all(loss >= losses[0] * 0.999 for loss in losses), (brightness, losses)
            assert losses[2] > losses[0] * 1.1, "moving the head 10 % away must raise the loss"
            assert losses == sorted(losses), (brightness, losses)
    finally:
        renderer.close()


def fitted_state(folder: Path, portrait: Shot, stage: int) -> Reconstruction:
    """What a finished run had after a stage."""
    model = create_model("open")
    checkpoint = Checkpoint.load(folder / "checkpoints" / f"stage{stage}.npz", model)
    return Reconstruction(model, checkpoint.parameters, (portrait.frame,), bands=9, environment_height=64)
