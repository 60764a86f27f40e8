"""What the photo says about every element of the surface, and how the rest is filled in without an edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, max_pool2d

from nextface.models.bases import in_regions
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.scene import Scene
from nextface.scene.raster import interpolate as interpolate_vertices
from nextface.scene.raster import rasterize_scene

GRAZING_COSINE = 0.05  # surfaces turned away further than this are not believed at all ...
FRONTAL_COSINE = 0.3  # ... and those turned less than this are believed fully
RIM = 2  # pixels beyond the mask's border, up to which skin at the border is believed
UNLIKE = 0.15  # latent units: a rim that differs by so much from its surroundings begins to lose belief
# Eyes and teeth differ more than the statistical model knows, and are never taken from skin beside them.
UNLIKE_SKIN = ("eyes", "mouth")
EMPHASIS = 4.0  # how much more they count: they are small and dark, and people look at them first
FADE = 1 / 32  # of the map's side, over which the seen goes on into the unseen
SPREAD_SIZE = 64  # cells a side, over which surroundings are averaged; a power of two
DEPTH_TOLERANCE_MM = 3.0  # a point this far behind the nearest surface is hidden


@dataclass(frozen=True)
class Confidence:
    """Shares of each element's value, which sum to 1."""

    seen: Tensor  # [1, ..., 1] from the photo
    mirrored: Tensor  # [1, ..., 1] from the other side of the face
    statistical: Tensor  # [1, ..., 1] from the model, with the correction of seen surroundings

    def stacked(self) -> Tensor:
        """[1, ..., 3] in the order seen, mirrored, statistical."""
        return torch.cat([self.seen, self.mirrored, self.statistical], -1)


def grown(mask: Tensor) -> Tensor:
    """A mask [h, w] bool with `RIM` pixels around it."""
    return max_pool2d(mask[None, None].float(), 2 * RIM + 1, 1, RIM)[0, 0] > 0


@torch.no_grad()
def vertex_visibility(scene: Scene, mask: Tensor) -> Tensor:
    """How well one photo (N = 1) shows each vertex: [V, 1] in [0, 1].

    Zero behind other surfaces or turned away, rising to 1 towards frontal; 1 inside the mask [h, w], and
    falling to 0 over four pixels across its border.
    """
    camera, mesh = scene.camera, scene.mesh
    points = camera.transform(mesh.vertices)[0]
    normals = camera.rotate(mesh.normals)[0]
    facing = -(normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1)
    angle = ((facing - GRAZING_COSINE) / (FRONTAL_COSINE - GRAZING_COSINE)).clamp(0, 1)
    depth = interpolate_vertices(rasterize_scene(scene), mesh.triangles, points[:, 2:])
    depth = torch.where(depth > 0, depth, torch.full_like(depth, torch.inf))[..., 0]
    pixels = camera.project(mesh.vertices)[0]
    size = torch.tensor([camera.width, camera.height], device=pixels.device)
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    cell = pixels.long().clamp(min=0).minimum(size - 1)
    # The nearest surface within a pixel's neighbourhood may lie on a slope: look at the farthest of nine.
    nearest = max_pool2d(depth[None, None], 3, 1, 1)[0, 0][cell[:, 1], cell[:, 0]]
    unhidden = points[:, 2] <= nearest + DEPTH_TOLERANCE_MM
    soft = avg_pool2d(mask.float()[None, None], 9, 1, 4, count_include_pad=False)
    grid = (pixels / size * 2 - 1)[None, None]
    in_mask = grid_sample(soft, grid, align_corners=False)[0, 0, 0]
    return (angle * unhidden * inside * (2 * in_mask - 0.5).clamp(0, 1))[:, None]


@torch.no_grad()
def for_maps(state: Reconstruction, shots: Sequence[Shot]) -> list[Shot]:
    """The photos with masks of what maps are refined from: all of the head that they show.

    The head's own rim, where its outline may be wrong by a pixel or two, is left out. A pixel of skin counts as
    much as if only the skin that stage 2 is fitted to were seen: more of the head is no reason to hold its maps
    more tightly.
    """
    found = []
    special = in_regions(state.model, UNLIKE_SKIN)[state.model.triangles].all(-1)
    for photo, shot in enumerate(shots):
        if shot.visible is None:
            found.append(shot)
            continue
        triangle = rasterize_scene(state.scene(photo)).triangle
        inside = max_pool2d((triangle < 0).float()[None, None], 2 * RIM + 1, 1, RIM)[0, 0] == 0
        skin = shot.observation.mask
        seen = (torch.from_numpy(shot.visible).to(skin.device) & inside) | skin
        weight = torch.where((triangle >= 0) & special[triangle.clamp(min=0)], EMPHASIS, 1.0)
        weight = weight * (seen.sum() / skin.sum().clamp(min=1))
        found.append(replace(shot, observation=replace(shot.observation, mask=seen, weight=weight)))
    return found


