"""The fitted light as files: the map that was fitted, neither clamped nor smoothed."""

from __future__ import annotations

from pathlib import Path

from nextface.export.files import write_exr, write_png
from nextface.person.reconstruction import Reconstruction
from nextface.scene.colour import linear_to_srgb


def write_environment(reconstruction: Reconstruction, photo: int, folder: Path, exr: bool) -> list[str]:
    """Write one photo's (N = 1) envMap_i.exr (linear radiance) and envMap_i.png (scaled to its maximum)."""
    radiance = reconstruction.environment().radiance[0].detach().cpu().numpy()
    names = [f"envMap_{photo}.png"]
    write_png(folder / names[0], linear_to_srgb(radiance / max(radiance.max(), 1e-9)))
    if exr:
        names.append(f"envMap_{photo}.exr")
        write_exr(folder / names[1], radiance)
    return names
