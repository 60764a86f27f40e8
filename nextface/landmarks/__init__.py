"""Facial landmarks: a face's points in a photo, what they are called, and files that hold them.

All points are photo pixels with (0, 0) at the upper-left corner of the upper-left pixel. `detection` finds
them, `embedding` finds them on a face model.
"""

from nextface.landmarks.files import read_landmarks
from nextface.landmarks.points import Landmarks, face_box, face_width, share_outside
from nextface.landmarks.topology import IBUG68, MEDIAPIPE, TOPOLOGIES, Topology

__all__ = [
    "IBUG68",
    "MEDIAPIPE",
    "TOPOLOGIES",
    "Landmarks",
    "Topology",
    "face_box",
    "face_width",
    "read_landmarks",
    "share_outside",
]