@torch.no_grad()
def relative_visibility(scenes: Sequence[Scene], masks: Sequence[Tensor]) -> list[Tensor]:
    """For each photo, how well its pixels [h, w] show the surface beside the photo that shows it best.

    1 where no photo shows a point better, hence everywhere for a single photo; towards 0 where a photo sees at
    a grazing angle what another sees from the front. So views that are turned far away add what only they see
    and do not blur what others see.

    Parameters
    ----------
    scenes: one photo each (N = 1), of one mesh topology.
    masks: [h, w] bool of each photo.
    """
    if len(scenes) == 1:
        return [torch.ones_like(masks[0], dtype=torch.float32)]
    seen = torch.stack([vertex_visibility(scene, mask) for scene, mask in zip(scenes, masks, strict=True)])
    best = seen.amax(0)
    relative = torch.where(best > 0, seen / best.clamp(min=1e-6), torch.ones_like(seen))
    return [
        interpolate_vertices(rasterize_scene(scene), scene.mesh.triangles, values)[..., 0]
        for scene, values in zip(scenes, relative, strict=True)
    ]


def visibility_with_rim(soft: Tensor, hard: Tensor, correction: Tensor, around: Tensor) -> Tensor:
    """How well elements [1, ..., 1] are seen, the mask's rim included where it agrees with its surroundings.

    A rim that looks unlike the skin around it shows strands, frames or their shadows that the mask let through.

    Parameters
    ----------
    soft, hard: visibility that falls inside and outside the mask's border.
    correction, around: of the diffuse albedo and of its surroundings [1, ..., 3], in latent units.
    """
    difference = (correction - around).mean(-1, keepdim=True).abs()
    return torch.lerp(hard, soft, (difference / UNLIKE - 1).clamp(0, 1))


def faded(seen: Tensor, fades: Tensor) -> Tensor:
    """How well texels [1, H, W, 1] are seen, falling to 0 towards the border of what is seen.

    Parameters
    ----------
    fades: [1, H, W, 1] in [0, 1], 0 where the unseen is no border: inside of eyes, mouth and nostrils.
    """
    width = 2 * round(FADE * seen.shape[1] / 2) + 1
    unseen = ((1 - seen) * fades).permute(0, 3, 1, 2)
    for _ in range(2):
        unseen = avg_pool2d(unseen, width, 1, width // 2, count_include_pad=False)
    return seen * (1 - 2 * unseen.permute(0, 2, 3, 1)).clamp(0, 1)


def shares(seen: Tensor, mirrored: Tensor | None, fillable: Tensor) -> Confidence:
    """Confidence from visibility [1, ..., 1] of an element and of its mirror image.

    `fillable` [1, ..., 1] is 0 where what is unseen is the model's own (eyes, teeth).
    """
    from_mirror = torch.zeros_like(seen) if mirrored is None else (1 - seen) * mirrored * fillable
    return Confidence(seen, from_mirror, 1 - seen - from_mirror)


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """What values [1, H, W, C] with weights [1, H, W, 1] are like around every texel: smooth, without gaps.

    Weighted means over cells of 1 / SPREAD_SIZE of the map, extended by pull-push: ever coarser means fill
    what the finer ones leave open (Gortler et al., "The Lumigraph", SIGGRAPH 1996).
    """
    size = values.shape[1]
    parts = torch.cat([values * weight, weight], -1).permute(0, 3, 1, 2)
    pyramid = [interpolate(parts, size=SPREAD_SIZE, mode="bilinear", antialias=True, align_corners=False)]
    while pyramid[-1].shape[-1] > 1:
        pyramid.append(avg_pool2d(pyramid[-1], 2))
    filled = pyramid[-1][:, :-1] / pyramid[-1][:, -1:].clamp(min=1e-8)
    for level in reversed(pyramid[:-1]):
        coarse = interpolate(filled, size=level.shape[-1], mode="bilinear", align_corners=False)
        filled = level[:, :-1] + (1 - level[:, -1:]) * coarse
    return interpolate(filled, size=size, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
