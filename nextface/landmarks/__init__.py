"""Facial landmarks: finding faces in a photo, and choosing one of them.

All points are photo pixels with (0, 0) at the upper-left corner of the upper-left pixel.
"""

from nextface.landmarks.faces import Detection, detect, detector_status
from nextface.landmarks.files import read_landmarks
from nextface.landmarks.points import Landmarks, face_box, face_width
from nextface.landmarks.topology import IBUG68, MEDIAPIPE, TOPOLOGIES, Topology

__all__ = [
    "IBUG68",
    "MEDIAPIPE",
    "TOPOLOGIES",
    "Detection",
    "Landmarks",
    "Topology",
    "detect",
    "detector_status",
    "face_box",
    "face_width",
    "read_landmarks",
]
