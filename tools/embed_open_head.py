"""Find where the landmark detectors' points lie on the embedded head, and write open_head_landmarks.npz.

Run from the project's folder, after every change of the head's shape, topology or appearance:

    python tools/embed_open_head.py [--picture FILE.png]

MediaPipe's 478 points are found by detection on pictures of the mean head. The 68 points of the iBUG
annotation, which FAN detects, are taken from the MediaPipe points that mark the same places, so that building
the head needs no download; they are trusted less. `--picture` draws both sets on the mean head.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nextface.landmarks.embedding.cache import arrays
from nextface.landmarks.embedding.compute import compute_embedding
from nextface.landmarks.embedding.views import detector_points, mean_face_scene, picture_of
from nextface.landmarks.topology import IBUG68
from nextface.models.face_model import LandmarkEmbedding
from nextface.models.open_head import LANDMARKS, OpenHead, load_open_head
from nextface.scene import Scene
from nextface.system.atomic import replacing
from renderers.vertex.renderer import VertexRenderer

# The MediaPipe point at each of the 68 places; jaw, brows, nose, eyes, outer lips, inner lips.
IBUG_IN_MEDIAPIPE = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
    *(78, 81, 13, 311, 308, 402, 14, 178),
)
CORRESPONDENCE_TRUST = 0.5  # two annotations of one place differ by a few millimetres


def ibug_embedding(mediapipe: LandmarkEmbedding) -> LandmarkEmbedding:
    """The 68 points at the places of the MediaPipe points."""
    index = torch.tensor(IBUG_IN_MEDIAPIPE)
    contour = torch.zeros(IBUG68.count, dtype=torch.bool)
    contour[list(IBUG68.contour)] = True
    return LandmarkEmbedding(
        "fan",
        torch.arange(IBUG68.count),
        mediapipe.triangles[index],
        mediapipe.barycentric[index],
        mediapipe.weights[index] * CORRESPONDENCE_TRUST,
        contour,
    )


def positions(model: OpenHead, embedding: LandmarkEmbedding) -> Tensor:
    """The points [P, 3] on the mean head, mm."""
    corners = model.mean[model.triangles[embedding.triangles]]
    return (corners * embedding.barycentric[..., None]).sum(1)


def draw_points(model: OpenHead, renderer: VertexRenderer, embedding: LandmarkEmbedding) -> np.ndarray:
    """The mean head [H, W, 3] uint8, BGR: green trusted, red not trusted, blue outline."""
    import cv2

    scene = mean_face_scene(model, model.mean, yaw=0.0, pitch=0.0)
    corners = scene.mesh.vertices[0, model.triangles[embedding.triangles]]
    pixels = scene.camera.project((corners * embedding.barycentric[..., None]).sum(1)[None])[0]
    image = picture_of(renderer.render(scene, 1, 0)[0])[..., ::-1]
    zoom = 2
    image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    trusts = embedding.weights.tolist()
    for (x, y), outline, trust in zip((pixels * zoom).tolist(), embedding.contour, trusts, strict=True):
        shade = round(255 * trust)
        colour = (255, 80, 0) if outline else (0, shade, 255 - shade)
        cv2.circle(image, (math.floor(x), math.floor(y)), 2, colour, -1, cv2.LINE_AA)
    return image


def main() -> None:
    """Compute, write and, if asked, draw."""
    parser = argparse.ArgumentParser(description="Find the detectors' points on the embedded head.")
    parser.add_argument("--output", type=Path, default=LANDMARKS, help="where to write (default: the package)")
    parser.add_argument("--picture", type=Path, help="draw the points on the mean head")
    options = parser.parse_args()

    model, renderer = load_open_head(), VertexRenderer()

    def draw(scene: Scene) -> Tensor:
        return renderer.render(scene, samples=1, seed=0)

    mediapipe = compute_embedding(model, "mediapipe", draw, lambda seen: detector_points(seen, "mediapipe"))
    embeddings = mediapipe, ibug_embedding(mediapipe)
    stored = {}
    for embedding in embeddings:
        for name, values in arrays(embedding).items():
            stored[f"{embedding.detector}_{name}"] = values
        # Tells a head for which the points were found from one for which they were not.
        stored[f"{embedding.detector}_mean_positions"] = positions(model, embedding).numpy()
    stored["fan_source"] = np.array("the mediapipe points at the same places")
    with replacing(options.output) as temporary:
        np.savez_compressed(temporary, **stored)
    print(f"{options.output}: {', '.join(f'{len(e.indices)} {e.detector} points' for e in embeddings)}")
    if options.picture is not None:
        import cv2

        pictures = [draw_points(model, renderer, embedding) for embedding in embeddings]
        with replacing(options.picture) as temporary:
            cv2.imwrite(str(temporary), np.concatenate(pictures, 1))


if __name__ == "__main__":
    main()
