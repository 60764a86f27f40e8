"""A film's frames, one after another: upright, 8-bit sRGB, each with the time at which it is shown.

Phones store frames as the sensor lies and say beside them how to turn them (the display matrix). Frames need
not be evenly spaced in time. Films of a high dynamic range are tone-mapped (`nextface.videos.tone`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextface.errors import MissingPartError, VideoError
from nextface.system.python import pip_install
from nextface.videos.tone import TRANSFERS, tone_mapped

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

MOST_PIXELS = 8192 * 4352  # of a frame: those of 8K films
USUAL_RATE = 30.0  # frames a second, of films that do not tell
HIGH_DEFINITION = 720  # lines, from which on films that do not tell are in BT.709's colours, not BT.601's
UNSPECIFIED = 2  # of a colour space, in ITU-T H.273


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    number: int  # from 0, in the order in which frames are shown
    stamp: int  # the film's own time stamp, by which the frame is found again
    time: float  # seconds from the first frame
    rgb: np.ndarray  # [H, W, 3] uint8 sRGB, upright


@dataclass(frozen=True)
class Video:
    """A film that can be read, and what its file says of it."""

    path: Path
    width: int  # pixels, upright
    height: int  # pixels, upright
    rate: float  # frames a second, on average
    expected: int  # number of frames, 0 where the file does not tell; it may be wrong
    notes: tuple[str, ...]  # what a user may want to know

    @classmethod
    def open(cls, path: Path) -> Video:
        """Look at a file, and at its first frame.

        Raises
        ------
        VideoError: no such file, no film, damaged, without a frame, or too large.
        MissingPartError: PyAV is not here.
        """
        with _opened(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or USUAL_RATE)
            expected = stream.frames or round(_seconds(container) * rate)
            first = next(_decoded(container, path), None)
            if first is None:
                raise VideoError(f"{path} holds no frame that can be read. Is the file whole?")
            upright = first.width, first.height
            turns, notes = _turns(first), []
            if turns % 2:
                upright = upright[::-1]
            if turns:
                notes.append(
                    f"{path.name} is stored turned by {90 * turns} degrees; frames are turned upright."
                )
            if first.color_trc in TRANSFERS:
                notes.append(
                    f"{path.name} has a high dynamic range ({TRANSFERS[first.color_trc]}): its frames are "
                    "tone-mapped to sRGB, and skin keeps its brightness up to the film's white."
                )
            return cls(path, *upright, rate, expected, tuple(notes))

    def frames(self, first: int = 0, stamp: int | None = None) -> Iterator[Frame]:
        """The frames from number `first` on; all others are never held together.

        Parameters
        ----------
        first: the number of the frame to start with.
        stamp: its time stamp, where it is known: then the film is not decoded up to it.

        Raises
        ------
        VideoError: where the file cannot be opened any more. A film that breaks off just ends.
        """
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            base = float(stream.time_base or 1 / USUAL_RATE)
            number = 0
            origin: int | None = None
            if first and stamp is not None:
                origin = next((_stamp(frame, 0) for frame in _decoded(container, self.path)), 0)
                container.seek(stamp, stream=stream)
                number = first
            for frame in _decoded(container, self.path):
                own = _stamp(frame, round(number / (self.rate * base)))
                if stamp is not None and number <= first and own < stamp:
                    continue  # between the point that can be jumped to, and the frame that is wanted
                origin = own if origin is None else origin
                if number >= first:
                    yield Frame(number, own, (own - origin) * base, upright_rgb(frame))
                number += 1


def upright_rgb(frame: VideoFrame) -> np.ndarray:
    """A decoded frame as sRGB [H, W, 3] uint8, turned as its display matrix says."""
    from av.video.reformatter import Colorspace

    known = int(frame.colorspace) != UNSPECIFIED
    usual = Colorspace.ITU709 if min(frame.width, frame.height) >= HIGH_DEFINITION else Colorspace.ITU601
    options: dict[str, Any] = {} if known else {"src_colorspace": usual}
    if frame.color_trc in TRANSFERS:
        rgb = tone_mapped(frame.reformat(format="rgb48le", **options).to_ndarray(), frame.color_trc)
    else:
        rgb = frame.reformat(format="rgb24", **options).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, _turns(frame)))


def _turns(frame: VideoFrame) -> int:
    """By how many right angles, anticlockwise, a frame must be turned to be upright."""
    return round(frame.rotation / 90) % 4


def _stamp(frame: VideoFrame, otherwise: int) -> int:
    """When a frame is shown, in the stream's time base."""
    return otherwise if frame.pts is None else int(frame.pts)


def _seconds(container: InputContainer) -> float:
    """How long a film is said to last; 0 where nothing tells."""
    return 0.0 if container.duration is None else container.duration / 1e6


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    try:
        import av
    except ImportError:
        raise MissingPartError(
            f"Films are read by PyAV, which is not here. Run `{pip_install('nextface[video]')}`."
        ) from None
    if not path.is_file():
        raise VideoError(f"There is no file {path}. Check the path and its spelling.")
    if not path.stat().st_size:
        raise VideoError(f"{path} is empty.")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a film ({_reason(error)}).") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path} holds no moving pictures.")
        stream = container.streams.video[0]
        size = (stream.width or 0) * (stream.height or 0)
        if size > MOST_PIXELS:
            raise VideoError(
                f"{path} has {stream.width} x {stream.height} pixels a frame; at most "
                f"{MOST_PIXELS / 1e6:.0f} million are read. Make it smaller first."
            )
        stream.thread_type = "AUTO"
        yield container


def _decoded(container: InputContainer, path: Path) -> Iterator[VideoFrame]:
    """The frames up to where the file breaks off.

    Raises
    ------
    VideoError: if not even the first one can be decoded.
    """
    import av

    seen = False
    try:
        for frame in container.decode(video=0):
            seen = True
            yield frame
    except (av.error.FFmpegError, ValueError) as error:
        if not seen:
            raise VideoError(f"{path} cannot be decoded ({_reason(error)}).") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
