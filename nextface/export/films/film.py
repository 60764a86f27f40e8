"""Pictures one after another as a film or as stills: MP4, WebM and GIF, or a PNG file for each."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from nextface.errors import ConfigError, MissingPartError, OutputError
from nextface.export.files import write_png
from nextface.system.atomic import replacing
from nextface.system.python import pip_install

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

STILLS = ".png"
CODECS = {  # by suffix: names of encoders, of which the first that is here is used, and how good they are to be
    ".mp4": (("libx264", "libopenh264", "mpeg4"), {"crf": "18", "preset": "medium", "movflags": "+faststart"}),
    ".webm": (("libvpx-vp9", "libvpx"), {"crf": "24", "b:v": "0", "row-mt": "1"}),
}
FILMS = (*CODECS, ".gif")
GIF_DELAY = 10  # ms: GIFs count hundredths of a second


def check_kind(path: Path, kinds: Iterable[str] = (*FILMS, STILLS)) -> None:
    """Refuse a file that cannot be written, before anything is drawn for it.

    Raises
    ------
    ConfigError: for another suffix.
    MissingPartError: for a film without the package that writes it.
    """
    if path.suffix.lower() not in kinds:
        raise ConfigError(f"--output {path}: choose a name that ends in {', '.join(kinds)}.")
    if path.suffix.lower() in CODECS:
        _av()


def write_frames(path: Path, frames: Iterable[np.ndarray], rate: int) -> list[Path]:
    """Write pictures [h, w, 3] (8-bit sRGB) in one step; returns the files.

    Parameters
    ----------
    path: of the film; for stills, NAME.png stands for NAME_0000.png, NAME_0001.png and so on.
    rate: pictures a second.

    Raises
    ------
    OutputError: if it cannot be written.
    """
    kind = path.suffix.lower()
    if kind == STILLS:
        return _stills(path, frames)
    with replacing(path) as temporary:
        if kind == ".gif":
            _gif(temporary, frames, rate)
        else:
            _film(temporary, path, frames, rate)
    return [path]


def _stills(path: Path, frames: Iterable[np.ndarray]) -> list[Path]:
    """Write a file for each picture; those of a film that is not finished are removed again."""
    written: list[Path] = []
    try:
        for number, frame in enumerate(frames):
            still = path.with_name(f"{path.stem}_{number:04d}{STILLS}")
            write_png(still, frame / 255)
            written.append(still)
    except BaseException:
        for still in written:
            still.unlink(missing_ok=True)
        raise
    return written


def _gif(temporary: Path, frames: Iterable[np.ndarray], rate: int) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    delay = max(GIF_DELAY * round(1000 / (rate * GIF_DELAY)), 2 * GIF_DELAY)  # shorter ones are not kept to
    images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=delay, loop=0)


def _film(temporary: Path, path: Path, frames: Iterable[np.ndarray], rate: int) -> None:
    av = _av()
    names, options = CODECS[path.suffix.lower()]
    codec = next((name for name in names if name in av.codecs_available), None)
    if codec is None:
        raise MissingPartError(f"This build of PyAV has no encoder for {path.suffix}. Choose another suffix.")
    try:
        with av.open(
            str(temporary), "w", format=path.suffix[1:].lower(), options=_of_container(options)
        ) as film:
            stream: VideoStream | None = None
            for frame in frames:
                even = _even(frame)
                if stream is None:
                    stream = _stream(film, codec, even, rate, options)
                for packet in stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")):
                    film.mux(packet)
            if stream is not None:
                for packet in stream.encode():
                    film.mux(packet)
    except av.error.FFmpegError as error:
        raise OutputError(f"{path} cannot be written ({error}). Is the disk full?") from error


def _of_container(options: dict[str, str]) -> dict[str, str]:
    """Of the options, those that the file's format understands."""
    return {name: value for name, value in options.items() if name == "movflags"}


def _stream(
    film: OutputContainer, codec: str, frame: np.ndarray, rate: int, options: dict[str, str]
) -> VideoStream:
    stream = cast("VideoStream", film.add_stream(codec, rate=Fraction(rate)))
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"  # which every player shows
    stream.options = {name: value for name, value in options.items() if name != "movflags"}
    return stream


def _even(frame: np.ndarray) -> np.ndarray:
    """A picture with even sides, as films have them; a missing row or column repeats the last one."""
    rows, columns = frame.shape[0] % 2, frame.shape[1] % 2
    return cv2.copyMakeBorder(frame, 0, rows, 0, columns, cv2.BORDER_REPLICATE) if rows or columns else frame


def _av():  # type: ignore[no-untyped-def]
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingPartError(
            f"Films are written with the package av, which cannot be imported ({error}). Install it with "
            f"`{pip_install('nextface[video]')}`, or choose a name that ends in .gif or .png."
        ) from error
    return av
