"""A finished result folder without a run: somebody's parameters, written as a run writes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from made_shots import made_shot
from rendered_photo import person, together

import renderers
from nextface.export.folder import draw, map_material, write_results
from nextface.models import create as create_model
from nextface.person.checkpoint import save_checkpoint
from nextface.person.circumstances import Circumstances
from nextface.person.reconstruction import Reconstruction

SIZE = 64  # pixels
MAPS = 128  # texels


def somebody(photos: int) -> Reconstruction:
    """Somebody in photos of one camera, whose jaw opens from one to the next."""
    single = person(create_model("open"), SIZE)
    jaw = single.model.expression_names.index("jawOpen")
    moments = []
    for photo in range(photos):
        expression = single.parameters.expression.clone()
        expression[0, jaw] += 0.2 * photo
        moments.append(single.with_parameters(replace(single.parameters, expression=expression)))
    return together(moments, known=[Circumstances(camera="one")] * photos)


@torch.no_grad()
def make_result(folder: Path, photos: int = 1, backend: str = "vertex", samples: int = 1) -> Reconstruction:
    """Write a result folder with checkpoints, as a finished run leaves it; returns what is in it."""
    start = somebody(photos)
    save_checkpoint(start, folder / "checkpoints" / "stage2.npz", 2)
    made = replace(start, material=map_material(start, MAPS))
    save_checkpoint(made, folder / "checkpoints" / "stage3.npz", 3)
    renderer = renderers.create(backend)
    pictures = [draw(made, renderer, samples, 0, photo) for photo in range(photos)]
    shots = [
        made_shot(torch.from_numpy(one[..., :3] / np.float32(255)), torch.from_numpy(one[..., 3] == 255))
        for one in pictures
    ]
    figures = write_results(made, shots, renderer, folder, samples, 0, MAPS, exr=True)
    metrics = {"psnr": figures[0]["psnr"], "photos": figures, "seconds": 1.0, "backend": renderer.name}
    metrics |= {"castsShadows": renderer.casts_shadows, "maxBounces": renderer.max_bounces}
    renderer.close()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return made
