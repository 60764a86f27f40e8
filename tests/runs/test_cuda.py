"""What only a GPU can show: the CPU's results on it, all stages, and memory that does not grow.

    python -m pytest -m cuda

Skipped where PyTorch finds no GPU; comparisons with Mitsuba on the CPU also where that does not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PORTRAIT, SMALL
from lit_head import BANDS, lit_head
from torch import Tensor

from nextface import Config, reconstruct
from nextface.errors import MissingPartError
from nextface.fitting.transfer.light_transfer import transfer_vectors
from nextface.fitting.transfer.renderer import TransferRenderer
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Scene
from nextface.scene.pixel_points import PixelPoints
from renderers.mitsuba.renderer import MitsubaRenderer
from renderers.renderer import Transferable
from renderers.vertex.renderer import VertexRenderer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA GPU here"),
]

SAMPLES = 16
LEAVES = {
    "mesh": ("vertices", "normals"),
    "material": ("diffuse", "specular", "roughness"),
    "environment": ("light",),
    "camera": ("intrinsics", "rotation", "translation"),
}
GROWTH = 64 << 20  # bytes: what allocators round and keep


def moved(value: Any, device: str) -> Any:
    """A dataclass with its tensors, and those of its parts, on a device."""
    parts = {item.name: getattr(value, item.name) for item in fields(value) if item.init}
    for name, part in parts.items():
        if isinstance(part, Tensor):
            parts[name] = part.to(device)
        elif is_dataclass(part):
            parts[name] = moved(part, device)
    return replace(value, **parts)


def apart(found: Tensor, expected: Tensor) -> float:
    """Root mean square difference over the root mean square of what is expected."""
    expected = expected.double().cpu()
    return float((found.double().cpu() - expected).norm() / expected.norm())


def on(device: str, backend: str) -> Transferable:
    """A backend on a device; skips where it does not run there."""
    if backend == "vertex":
        return VertexRenderer()
    try:
        return MitsubaRenderer(device)
    except MissingPartError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def head() -> Scene:
    return lit_head()


@pytest.fixture(scope="module", params=["vertex", "mitsuba"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Transferable, Transferable]]:
    """One backend on the CPU and on the GPU."""
    both = on("cpu", request.param), on("cuda", request.param)
    yield both
    for renderer in both:
        renderer.close()


@pytest.fixture(scope="module")
def mitsuba() -> Iterator[MitsubaRenderer]:
    renderer = on("cuda", "mitsuba")
    assert isinstance(renderer, MitsubaRenderer)
    yield renderer
    renderer.close()


def differentiated(renderer: Any, scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
    """The image [h, w, 4], and the gradients by every leaf of a smooth weighting of it."""

    def leaf(values: Tensor) -> Tensor:
        return values.detach().clone().requires_grad_()

    traced = scene
    for part, names in LEAVES.items():
        old = getattr(scene, part)
        traced = replace(traced, **{part: replace(old, **{name: leaf(getattr(old, name)) for name in names})})
    image = renderer.render(traced, SAMPLES, seed=5)[0]
    rows, columns = (torch.linspace(0.5, 1.5, size, device=image.device) for size in image.shape[:2])
    (image[..., :3] * (rows[:, None] * columns)[..., None]).sum().backward()
    found = {
        name: getattr(getattr(traced, part), name).grad for part, names in LEAVES.items() for name in names
    }
    return image.detach(), {name: slopes for name, slopes in found.items() if slopes is not None}


def distances(
    found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]
) -> dict[str, float]:
    """How far an image and its gradients are from others."""
    (image, slopes), (expected_image, expected_slopes) = found, expected
    assert image.is_cuda and slopes.keys() == expected_slopes.keys() and len(slopes) >= 7
    return {"image": apart(image, expected_image)} | {
        name: apart(slopes[name], expected_slopes[name]) for name in slopes
    }


def test_images_and_gradients_are_the_cpus(pair: tuple[Transferable, Transferable], head: Scene) -> None:
    cpu, cuda = pair
    far = distances(differentiated(cuda, moved(head, "cuda")), differentiated(cpu, head))
    assert max(far.values()) < 1e-2, far


def test_light_transfer_is_the_cpus(pair: tuple[Transferable, Transferable], head: Scene) -> None:
    everywhere = torch.ones(head.camera.height, head.camera.width, dtype=torch.bool)
    points = PixelPoints.of(head, everywhere)
    vectors = [
        transfer_vectors(
            moved(points, device), BANDS, renderer.occlusion(moved(head, device)), renderer.specular_lobe
        )
        for renderer, device in zip(pair, ("cpu", "cuda"), strict=True)
    ]
    assert vectors[1].is_cuda
    assert apart(vectors[1], vectors[0]) < 1e-3


def test_mitsuba_takes_scenes_from_either_memory(mitsuba: MitsubaRenderer, head: Scene) -> None:
    """From the GPU's without a way through the host's, with the same result."""
    far = distances(differentiated(mitsuba, moved(head, "cuda")), differentiated(mitsuba, head))
    assert max(far.values()) < 1e-3, far


def test_a_render_with_one_seed_repeats_to_the_last_bit(mitsuba: MitsubaRenderer, head: Scene) -> None:
    scene = moved(head, "cuda")
    with torch.no_grad():
        one, other = (mitsuba.render(scene, SAMPLES, seed=3) for _ in range(2))
    assert torch.equal(one, other)


def taken() -> int:
    """Bytes of the GPU that anybody uses, after what torch only keeps for later is given back."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return total - free


