"""How well are a head and its cameras found from photos that several cameras took at one moment?

    python -m benchmarks.rigs --head FaceXModel --output rigs --set renderer=vertex

Rigs of 2, 4, 8 and 16 cameras, on arcs of 50, 100, 110 and 110 degrees in front of one head that the face model
cannot represent (`benchmarks.shared_identity`), under one light of the world with sharp edges. Each rig's
photos are reconstructed with cameras and places known (in mm), with cameras known whose places are to be found,
and with nothing known. No landmarks are given. Measured are

- geometry: median distance in mm of the true skin within 95 mm of the nose's tip to the reconstruction, after
  the similarity that fits best, and after the rigid motion that does (`metric`);
- places of the cameras, in the first one's frame: mean error in degrees; of their distances' scale, in percent;
  and mean error of their centres in mm, as found, and once that scale is taken out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

import renderers
from benchmarks.alignment import Similarity, Surface
from benchmarks.shared_identity import BACKGROUND, EXPOSED, Head, bumpy_head, dressed, ict_head, near_nose
from nextface.cameras.reading import read_cameras
from nextface.cameras.transforms import write_transforms
from nextface.cameras.view import Place, View
from nextface.config import Config
from nextface.export.cameras import FOLDER
from nextface.person.reconstruction import Reconstruction
from nextface.photos.lens import Lens
from nextface.runs.multiview import reconstruct_moment
from nextface.scene import Camera, Environment, Mesh, Rig, Scene
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import facing, focal_pixels, intrinsic_matrix
from nextface.scene.lighting import map_directions
from nextface.system.progress import on_screen
from renderers.settings import Settings

FOCAL_35MM = 100.0
DISTANCE = 1000.0  # mm from every camera to the head
STEP, WIDEST = 25.0, 110.0  # degrees of the arc for each camera, and at most
HEIGHT = 8.0  # degrees up and down by turns
DISCS = (  # azimuth, elevation, radius in degrees in the world, and the colour of their power
    (-50, 25, 12, (1.0, 0.95, 0.9)),
    (60, 15, 20, (0.5, 0.55, 0.65)),
    (0, 60, 15, (0.5, 0.5, 0.5)),
)
SKY = (0.15, 0.16, 0.18)
KNOWN = ("places", "lenses", "nothing")


@dataclass(frozen=True)
class Errors:
    """How far a run is from the truth."""

    geometry: float  # mm, after the best similarity
    metric: float  # mm, after the best rigid motion
    degrees: float  # mean over cameras but the first
    scale: float  # percent, of distances between cameras
    places: float  # mm, mean over cameras but the first
    places_scaled: float  # mm, the same without the error of scale
    seconds: float


def around(turns: Sequence[tuple[float, float]], distance: float) -> Rig:
    """Cameras that look at one point from several sides, the first from the rig's frame's origin.

    Parameters
    ----------
    turns: yaw and pitch in degrees of each camera about that point, in the first one's frame.
    distance: from every camera to that point, mm.
    """
    rotations = [Rotation.from_euler("yx", turn, degrees=True) for turn in turns]
    middle = np.array([0.0, 0.0, distance])
    places = np.stack([middle - rotation.apply(middle) for rotation in rotations])
    vectors = np.stack([rotation.as_rotvec() for rotation in rotations])
    known = (True,) * len(rotations)
    return Rig(torch.from_numpy(vectors).float(), torch.from_numpy(places).float(), known, metric=True)


def on_an_arc(count: int) -> Rig:
    """The rig of so many cameras, in the frame of one that stands before the head, which faces it."""
    arc = min(STEP * count, WIDEST)
    yaws = np.linspace(-arc / 2, arc / 2, count)
    return around([(float(yaw), HEIGHT * (-1) ** number) for number, yaw in enumerate(yaws)], DISTANCE)


def scene_of(head: Head, rig: Rig, number: int, size: int) -> Scene:
    """What one of the cameras sees: the head faces the rig's frame, and the light stands in the world."""
    focal = torch.tensor([float(focal_pixels(FOCAL_35MM, size, size))])
    camera = rig.mounted(
        Camera(
            intrinsic_matrix(focal, torch.full((1, 2), size / 2)),
            torch.zeros(1, 3),
            torch.tensor([[0.0, 0.0, DISTANCE]]),
            size,
            size,
            facing(focal)[None],
        ),
        number,
    )
    directions = map_directions(128).float() @ rig.light_turn(number)  # in the world
    radiance = torch.tensor(SKY).expand(*directions.shape).clone()
    for azimuth, elevation, radius, colour in DISCS:
        a, e, r = (math.radians(angle) for angle in (azimuth, elevation, radius))
        towards = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        disc = (directions @ towards > math.cos(r)).float() * 3.0 / (2 * math.pi * (1 - math.cos(r)))
        radiance += disc[..., None] * torch.tensor(colour)
    mesh = Mesh.from_vertices(head.vertices[None], head.triangles)
    return Scene(mesh, head.material, Environment(radiance[None]), camera)


