"""Landmarks by the Face Alignment Network (68 points), through the face-alignment package.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D Face Alignment problem?", 2017.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np

from nextface.errors import MissingPartError
from nextface.landmarks.points import Landmarks
from nextface.system.python import pip_install


class FanDetector:
    """Finds faces and their 68 landmarks. The package fetches its weights the first time it runs."""

    def __init__(self) -> None:
        """Start the detector on the CPU.

        Raises
        ------
        MissingPartError: the package is not here, or its weights cannot be fetched.
        """
        try:
            from face_alignment import FaceAlignment, LandmarksType
        except ImportError as error:
            raise MissingPartError(
                f"landmarksDetectorType = fan needs the package face-alignment ({error}). "
                f"Run `{pip_install('--no-deps', 'face-alignment')} && "
                f"{pip_install('scikit-image', 'numba', 'tqdm')}`, "
                "or use landmarksDetectorType = mediapipe."
            ) from None
        try:
            self._network = FaceAlignment(LandmarksType.TWO_D, device="cpu", flip_input=False)
        except (OSError, RuntimeError) as error:  # urllib's and torch's download errors
            raise MissingPartError(
                f"The face-alignment package fetches its weights at first use, and that failed ({error}). Run "
                "once with a connection to the internet, or use landmarksDetectorType = mediapipe."
            ) from error

    def __enter__(self) -> FanDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: the networks are ordinary memory."""

    def detect(self, rgb: np.ndarray) -> list[Landmarks]:
        """The faces in an sRGB image [H, W, 3] uint8, in the detector's order."""
        faces = self._network.get_landmarks_from_image(rgb) or []
        # The network answers in whole pixels counted at their centres.
        return [Landmarks("fan", np.asarray(face, dtype=np.float64)[:, :2] + 0.5) for face in faces]
