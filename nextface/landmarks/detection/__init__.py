"""Finding faces and their points in a photo, and choosing one of them."""

from nextface.landmarks.detection.faces import Detection, detect, detector_status

__all__ = ["Detection", "detect", "detector_status"]