def photograph(head: Head, rig: Rig, folder: Path, size: int, samples: int) -> list[View]:
    """Draw and save a rig's photos, all exposed alike; tells its cameras."""
    renderer = renderers.create("mitsuba", Settings())
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in range(len(rig)):
        with torch.no_grad():
            images.append(renderer.render(scene_of(head, rig, number, size), samples, seed=number)[0])
    renderer.close()
    covered = images[0][..., 3] > 0.99
    exposure = EXPOSED * 0.5 / float(images[0][covered][:, :3].mean())
    views = []
    for number, image in enumerate(images):
        linear = image[..., :3] * exposure + (1 - image[..., 3:]) * BACKGROUND
        name = f"{number:02}.png"
        encoded = linear_to_srgb(linear.clamp(0, 1)).numpy()
        Image.fromarray(np.round(encoded * 255).astype(np.uint8)).save(folder / name)
        matrix = scene_of(head, rig, number, size).camera.intrinsics[0].double().numpy()
        place = Place(rig.turn(number).double().numpy(), rig.translation[number].double().numpy())
        views.append(View(name, Lens(size, size, matrix), place))
    return views


def in_first_frame(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Turns [C - 1, 3, 3] from the first camera's frame to the others', and their centres [C - 1, 3] in it."""
    first = views[0].place
    assert first is not None
    places = [view.place for view in views[1:] if view.place is not None]
    turns = np.stack([place.rotation @ first.rotation.T for place in places])
    return turns, np.stack([first.rotation @ (place.centre - first.centre) for place in places])


def off(found: Sequence[View], truth: Sequence[View]) -> tuple[float, float, float, float]:
    """Errors of cameras: mean degrees; percent of scale; mean mm of centres; that without the scale's error."""
    turns, places = in_first_frame(found)
    true_turns, true_places = in_first_frame(truth)
    degrees = np.degrees(Rotation.from_matrix(turns @ true_turns.transpose(0, 2, 1)).magnitude()).mean()
    scale = float((places * true_places).sum() / (true_places**2).sum())
    distances = [np.linalg.norm(one - true_places, axis=1).mean() for one in (places, places / scale)]
    return float(degrees), 100 * (scale - 1), float(distances[0]), float(distances[1])


@torch.no_grad()
def measured(head: Head, result: Reconstruction, truth: Sequence[View]) -> Errors:
    """The errors of a run on all photos of a rig."""
    true = head.vertices[near_nose(head)].numpy().astype(float)
    surface = Surface(result.vertices()[0].numpy().astype(float), result.model.triangles.numpy())
    similar = surface.aligned(true)
    start = Similarity.between(true, similar(true), scaled=False)
    rigid = surface.aligned(true, start, scaled=False)
    apart = [
        float(np.median(surface.nearest(moved).distances(moved) / motion.scale))
        for motion, moved in ((motion, motion(true)) for motion in (similar, rigid))
    ]
    assert result.folder is not None
    found = read_cameras(result.folder / FOLDER / "transforms.json", [])
    return Errors(*apart, *off(found.views, truth), result.metrics["seconds"])


def main() -> None:
    """Draw, run, measure, and write errors.json and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, help="folder of the ICT-FaceKit light model (FaceXModel)")
    parser.add_argument("--output", type=Path, default=Path("rigs"))
    parser.add_argument("--cameras", type=int, nargs="+", default=[2, 4, 8, 16], help="of each rig")
    parser.add_argument("--known", nargs="+", default=KNOWN, choices=KNOWN, help="what runs are told")
    parser.add_argument("--size", type=int, default=256, help="pixels of the photos")
    parser.add_argument("--samples", type=int, default=256, help="light paths a pixel of the photos")
    parser.add_argument("--seed", type=int, default=1, help="of the head")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the runs")
    given = parser.parse_args()
    shape = ict_head(given.head, given.seed) if given.head else bumpy_head(given.seed)
    head = dressed(*shape, given.seed)
    config = Config().with_overrides(given.set, "--set")
    kept = given.output / "errors.json"
    errors = (
        {name: Errors(**one) for name, one in json.loads(kept.read_text()).items()} if kept.exists() else {}
    )
    for count in given.cameras:
        folder = given.output / f"{count}"
        truth = photograph(head, on_an_arc(count), folder / "photos", given.size, given.samples)
        for known in given.known:
            name = f"{count} cameras, {known} known"
            if name in errors:
                continue
            told = [view if known == "places" else replace(view, place=None) for view in truth]
            write_transforms(told, folder / f"{known}.json", metric=True)
            result = reconstruct_moment(
                folder / "photos",
                folder / known,
                config,
                cameras=None if known == "nothing" else folder / f"{known}.json",
                unit="mm" if known == "places" else None,
                skip_stages=frozenset({3}),
                progress=on_screen(),
            )
            errors[name] = measured(head, result, truth)
            kept.write_text(json.dumps({name: asdict(one) for name, one in errors.items()}, indent=1) + "\n")
    print(table(errors))


def table(errors: dict[str, Errors]) -> str:
    """The errors as a Markdown table."""
    titles = (
        "median, mm",
        "metric",
        "turns, degrees",
        "scale, %",
        "places, mm",
        "places at scale, mm",
        "seconds",
    )
    lines = [f"| rig | {' | '.join(titles)} |", "| --- " * (len(titles) + 1) + "|"]
    for name, one in errors.items():
        values = [f"{value:.2f}" for value in list(asdict(one).values())[:-1]]
        lines.append(f"| {name} | {' | '.join(values)} | {one.seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
