"""Does fitting several photos of one person together beat fitting each alone?

    python -m benchmarks.shared_identity --head FaceXModel --output shared_identity

Five path-traced photos (four bounces) of one head that the face model cannot represent are reconstructed, each
alone and all together, and compared with the truth. The head comes from the ICT-FaceKit light model's OBJ files
(neutral mesh plus normally distributed amounts of its identity shapes) where `--head` names their folder, else
from the open head with bumps that no component of it describes. Its albedo is the open head's with blotches and
moles that the statistics do not know. Each photo has lights of its own with sharp edges. The landmarks of the
view at 80 degrees are given; the others' are detected.

Two errors are measured for every run:
- geometry: median distance in mm of the true skin within 95 mm of the nose's tip to the reconstructed surface,
  after the similarity that fits best (iterative closest points, with scale);
- albedo: root mean square error of diffuse albedo over the truth's, after one gain, over the pixels of the
  run's own photos that show skin; and over the skin that any of the photos shows.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

import renderers
from benchmarks.alignment import Similarity, Surface
from benchmarks.ground_truth.heads import ICT_FACE, ICT_SOLID, IctModel, turned
from benchmarks.scoring.errors import relative_error
from nextface import Config, reconstruct, reconstruct_shared
from nextface.errors import NextFaceError
from nextface.export.folder import map_material
from nextface.fitting.refinement.visibility import vertex_visibility
from nextface.landmarks.detection import detect
from nextface.models.open_head import load_open_head
from nextface.person.reconstruction import Reconstruction
from nextface.photos.photo import load_photo
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import sample_map
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import focal_pixels, intrinsic_matrix, vertex_normals
from nextface.scene.lighting import map_directions
from nextface.scene.raster import interpolate, rasterize_scene
from nextface.system.progress import on_screen
from renderers.settings import Settings

FOCAL_35MM = 85.0
DISTANCE = 760.0  # mm
BACKGROUND = 0.02  # linear
BOUNCES = 4
RADIUS = 95.0  # mm around the nose's tip
SHOWN = 0.3  # of the visibility, from which on skin counts as shown by a photo
EXPOSED = 0.5  # of the range: mean radiance of the skin in each photo
VIEWS = {  # yaw, pitch, roll in degrees
    "front": (0, 0, 0),
    "right": (35, 0, 0),
    "left": (-35, 0, 0),
    "tilted": (8, 14, 18),
    "profile": (80, 0, 0),
}
GIVEN = "profile"  # the view whose landmarks are given
LIGHTS = (  # of each view: discs as azimuth, elevation, radius (degrees), colour of their power
    [(-50, 25, 9, (1.0, 0.95, 0.9)), (60, 5, 20, (0.35, 0.4, 0.45))],
    [(30, 40, 12, (1.0, 0.97, 0.92)), (120, 0, 15, (0.3, 0.3, 0.35))],
    [(-20, 30, 15, (0.9, 0.95, 1.0)), (70, 20, 10, (0.5, 0.45, 0.4))],
    [(10, 60, 10, (1.0, 1.0, 1.0)), (-70, 0, 15, (0.4, 0.4, 0.4))],
    [(40, 20, 12, (1.0, 0.95, 0.88)), (80, 30, 20, (0.5, 0.55, 0.6))],
)
SKY = (0.12, 0.13, 0.15)


@dataclass(frozen=True)
class Head:
    """The truth: a mesh in model space (mm) with vertex reflectance."""

    vertices: Tensor  # [V, 3]
    triangles: Tensor  # [F, 3]
    skin: Tensor  # [V] bool, where errors are measured
    material: Material  # [1, V, C]


@dataclass(frozen=True)
class Errors:
    """How far a run is from the truth."""

    geometry: float  # mm, the head as its photos show it
    neutral: float  # mm, the head without expression
    albedo: float  # relative, over the pixels of the run's own photos (mean over photos)
    albedo_all: float  # relative, over the skin that any of the photos shows
    psnr: float  # dB
    seconds: float


def ict_head(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3] (mm), triangles [F, 3] and skin [V] of a random head of the ICT-FaceKit light model."""
    model = IctModel(folder)
    vertices = model.random(np.random.default_rng(seed))
    return vertices[:ICT_SOLID], model.triangles, np.arange(ICT_SOLID) < ICT_FACE


