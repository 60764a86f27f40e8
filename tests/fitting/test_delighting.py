"""Light is not baked into albedo: a rendered photo with hard side light and known albedo.

The light is a disc of 24 degrees, sharper than any spherical harmonics of the fit, and throws the shadow of the
nose over the cheek. The skin has moles that the statistical model does not know; they are what stage 3 is there
to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from lit_head import side_light
from rendered_photo import fitting_config, person, photograph, relative_error
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nextface import reconstruct
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material, Scene
from nextface.scene.baking import bake_vertices, texel_points
from nextface.scene.reflectance import RANGES

SIZE = 144  # pixels of the photo
MAP_SIZE = 256
MOLES = 100
BROAD = 31  # texels: an eighth of the map, as the shading of a cheek


@dataclass(frozen=True)
class Delit:
    """Diffuse albedo [H, W, 3] as it is and as two stages found it, and where it is compared [H, W]."""

    truth: Tensor
    without_moles: Tensor
    stage2: Tensor
    stage3: Tensor
    seen: Tensor  # skin that the photo shows
    psnr: tuple[float, float]  # of stages 2 and 3


def moles() -> Tensor:
    """How much of each texel [H, W] dark spots of 3 to 7 texels' diameter cover."""
    random = torch.Generator().manual_seed(5)
    place = torch.rand(MOLES, 2, generator=random) * MAP_SIZE
    radius = 1.5 + 2 * torch.rand(MOLES, generator=random)
    middles = torch.arange(MAP_SIZE) + 0.5
    away = (middles - place[:, 1:]).square()[:, :, None] + (middles - place[:, :1]).square()[:, None]
    return torch.exp(-away / (2 * radius[:, None, None] ** 2)).sum(0).clamp(max=1)


def with_moles(truth: Reconstruction) -> tuple[Scene, Material]:
    """The person's scene under side light with moles, and the maps without them."""
    scene = truth.scene()
    plain = truth.model_material()
    baked = Material(**{kind: bake_vertices(getattr(plain, kind), scene.mesh, MAP_SIZE) for kind in RANGES})
    dark = moles()[..., None] * torch.tensor([0.25, 0.4, 0.5])
    spotted = replace(baked, diffuse=baked.diffuse * (1 - dark))
    return replace(scene, material=spotted, environment=side_light()), baked


@pytest.fixture(scope="module")
def delit(tmp_path_factory: pytest.TempPathFactory) -> Delit:
    folder = tmp_path_factory.mktemp("delighting")
    model = create_model("open")
    truth = person(model, SIZE)
    scene, plain = with_moles(truth)
    files = photograph(truth, folder, scene, samples=1024)
    config = fitting_config(SIZE, iterStep2=100, rtSamples=32, textureResolution=MAP_SIZE)
    result = reconstruct(files.photo, folder, config, landmarks=files.landmarks)
    assert result.material is not None and result.confidence is not None
    before = Checkpoint.load(folder / "photo" / "checkpoints" / "stage2.npz", model)
    statistical = replace(result, parameters=before.parameters, material=None).model_material().diffuse
    skin = bake_vertices(model.regions["skin"].float()[None, :, None], scene.mesh, MAP_SIZE)[0, ..., 0] > 0.99
    seen = (result.confidence[0, ..., 0] > 0.5) & skin & texel_points(scene.mesh, MAP_SIZE).covered
    return Delit(
        scene.material.diffuse[0],
        plain.diffuse[0],
        bake_vertices(statistical, scene.mesh, MAP_SIZE)[0],
        result.material.diffuse[0],
        seen,
        (result.metrics["psnrStage2"], result.metrics["psnr"]),
    )


def error(albedo: Tensor, delit: Delit) -> float:
    """Relative error over the seen skin, after one gain."""
    return relative_error(albedo[delit.seen], delit.truth[delit.seen])[0]


def broad(albedo: Tensor, seen: Tensor) -> Tensor:
    """Means [H, W, 3] of an albedo over the seen texels around each."""
    weight = seen[None, None].float()
    total = avg_pool2d(albedo.permute(2, 0, 1)[None] * weight, BROAD, 1, BROAD // 2)
    share = avg_pool2d(weight, BROAD, 1, BROAD // 2).clamp(min=1e-6)
    return (total / share)[0].permute(1, 2, 0)


def test_enough_is_seen(delit: Delit) -> None:
    assert delit.seen.float().mean() > 0.15


def test_refinement_explains_the_photo_better(delit: Delit) -> None:
    assert delit.psnr[1] > delit.psnr[0] + 0.5


def test_refinement_makes_the_albedo_no_worse(delit: Delit) -> None:
    assert error(delit.stage3, delit) <= error(delit.stage2, delit)


def test_no_shading_is_left_in_the_albedo(delit: Delit) -> None:
    """Averaged over an eighth of the map, the albedo is the true one, on the lit side as in the shade."""
    truth = broad(delit.truth, delit.seen)[delit.seen]
    before, after = (
        relative_error(broad(found, delit.seen)[delit.seen], truth)[0] for found in (delit.stage2, delit.stage3)
    )
    assert after <= before + 0.005
    assert after < 0.05
    column = torch.arange(MAP_SIZE).expand(MAP_SIZE, MAP_SIZE)
    ratio = delit.stage3 / delit.truth
    sides = [ratio[delit.seen & side].mean() for side in (column < MAP_SIZE * 0.4, column > MAP_SIZE * 0.6)]
    assert sides[0] / sides[1] == pytest.approx(1, abs=0.03)


def test_moles_are_found(delit: Delit) -> None:
    """What stage 3 adds to stage 2 looks like the moles."""
    added = (delit.stage3 / delit.stage2).mean(-1)[delit.seen]
    true = (delit.truth / delit.without_moles).mean(-1)[delit.seen]
    assert torch.corrcoef(torch.stack([added, true]))[0, 1] > 0.5
