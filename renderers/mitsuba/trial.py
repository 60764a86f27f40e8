"""The program that `renderers.mitsuba.probe` runs: does the renderer compile and compute? It may die trying."""

from __future__ import annotations

import ctypes
import os
import sys


def main(variant: str, library: str, *preloads: str) -> None:
    """Print VERSION=... and return, or leave with the reason (or be killed) where the variant does not work."""
    for path in preloads:
        ctypes.CDLL(path)
    version = ""
    if library:
        parts = [ctypes.c_uint() for _ in range(3)]
        try:
            ctypes.CDLL(library).LLVMGetVersion(*map(ctypes.byref, parts))
        except AttributeError:
            sys.exit("it is older than LLVM 16; Dr.Jit needs 17 or newer")
        version = ".".join(str(part.value) for part in parts)
        if parts[0].value < 17:
            sys.exit(f"it is LLVM {version}; Dr.Jit needs 17 or newer")
        os.environ["DRJIT_LIBLLVM_PATH"] = library

    import mitsuba as mi

    mi.set_variant(variant)
    draw_everything()
    print(f"VERSION={version}")


def draw_everything() -> None:
    """Draw a triangle in both layouts, directly and with a second bounce, and differentiate by every leaf.

    Whether a bad LLVM aborts depends on the kernel, so these are the renderer's own at its usual sizes.
    """
    import numpy as np
    import torch

    from renderers.mitsuba.scene import LEAVES, MitsubaScene, SceneLayout

    triangles = np.array([[0, 1, 2]], np.uint32)
    for map_size in (None, (256, 256)):
        for max_bounces in (1, 2):
            uvs = None if map_size is None else np.array([[0, 0], [0.5, 1], [1, 0]], np.float32)
            scene = MitsubaScene(SceneLayout(3, 1, map_size, 64, max_bounces), triangles, uvs)
            shape = map_size or (3,)
            values = {
                "positions": torch.tensor([[-300.0, -300, 500], [0, 600, 500], [300, -300, 500]]),
                "normals": torch.tensor([[0.0, 0, -1]]).repeat(3, 1),
                "diffuse": torch.full((*shape, 3), 0.5),
                "specular": torch.full((*shape, 1), 0.04),
                "roughness": torch.full((*shape, 1), 0.5),
                "environment": torch.ones(64, 128, 3),
                "rays": torch.tensor([[0.01, 0, -0.08], [0, 0.01, -0.08]]),
            }
            scene.load(values, set(LEAVES))
            image = scene.draw(16, 16, 8, 1, torch.device("cpu"))
            # radiance is linear in the light, so that the derivative along the light itself is the image's sum
            adjoint = torch.ones(16, 16, 3)
            by_light = scene.gradients(adjoint, 16, 16, 8, 1, set(LEAVES))["environment"].sum()
            albedo = image[..., :3].sum() / (3 * image[..., 3].sum())
            if not 0.5 < albedo < 0.7 or abs(by_light / image[..., :3].sum() - 1) > 1e-2:
                sys.exit("it computes wrong images or gradients")
