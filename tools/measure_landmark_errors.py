"""Measure how a detector's landmarks err on random heads, and write open_head_landmark_errors.npz.

Run from the project's folder, after every change of the head or of the places of its landmarks:

    python tools/measure_landmark_errors.py [--heads 600] [--picture FILE.png]

Random people, half of them with expressions, are drawn in random poses under random lights. MediaPipe's points
are compared with where the landmarks of these heads really are. Such errors are no noise of pixels: a detector
errs in whole regions at once, and draws every face towards those that it knows. Every head counts for its
mirror image too. `--picture` draws some of the heads with both sets of points.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nextface.fitting.terms.landmark_errors import upright_axes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.landmarks import MEDIAPIPE
from nextface.landmarks.detection.blendshapes import mirrored_name
from nextface.landmarks.embedding.views import detector_points, picture_of
from nextface.landmarks.errors import common_errors, mirrored
from nextface.models.face_model import LandmarkEmbedding
from nextface.models.open_head import LANDMARK_ERRORS, OpenHead, load_open_head
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.photos.shot import size_of_face
from nextface.scene.lighting import fibonacci_directions
from nextface.system.atomic import replacing
from renderers.vertex.renderer import VertexRenderer

DETECTOR = "mediapipe"
MODES = 40  # of errors that points have in common; the rest counts as each point's own
SIZE = 320  # pixels of the pictures
DISTANCES = 350.0, 1500.0  # mm
FILLED = 0.5, 0.85  # of the picture, by a head of HEAD mm
HEAD = 240.0
NOD, TURN = 15.0, 35.0  # degrees to either side
EXPRESSIVE = 0.5  # of the heads
EXPRESSIONS, STRONGEST = 5, 0.6  # at once; on both sides of the face alike
WHITE_CARD = 0.7  # linear radiance, the median over the pictures
DRAWN = 16  # heads of the picture


def random_light(generator: np.random.Generator) -> Tensor:
    """Log powers [1, LIGHT_LOBES, 3] of even light and one to three lamps of slightly different colours."""
    directions = fibonacci_directions(LIGHT_LOBES).numpy()
    power = np.full((LIGHT_LOBES, 3), generator.uniform(0.1, 0.6))
    for _ in range(generator.integers(1, 4)):
        lamp = generator.normal(size=3)
        lamp[2] = abs(lamp[2])
        beam = np.clip(directions @ (lamp / np.linalg.norm(lamp)), 0, None) ** generator.uniform(1, 12)
        colour = (1 + 0.12 * generator.normal(size=3)).clip(0.5)
        power += generator.uniform(0.2, 1.5) * beam[:, None] * colour / (4 * beam.mean())
    card = (np.clip(directions[:, 2:], 0, None) * power).sum(0).mean() / math.pi
    power *= WHITE_CARD * np.exp(0.3 * generator.normal()) / card
    return torch.from_numpy(power).log()[None].float()


def random_person(model: OpenHead, generator: np.random.Generator) -> Reconstruction:
    """Somebody in a photo of SIZE x SIZE pixels, upright and near its middle."""
    identity = torch.from_numpy(generator.normal(size=(1, model.identity_size))).float()
    albedo = torch.from_numpy(generator.normal(size=(1, model.albedo_size))).float()
    names = model.expression_names
    expression = torch.zeros(1, len(names))
    if generator.random() < EXPRESSIVE:
        chosen = generator.choice(len(names), EXPRESSIONS, replace=False)
        expression[0, chosen] = torch.from_numpy(generator.uniform(0, STRONGEST, EXPRESSIONS)).float()
        expression = expression.maximum(expression[:, [names.index(mirrored_name(name)) for name in names]])
    angles = generator.uniform(-NOD, NOD), generator.uniform(-TURN, TURN)
    pose = Rotation.from_euler("xy", angles, degrees=True)
    distance = math.exp(generator.uniform(*np.log(DISTANCES)))
    focal = SIZE * generator.uniform(*FILLED) * distance / HEAD
    aside = generator.uniform(-0.03, 0.03, 2) * distance * SIZE / focal
    parameters = Parameters(
        identity,
        expression,
        albedo,
        torch.from_numpy(pose.as_rotvec())[None].float(),
        torch.tensor([[*aside, distance]]).float(),
        torch.tensor([math.log(focal)]),
        random_light(generator),
    )
    frame = Frame(SIZE, SIZE, torch.full((1, 2), SIZE / 2), np.eye(2, 3))
    return Reconstruction(model, parameters, (frame,), bands=9, environment_height=32)


def drawn_points(picture: np.ndarray, found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] with the detected points in green and the true ones in red, twice as large; BGR."""
    import cv2

    image = cv2.resize(picture[..., ::-1], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for points, colour in ((found, (0, 255, 0)), (true, (0, 0, 255))):
        for x, y in np.floor(2 * points).astype(int).tolist():
            cv2.circle(image, (x, y), 1, colour, -1)
    return image


def offsets_of(
    model: OpenHead, embedding: LandmarkEmbedding, heads: int, seed: int
) -> tuple[Tensor, list[np.ndarray]]:
    """Detected points less true ones [N, L, 2], over the face's size, along its axes; and some pictures.

    Heads on which the detector sees no face are left out.
    """
    renderer = VertexRenderer()
    offsets, pictures = [], []
    for number in range(heads):
        somebody = random_person(model, np.random.default_rng([seed, number]))
        picture = picture_of(renderer.render(somebody.scene(), 1, 0)[0])
        seen = detector_points(picture, DETECTOR)
        if seen is None:
            continue
        found = torch.from_numpy(seen).float()
        camera = somebody.camera()
        true = camera.project(landmark_points(somebody.vertices(), model, embedding))[0]
        axes = upright_axes(camera)
        offsets.append((found[embedding.indices] - true) @ axes.T / size_of_face(found))
        if len(pictures) < DRAWN:
            pictures.append(drawn_points(picture, seen, true.numpy()))
    return torch.stack(offsets), pictures


def main() -> None:
    """Draw, detect, compare and write."""
    parser = argparse.ArgumentParser(description="Measure how landmarks err on the embedded head.")
    parser.add_argument(
        "--output", type=Path, default=LANDMARK_ERRORS, help="where to write (default: the package)"
    )
    parser.add_argument("--heads", type=int, default=600, help="how many random people")
    parser.add_argument("--seed", type=int, default=1, help="of the random people")
    parser.add_argument("--picture", type=Path, help="draw some of the heads and their points")
    options = parser.parse_args()

    model = load_open_head()
    embedding = model.landmarks(DETECTOR)
    if embedding is None:
        parser.error("the head has no landmarks yet: run tools/embed_open_head.py first")
    places = landmark_points(model.mean[None], model, embedding)[0]
    with torch.no_grad():
        offsets, pictures = offsets_of(model, embedding, options.heads, options.seed)
    errors = common_errors(torch.cat([offsets, mirrored(offsets, torch.tensor(MEDIAPIPE.mirror))]), MODES)
    stored = {f"{DETECTOR}_{name}": values.numpy().astype(np.float16) for name, values in vars(errors).items()}
    # Tells places at which errors were measured from places at which they were not.
    stored[f"{DETECTOR}_mean_positions"] = places.numpy()
    with replacing(options.output) as temporary:
        np.savez_compressed(temporary, **stored)
    typical = 100 * float(offsets.square().mean().sqrt())
    print(f"{options.output}: {len(offsets)} heads, {typical:.2f} % of the face")
    if options.picture is not None:
        import cv2

        rows = [np.concatenate(pictures[first : first + 4], 1) for first in range(0, len(pictures) - 3, 4)]
        with replacing(options.picture) as temporary:
            cv2.imwrite(str(temporary), np.concatenate(rows))


if __name__ == "__main__":
    main()
