"""Films written frame by frame, with the sound of the film that they show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from nextface.system.atomic import replacing

TICKS = 90_000  # a second: fine enough for every frame rate that is in use
QUALITY = "20"  # x264's constant rate factor
CARRIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus")  # sound that MP4 holds as it is; other is encoded anew


class Film:
    """An MP4 that grows frame by frame; `written` makes one."""

    def __init__(self, container: Any, size: tuple[int, int], sound: Iterator[tuple[float, Any]]) -> None:
        """`size`: width and height in pixels. `sound`: packets with the seconds at which they are heard."""
        import av

        self._container = container
        self._sound = sound
        self._waiting = next(sound, None)
        self._stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4")
        self._stream.width, self._stream.height = (length + length % 2 for length in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._stream.options = {"crf": QUALITY, "preset": "veryfast"}
        self._last = -1

    def add(self, rgb: np.ndarray, time: float) -> None:
        """One more frame [H, W, 3] uint8 sRGB, shown from `time` on (seconds, rising)."""
        import av

        self._last = max(round(time * TICKS), self._last + 1)
        height, width = rgb.shape[:2]
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))
        self._add_sound(time)

    def finish(self) -> None:
        """Write what is still on its way."""
        self._container.mux(self._stream.encode(None))
        self._add_sound(float("inf"))

    def _add_sound(self, until: float) -> None:
        while self._waiting is not None and self._waiting[0] <= until:
            self._container.mux(self._waiting[1])
            self._waiting = next(self._sound, None)


@contextmanager
def written(path: Path, size: tuple[int, int], source: Path | None = None) -> Iterator[Film]:
    """A film that is put at `path` (.mp4) when the block ends well.

    Parameters
    ----------
    size: width and height in pixels; odd ones grow by one.
    source: a film whose sound it has, too, where that has some.

    Raises
    ------
    OutputError: if it cannot be written.
    """
    import av

    with replacing(path) as temporary, ExitStack() as until_done:
        container = until_done.enter_context(av.open(str(temporary), "w", format="mp4"))
        sound: Iterator[tuple[float, Any]] = iter(())
        if source is not None:
            sound = _sound(until_done.enter_context(av.open(str(source), metadata_errors="replace")), container)
        film = Film(container, size, sound)
        yield film
        film.finish()


def _sound(origin: Any, container: Any) -> Iterator[tuple[float, Any]]:
    """The first sound of a film as packets of another one, with the seconds at which they are heard.

    Seconds count from the film's first picture, as those of its frames do: sound may begin earlier or later.
    """
    import av

    if not origin.streams.audio:
        return iter(())
    heard = origin.streams.audio[0]
    shown = origin.streams.video[0]
    start = float((shown.start_time or 0) * shown.time_base)
    if heard.codec_context.name in CARRIED:
        carried = container.add_stream_from_template(heard)
        return _on_time(_copied(origin, heard, carried), -start)
    with suppress(av.error.FFmpegError, ValueError):  # sound that nothing here can encode is left out
        made = container.add_stream("aac", rate=heard.codec_context.sample_rate)
        begins = float((heard.start_time or 0) * heard.time_base)
        return _on_time(_encoded(origin, heard, made), begins - start)
    return iter(())


def _on_time(packets: Iterator[Any], later: float) -> Iterator[tuple[float, Any]]:
    """Packets some seconds later, without those that end before the first picture; with their seconds."""
    for packet in packets:
        shift = round(later / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        if packet.pts + (packet.duration or 0) > 0:
            yield float(packet.dts * packet.time_base), packet


def _copied(origin: Any, heard: Any, carried: Any) -> Iterator[Any]:
    for packet in origin.demux(heard):
        if packet.dts is not None and packet.pts is not None:
            packet.stream = carried
            yield packet


def _encoded(origin: Any, heard: Any, made: Any) -> Iterator[Any]:
    """Encoded anew, from 0 on."""
    samples = 0
    for frame in origin.decode(heard):
        frame.pts, frame.time_base = samples, Fraction(1, frame.sample_rate)
        samples += frame.samples
        yield from made.encode(frame)
    yield from made.encode(None)
