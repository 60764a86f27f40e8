"""A picture that checks a face model by eye: mean, first modes, regions, landmarks, UVs, joints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from nextface.landmarks.embedding.views import Draw, mean_face_scene, picture_of
from nextface.models.bases import neutral_vertices
from nextface.models.face_model import FaceModel
from nextface.scene import Material, Scene
from nextface.system.atomic import replacing

SIDE, COLUMNS = 3.0, 5  # inches of a panel, panels in a row
MARGIN = 12.0  # pixels around a head
TURNED = math.radians(40)
SHOWN_MODES, AMOUNT = 4, 2.0  # identity modes, at so many standard deviations
REGIONS = (  # from those that lie under others to those on top
    "scalp", "neck", "face", "forehead", "cheeks", "chin", "nose", "ears", "eyelids", "lips", "brows",
    "eye_sockets", "mouth", "tongue", "teeth", "eyes", "sclera", "iris",
)  # fmt: skip
GREY = 0.35  # linear albedo of what lies in no region


@dataclass(frozen=True)
class Panel:
    """A drawn scene with a title, and points [P, 2] (pixels) over it."""

    title: str
    scene: Scene
    points: Tensor | None = None
    names: Sequence[str] = ()  # of the points


@torch.no_grad()
def write_model_picture(model: FaceModel, draw: Draw, path: Path, note: str) -> None:
    """Write the picture as a PNG.

    Parameters
    ----------
    draw: draws a scene under its light.
    note: what stands below the title.

    Raises
    ------
    OutputError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    panels = list(_panels(model))
    rows = math.ceil((len(panels) + 1) / COLUMNS)
    figure = Figure(figsize=(SIDE * COLUMNS, SIDE * rows + 0.6))
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.8 / (SIDE * rows + 0.6), 0.03, 0.12)
    figure.suptitle(f"{model.name}: {note}", fontsize=10)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, COLUMNS, number + 1, title=panel.title)
        image = draw(panel.scene)[0].cpu()
        covered = image[..., 3] > 0.5
        rows_shown, columns_shown = covered.any(1).nonzero(), covered.any(0).nonzero()
        axes.imshow(picture_of(image))
        axes.set_xlim(float(columns_shown.min()) - MARGIN, float(columns_shown.max()) + MARGIN)
        axes.set_ylim(float(rows_shown.max()) + MARGIN, float(rows_shown.min()) - MARGIN)
        if panel.points is not None:
            axes.scatter(*panel.points.T.numpy(), s=1.5 if not panel.names else 24, c="#ff2020", linewidths=0)
            for name, point in zip(panel.names, panel.points.tolist(), strict=bool(panel.names)):
                axes.annotate(name, point, color="#c00000", fontsize=8)
        axes.set_axis_off()
    _draw_layout(figure.add_subplot(rows, COLUMNS, len(panels) + 1, title="UVs"), model)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _panels(model: FaceModel) -> Iterator[Panel]:
    device = model.triangles.device
    rest = torch.zeros(1, model.identity_size, device=device)
    mean = neutral_vertices(model, rest)[0]
    for title, yaw in (("mean", 0.0), ("from the side", TURNED)):
        yield Panel(title, mean_face_scene(model, mean, yaw, 0.0))
    scene = mean_face_scene(model, mean, 0.0, 0.0)
    yield Panel("shape alone", _coloured(scene, torch.full_like(scene.material.diffuse, GREY)))
    yield Panel("regions", _coloured(scene, _region_colours(model, len(mean))))
    embedding = model.landmarks("mediapipe")
    if embedding is not None:
        corners = scene.mesh.vertices[:, model.triangles[embedding.triangles]]
        places = (corners * embedding.barycentric[:, :, None]).sum(2)
        points = scene.camera.project(places)[0].cpu()
        yield Panel("landmarks", _coloured(scene, torch.full_like(scene.material.diffuse, GREY)), points)
    own = getattr(model, "own", model)  # what files bring, without what was lent to it
    joints, names = getattr(own, "joints", None), getattr(own, "joint_names", ())
    if joints is not None:
        centred = joints(rest)[0] - (mean.amax(0) + mean.amin(0)) / 2
        side = mean_face_scene(model, mean, TURNED, 0.0)
        turn = torch.tensor(
            [[math.cos(TURNED), 0, math.sin(TURNED)], [0, 1, 0], [-math.sin(TURNED), 0, math.cos(TURNED)]]
        ).to(centred)
        yield Panel("joints", side, side.camera.project(centred[None] @ turn.T)[0].cpu(), names)
    for number in range(min(SHOWN_MODES, model.identity_size)):
        for sign in (1, -1):
            person = rest.clone()
            person[0, number] = sign * AMOUNT
            face = neutral_vertices(model, person)[0]
            yield Panel(f"identity {number} at {sign * AMOUNT:+g}", mean_face_scene(model, face, 0.0, 0.0))
    prior = model.expression_prior
    for number in _telling(model):
        mood = prior.mean.clone()
        mood[number] = torch.minimum(prior.mean + 3 * prior.spread, prior.high)[number]
        face = model.vertices(rest, mood[None])[0]
        yield Panel(model.expression_names[number], mean_face_scene(model, face, 0.0, 0.0))
    for number in range(min(2, model.albedo_size)):
        colour = rest.new_zeros(1, model.albedo_size)
        colour[0, number] = AMOUNT
        found = model.reflectance(colour)
        material = Material(found.diffuse, found.specular, found.roughness)
        yield Panel(f"albedo {number} at {AMOUNT:+g}", replace(scene, material=material))


def _telling(model: FaceModel) -> list[int]:
    """Expressions to show: some that have names of their own, else the first ones."""
    wanted = ("jawOpen", "jaw x", "mouthSmileLeft", "eyeBlinkLeft", "browInnerUp", "neck y", "left eye y")
    named = [model.expression_names.index(name) for name in wanted if name in model.expression_names]
    others = [number for number in range(len(model.expression_names)) if number not in named]
    return (named + others)[:5]


def _coloured(scene: Scene, diffuse: Tensor) -> Scene:
    material = Material(
        diffuse, torch.full_like(diffuse[..., :1], 0.02), torch.full_like(diffuse[..., :1], 0.6)
    )
    return replace(scene, material=material)


def _region_colours(model: FaceModel, count: int) -> Tensor:
    """[1, V, 3]"""
    colours = torch.full((count, 3), GREY, device=model.triangles.device)
    names = [name for name in REGIONS if name in model.regions]
    palette = colormaps["tab20"](np.arange(len(names)) % 20)[:, :3] ** 2.2
    for name, colour in zip(names, palette, strict=True):
        colours[model.regions[name]] = torch.from_numpy(colour).to(colours)
    return colours[None]


def _draw_layout(axes: object, model: FaceModel) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.set_axis_off()
    if model.uvs is None or model.uv_triangles is None:
        axes.text(0.5, 0.5, "none", ha="center")
        return
    axes.set_aspect("equal")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.triplot(*model.uvs.cpu().numpy().T, model.uv_triangles.cpu().numpy(), linewidth=0.15, color="#204060")