def bumpy_head(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of an open head with an identity of its own and bumps across its surface."""
    model, random = load_open_head(), np.random.default_rng(seed)
    identity = torch.from_numpy(random.normal(size=(1, model.identity_size))).float()
    vertices = model.vertices(identity, torch.zeros(1, len(model.expression_names)))
    normals = vertex_normals(vertices, model.triangles)[0].numpy()
    points = vertices[0].numpy().astype(float)
    centres = points[random.choice(len(points), 60)]
    away = ((points[:, None] - centres) ** 2).sum(-1)
    bumps = (np.exp(-away / (2 * 14.0**2)) * random.normal(0, 2.5, 60)).sum(1)
    skin = model.regions["skin"].numpy()
    return points + normals * (bumps * skin)[:, None], model.triangles.numpy(), skin


def dressed(vertices: np.ndarray, triangles: np.ndarray, skin: np.ndarray, seed: int) -> Head:
    """The head with the open head's reflectance at the nearest points, and blotches and moles."""
    model, random = load_open_head(), np.random.default_rng(seed + 1)
    coefficients = torch.from_numpy(random.normal(0, 0.7, (1, model.albedo_size))).float()
    reflectance = model.reflectance(coefficients)
    surface = Surface(model.mean.numpy().astype(float), model.triangles.numpy())
    aligned = surface.aligned(vertices[skin])(vertices)
    nearest = cKDTree(model.mean.numpy()).query(aligned)[1]
    spots = np.zeros(len(vertices))
    for count, size, depth in ((40, 12.0, 0.25), (150, 2.5, 0.8)):  # blotches, moles
        centres = vertices[skin][random.choice(int(skin.sum()), count)]
        away = ((vertices[:, None] - centres) ** 2).sum(-1)
        spots += (np.exp(-away / (2 * size**2)) * random.uniform(0.3, 1, count) * depth).sum(1)
    dark = np.exp(-(spots * skin)[:, None] * np.array([0.5, 0.9, 1.1]))
    values = [getattr(reflectance, kind)[:, nearest] for kind in ("diffuse", "specular", "roughness")]
    values[0] = values[0] * torch.from_numpy(dark).float()
    middle = vertices[skin].mean(0) * [0, 1, 0]
    return Head(
        torch.from_numpy(vertices - middle).float(),
        torch.from_numpy(triangles),
        torch.from_numpy(skin),
        Material(*values),
    )


def scene_of(head: Head, view: int, size: int) -> Scene:
    """One of the photos' scenes."""
    yaw, pitch, roll = tuple(VIEWS.values())[view]
    pose = turned(yaw, pitch, roll)
    directions = map_directions(256).float()
    radiance = torch.tensor(SKY).expand(*directions.shape).clone()
    for azimuth, elevation, radius, colour in LIGHTS[view]:
        a, e, r = (math.radians(angle) for angle in (azimuth, elevation, radius))
        towards = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        disc = (directions @ towards > math.cos(r)).float() * 3.0 / (2 * math.pi * (1 - math.cos(r)))
        radiance += disc[..., None] * torch.tensor(colour)
    focal = torch.tensor([float(focal_pixels(FOCAL_35MM, size, size))])
    camera = Camera(
        intrinsic_matrix(focal, torch.full((1, 2), size / 2)),
        torch.from_numpy(pose.as_rotvec())[None].float(),
        torch.tensor([[0.0, 0.0, DISTANCE]]),
        size,
        size,
    )
    mesh = Mesh.from_vertices(head.vertices[None], head.triangles)
    return Scene(mesh, head.material, Environment(radiance[None]), camera)


def photograph(head: Head, folder: Path, size: int, samples: int) -> list[Path]:
    """Draw and save the photos, each exposed alike, and the landmarks of the view that needs them."""
    renderer = renderers.create("mitsuba", Settings(max_bounces=BOUNCES))
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for view, name in enumerate(VIEWS):
        with torch.no_grad():
            image = renderer.render(scene_of(head, view, size), samples, seed=view)[0]
        covered = image[..., 3] > 0.99
        linear = image[..., :3] * (EXPOSED * 0.5 / float(image[covered][:, :3].mean()))
        encoded = linear_to_srgb((linear + (1 - image[..., 3:]) * BACKGROUND).clamp(0, 1)).numpy()
        photos.append(folder / f"{view}_{name}.png")
        Image.fromarray(np.round(encoded * 255).astype(np.uint8)).save(photos[-1])
    renderer.close()
    front, given = list(VIEWS).index("front"), list(VIEWS).index(GIVEN)
    points = carried(head, photos[front], front, given, size)
    (folder / "landmarks").mkdir(exist_ok=True)
    (folder / "landmarks" / f"{photos[given].stem}.json").write_text(
        json.dumps({"detector": "mediapipe", "points": points.tolist()})
    )
    return photos


def carried(head: Head, photo: Path, seen: int, wanted: int, size: int) -> np.ndarray:
    """Landmarks [478, 2] detected in one view, carried over the true surface into another."""
    found = detect(load_photo(photo), "opencv", may_turn=False).landmarks.points
    scene = scene_of(head, seen, size)
    fragments = rasterize_scene(scene)
    surface = interpolate(fragments, head.triangles, head.vertices)
    covered = fragments.covered.nonzero()
    nearest = cKDTree(covered.flip(1).numpy() + 0.5).query(found)[1]
    points = surface[covered[nearest, 0], covered[nearest, 1]]
    return scene_of(head, wanted, size).camera.project(points[None])[0].numpy()


def near_nose(head: Head) -> Tensor:
    """[V] bool, skin within the measured distance of the nose's tip."""
    tip = head.vertices[head.skin][head.vertices[head.skin][:, 2].argmax()]
    return head.skin & ((head.vertices - tip).norm(dim=1) < RADIUS)


@dataclass(frozen=True)
class Pairs:
    """What a photo's pixels show of the truth's skin, and of the reconstruction."""

    truth: np.ndarray  # [P, 3] mm, true surface points
    found: np.ndarray  # [P, 3] mm, reconstructed surface points of the head without expression
    true_albedo: np.ndarray  # [P, 3]
    found_albedo: np.ndarray  # [P, 3]


def pairs(head: Head, result: Reconstruction, albedo: Tensor, photo: int, view: int, size: int) -> Pairs:
    """Pixel by pixel, in one of a run's photos; `albedo` [1, H, W, 3] is the run's map."""
    true_scene, model = scene_of(head, view, size), result.model
    frame = result.frames[photo]
    true_fragments, fragments = rasterize_scene(true_scene), rasterize_scene(result.scene(photo))
    row, column = fragments.covered.nonzero().unbind(1)
    scale, shift = frame.photo_to_image[0, 0], frame.photo_to_image[:, 2]
    across, down = (
        ((centre + 0.5 - offset) / scale).long() for centre, offset in zip((column, row), shift, strict=True)
    )
    shown = vertex_visibility(true_scene, torch.ones(size, size, dtype=torch.bool)) * near_nose(head)[:, None]

    def seen(values: Tensor) -> Tensor:
        return interpolate(true_fragments, head.triangles, values)[down, across].double()

    chosen = seen(shown)[:, 0] > SHOWN
    assert model.uvs is not None and model.uv_triangles is not None
    uv = interpolate(fragments, model.uv_triangles, model.uvs)[row, column]
    neutral = interpolate(fragments, model.triangles, without_expression(result))[row, column]
    values = (seen(head.vertices), neutral.double(), seen(head.material.diffuse[0]), sample_map(albedo, uv)[0])
    return Pairs(*(value[chosen].detach().double().numpy() for value in values))


def without_expression(result: Reconstruction) -> Tensor:
    """The reconstructed head's vertices [V, 3] without expression."""
    model = result.model
    return model.vertices(result.parameters.identity, torch.zeros(1, len(model.expression_names)))[0].detach()


@torch.no_grad()
def measured(head: Head, result: Reconstruction, views: Sequence[int], size: int) -> Errors:
    """The errors of a run on some of the views."""
    near = near_nose(head)
    truth = head.vertices[near].numpy().astype(float)
    model, neutral = result.model, without_expression(result)
    geometry = []
    for vertices in (*result.vertices(), neutral):
        surface = Surface(vertices.numpy().astype(float), model.triangles.numpy())
        moved = surface.aligned(truth)(truth)
        geometry.append(float(np.median(surface.nearest(moved).distances(moved))))
    maps = map_material(result, result.material.diffuse.shape[1] if result.material else 256)
    assert maps is not None and model.uvs is not None and model.uv_triangles is not None
    found = [pairs(head, result, maps.diffuse, photo, view, size) for photo, view in enumerate(views)]
    own = [relative_error(each.found_albedo, each.true_albedo) for each in found]

    # Skin that any photo shows, also beyond the run's own: the pixels of its own say which point is which.
    everywhere = torch.ones(size, size, dtype=torch.bool)
    shown = torch.stack(
        [vertex_visibility(scene_of(head, view, size), everywhere) for view in range(len(VIEWS))]
    )
    chosen = near & (shown[..., 0] > SHOWN).any(0)
    similarity = Similarity.between(
        np.concatenate([each.truth for each in found]), np.concatenate([each.found for each in found])
    )
    surface = Surface(neutral.numpy().astype(float), model.triangles.numpy())
    feet = surface.nearest(similarity(head.vertices[chosen].numpy().astype(float)))
    corners = model.uvs[model.uv_triangles[torch.from_numpy(feet.triangles)]]
    uv = (torch.from_numpy(surface.barycentric(feet)).float()[..., None] * corners).sum(1)
    everywhere_found = sample_map(maps.diffuse, uv)[0].double().numpy()
    return Errors(
        float(np.mean(geometry[:-1])),
        geometry[-1],
        float(np.mean(own)),
        relative_error(everywhere_found, head.material.diffuse[0, chosen].double().numpy()),
        result.metrics.get("psnr", math.nan),
        result.metrics.get("seconds", math.nan),
    )


def main() -> None:
    """Make the photos, run, measure, and write errors.json and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, help="folder of the ICT-FaceKit light model (FaceXModel)")
    parser.add_argument("--output", type=Path, default=Path("shared_identity"))
    parser.add_argument("--size", type=int, default=256, help="pixels of the photos")
    parser.add_argument("--samples", type=int, default=512, help="light paths a pixel of the photos")
    parser.add_argument("--seed", type=int, default=1, help="of the head")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the runs")
    given = parser.parse_args()
    shape = ict_head(given.head, given.seed) if given.head else bumpy_head(given.seed)
    head = dressed(*shape, given.seed)
    photos = photograph(head, given.output / "photos", given.size, given.samples)
    landmarks = given.output / "photos" / "landmarks"
    config = replace(Config(), focalLength35mm=FOCAL_35MM, landmarksDetectorType="opencv")
    config = config.with_overrides(given.set)
    errors: dict[str, Errors] = {}
    for view, (name, photo) in enumerate(zip(VIEWS, photos, strict=True)):
        points = landmarks / f"{photo.stem}.json"
        own = points if points.exists() else None
        try:
            result = reconstruct(photo, given.output, config, landmarks=own, progress=on_screen())
        except NextFaceError as error:
            print(f"{name}: {error}")
            continue
        errors[name] = measured(head, result, [view], given.size)
        print(f"{time.strftime('%H:%M')} {name}: {errors[name]}", flush=True)
    joint = reconstruct_shared(
        photos[0].parent, given.output / "joint", config, landmarks=landmarks, progress=on_screen()
    )
    errors["joint"] = measured(head, joint, range(len(VIEWS)), given.size)
    (given.output / "errors.json").write_text(
        json.dumps({name: asdict(error) for name, error in errors.items()}, indent=2) + "\n"
    )
    print(table(errors))


def table(errors: dict[str, Errors]) -> str:
    """The errors as a Markdown table, with the single runs' means and the joint run's gain over them."""
    names = list(asdict(errors["joint"]))
    rows = {name: list(asdict(error).values()) for name, error in errors.items()}
    single = np.array([row for name, row in rows.items() if name != "joint"])
    rows |= {"mean of single runs": single.mean(0).tolist(), "best single run": single.min(0).tolist()}
    lines = [f"| run | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |" for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