@pytest.mark.parametrize("kind", ["vertex", "mitsuba", "transfer"])
def test_memory_does_not_grow_with_the_renders(kind: str, head: Scene) -> None:
    scene = moved(head, "cuda")
    backend = on("cuda", "mitsuba" if kind == "transfer" else kind)

    def draw() -> None:
        renderer: Any = backend
        if kind == "transfer":
            wanted = torch.ones(scene.camera.height, scene.camera.width, dtype=torch.bool, device="cuda")
            renderer = TransferRenderer(backend, [scene], [wanted], BANDS)
            renderer.render(scene, 1, 1)
        else:
            differentiated(renderer, scene)

    for _ in range(3):
        draw()
    before = taken()
    for _ in range(12):
        draw()
    assert taken() - before < GROWTH
    backend.close()


def fitted(
    output: Path,
    device: str,
    backend: str,
    skipped: Sequence[int] = (),
    checkpoint: Path | None = None,
    **changes: Any,
) -> Reconstruction:
    """The bundled portrait, small."""
    config = Config(renderer=backend, device=device, landmarksDetectorType="opencv", **(SMALL | changes))
    return reconstruct(PORTRAIT, output, config, skip_stages=frozenset(skipped), checkpoint=checkpoint)


@pytest.mark.parametrize(("backend", "transfer"), [("vertex", True), ("mitsuba", True), ("mitsuba", False)])
def test_all_stages_run_as_on_the_cpu(backend: str, transfer: bool, tmp_path: Path) -> None:
    """By light transfer, which the GPU sums up, and by following the renderer's gradients."""
    on("cpu", backend).close()
    expected, found = (
        fitted(tmp_path / device, device, backend, lightTransfer=transfer) for device in ("cpu", "cuda")
    )
    assert found.metrics["device"] == "cuda:0"
    for name in ("psnrStage2", "psnr"):
        assert found.metrics[name] == pytest.approx(expected.metrics[name], abs=0.5), name
    assert apart(found.vertices(), expected.vertices()) < 0.01


def test_a_deterministic_run_takes_the_cpu(tmp_path: Path) -> None:
    """Where the device is left open; to ask for both is refused."""
    found = fitted(tmp_path, "auto", "vertex", deterministic=True, skipped=(2, 3))
    assert found.metrics["device"] == "cpu"


def test_gauss_newton_steps_are_the_cpus(tmp_path: Path) -> None:
    """Of albedo, of albedo and light, and of all, from the same start."""
    on("cpu", "mitsuba").close()
    start = fitted(tmp_path / "start", "cpu", "mitsuba", skipped=(2, 3))
    assert start.folder is not None
    checkpoint = start.folder / "checkpoints" / "stage1.npz"
    expected, found = (
        fitted(tmp_path / device, device, "mitsuba", (3,), checkpoint).parameters for device in ("cpu", "cuda")
    )
    far = {
        item.name: apart(getattr(found, item.name), getattr(expected, item.name)) for item in fields(expected)
    }
    assert max(far.values()) < 2e-2, far


def test_the_portrait_with_the_shipped_settings(tmp_path: Path) -> None:
    result = reconstruct(PORTRAIT, tmp_path, Config(device="cuda", landmarksDetectorType="opencv"))
    assert result.metrics["psnr"] > 33
