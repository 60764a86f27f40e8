"""How much memory one person's photos take, fitted together.

    python -m benchmarks.memory --output memory

Draws photos of a head of the open model from several sides, and reconstructs 2, 8 and 32 of them with
`--sharedIdentity`, each number in a process of its own. Told are the most that was resident after every part of
the run, and what each further photo added to it. Stages 2 and 3 are cut short: memory does not depend on how
long they are.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

import renderers
from nextface.fitting.landmarks.coarse import landmark_points
from nextface.models import create as create_model
from nextface.person.circumstances import Circumstances
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY, Sharing
from nextface.photos.frame import Frame
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import focal_pixels
from renderers.settings import Settings

FOCAL_35MM = 85.0
DISTANCE = 760.0  # mm
YAWS = (0.0, 25.0, -25.0, 12.0)  # degrees; further photos show these again
SAMPLES = 64  # light paths a pixel
SHORT = {"iterStep1": 20, "iterStep2": 8, "iterStep3": 4, "rtSamples": 4, "textureResolution": 256}


def somebody(size: int) -> Reconstruction:
    """A head in a photo of size x size pixels for each of `YAWS`, under even light."""
    model, count = create_model("open"), len(YAWS)
    identity = torch.zeros(1, model.identity_size)
    identity[0, :8] = torch.from_numpy(np.random.default_rng(3).normal(size=8))
    turns = [Rotation.from_euler("y", yaw, degrees=True).as_rotvec() for yaw in YAWS]
    parameters = Parameters(
        identity,
        torch.zeros(count, len(model.expression_names)),
        torch.zeros(1, model.albedo_size),
        torch.tensor(np.array(turns)).float(),
        torch.tensor([[0.0, 0, DISTANCE]]).repeat(count, 1),
        torch.full((count,), math.log(focal_pixels(FOCAL_35MM, size, size))),
        torch.full((count, LIGHT_LOBES, 3), math.log(4 * math.pi / LIGHT_LOBES)),
    )
    frame = Frame(size, size, torch.full((1, 2), size / 2), np.eye(3)[:2])
    sharing = Sharing.of(SHARED_IDENTITY, [Circumstances()] * count)
    return Reconstruction(model, parameters, (frame,) * count, 9, environment_height=64, sharing=sharing)


def take(folder: Path, truth: Reconstruction, count: int) -> None:
    """Write so many photos and their landmarks."""
    renderer, pictures = renderers.create("mitsuba", Settings("cpu")), []
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    for view in range(len(truth)):
        with torch.no_grad():
            image = renderer.render(truth.scene(view), SAMPLES, seed=view)[0]
        encoded = linear_to_srgb((image[..., :3] + 0.02 * (1 - image[..., 3:])).clamp(0, 1)).numpy()
        seen = landmark_points(truth[view].vertices(), truth.model, embedding)
        points = np.zeros((478, 2))
        points[embedding.indices.numpy()] = truth.camera(view).project(seen)[0].numpy()
        pictures.append((Image.fromarray(np.round(encoded * 255).astype(np.uint8)), points.tolist()))
    renderer.close()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, listed = pictures[number % len(pictures)]
        picture.save(folder / f"{number:02d}.png")
        words = {"detector": "mediapipe", "points": listed}
        (folder / f"{number:02d}.json").write_text(json.dumps(words))


def measured(photos: Path, output: Path, size: int) -> dict[str, float]:
    """The most memory, in MB, after every part of a run."""
    settings = {**SHORT, "maxResolution": size, "focalLength35mm": FOCAL_35MM, "threads": 1}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    given = ["--input", photos, "--landmarks", photos, "--output", output, "--sharedIdentity"]
    subprocess.run([sys.executable, "-m", "nextface", "reconstruct", *map(str, given), *words], check=True)
    metrics = json.loads((output / photos.name / "metrics.json").read_text())
    return metrics["peakMemoryMBByPart"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for photos and results")
    parser.add_argument("--photos", type=int, nargs="+", default=[2, 8, 32], help="how many at once")
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    options = parser.parse_args()
    truth, before = somebody(options.size), {}
    truth = replace(truth, parameters=truth.parameters.detached())
    last = 0
    for count in options.photos:
        folder = options.output / f"photos{count}"
        take(folder, truth, count)
        parts = measured(folder, options.output, options.size)
        print(f"{count} photos: " + ", ".join(f"{part} {value:.0f} MB" for part, value in parts.items()))
        if before:
            each = {part: (value - before[part]) / (count - last) for part, value in parts.items()}
            told = ", ".join(f"{part} {value:.1f} MB" for part, value in each.items())
            print(f"  each further photo: {told}")
        before, last = parts, count


if __name__ == "__main__":
    main()
