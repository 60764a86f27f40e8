"""Landmarks by MediaPipe's FaceLandmarker (478 points and 52 expression scores).

Yury Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np

from nextface.errors import MissingPartError
from nextface.landmarks.detection.weights import task_bytes
from nextface.landmarks.points import Landmarks
from nextface.system.python import pip_install
from nextface.system.streams import quiet_stderr

MAX_FACES = 16


class MediaPipeDetector:
    """Finds faces and their landmarks; a context manager, because the C++ graph must be closed."""

    def __init__(self) -> None:
        """Start the detector.

        Raises
        ------
        MissingPartError: mediapipe, or a system library that it loads, is not here.
        """
        weights = task_bytes()
        try:
            with quiet_stderr():
                import mediapipe
                from mediapipe.tasks.python.core.base_options import BaseOptions
                from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

                options = FaceLandmarkerOptions(
                    base_options=BaseOptions(model_asset_buffer=weights),
                    num_faces=MAX_FACES,
                    output_face_blendshapes=True,
                )
                self._landmarker = FaceLandmarker.create_from_options(options)
        except Exception as error:  # a missing libEGL or libGLESv2 shows only now, as one of several types
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MissingPartError(
                f"MediaPipe cannot start ({reason}). Run `{pip_install('--no-deps', 'mediapipe', 'certifi')}`; "
                "on Debian and Ubuntu it also needs `apt-get install libegl1 libgles2`."
            ) from error
        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB

    def __enter__(self) -> MediaPipeDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the detector; it cannot be used afterwards."""
        with quiet_stderr():
            self._landmarker.close()

    def detect(self, rgb: np.ndarray) -> list[Landmarks]:
        """The faces in an sRGB image [H, W, 3] uint8, in the detector's order."""
        height, width = rgb.shape[:2]
        with quiet_stderr():
            result = self._landmarker.detect(
                self._image(image_format=self._format, data=np.ascontiguousarray(rgb))
            )
        faces = []
        for index, face in enumerate(result.face_landmarks):
            values = np.array([(point.x * width, point.y * height, point.z * width) for point in face])
            scores = {
                score.category_name: float(score.score)
                for score in result.face_blendshapes[index]
                if score.category_name != "_neutral"
            }
            faces.append(Landmarks("mediapipe", values[:, :2], values[:, 2], scores))
        return faces
