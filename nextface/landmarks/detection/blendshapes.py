"""What MediaPipe's blendshape network takes and gives: 146 of the 478 points, and 52 scores."""

from __future__ import annotations

from nextface.landmarks.topology import MEDIAPIPE

_NOSE_LINE = (1, 4, 5, 6, 8, 168, 195, 197)  # from the tip up between the brows

# The network's input: outline, eyes, brows, lips, irises and the nose's line, in order of their index.
INPUT_POINTS: tuple[int, ...] = tuple(
    sorted(
        {
            *(MEDIAPIPE.contour + MEDIAPIPE.lips_outer + MEDIAPIPE.lips_inner + _NOSE_LINE),
            *(MEDIAPIPE.right_eye + MEDIAPIPE.right_brow + MEDIAPIPE.right_iris),
            *(MEDIAPIPE.left_eye + MEDIAPIPE.left_brow + MEDIAPIPE.left_iris),
        }
    )
)

# The network's output in its order, by ARKit's names; the first score, "neutral", is no expression and is
# left out of `Landmarks.blendshapes`. ARKit's tongueOut has no score.
NAMES: tuple[str, ...] = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *("eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft"),
    *("eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight"),
    *("eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft"),
    *("mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft"),
    *("mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)


def mirrored_name(name: str) -> str:
    """The expression that a mirror shows in place of one, by ARKit's names."""
    swapped = {"Left": "Right", "Right": "Left"}
    side = next((end for end in swapped if name.endswith(end)), None)
    return name if side is None else name.removesuffix(side) + swapped[side]
