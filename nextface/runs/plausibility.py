"""Whether a finished reconstruction can be one of its photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextface.errors import ImplausibleFitError

LEAST_PSNR = 9.0  # dB over the pixels in the loss: one flat colour explains any face better, noise not


def check_picture(photos: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Refuse to call a reconstruction done that does not look like its photos.

    Parameters
    ----------
    photos: of each its file's name as "photo" and its figure as "psnr" (None where nothing was compared).

    Raises
    ------
    ImplausibleFitError: naming the photos, and the pictures that show what went wrong.
    """
    absurd = [
        (number, photo)
        for number, photo in enumerate(photos)
        if photo["psnr"] is not None and photo["psnr"] < LEAST_PSNR
    ]
    if absurd:
        told = ", ".join(f"{photo['photo']} ({photo['psnr']:.1f} dB)" for _, photo in absurd)
        raise ImplausibleFitError(
            f"The reconstruction does not look like the photo: {told}. {folder / f'render_{absurd[0][0]}.png'} "
            "shows both. Most often landmarks or mask are not on the face: look at landmarks_*.png and "
            "mask_*.png beside it."
        )
