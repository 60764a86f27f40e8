"""Films are read upright, in sRGB and at their own times, and written with their sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nextface.errors import VideoError
from nextface.videos.film import written
from nextface.videos.records import Records
from nextface.videos.tone import HLG, KNEE, PQ, tone_mapped
from nextface.videos.video import Video

TIMES = (0, 100, 150, 400, 500)  # ms: not evenly spaced


def made_film(path: Path, turned: int = 0, sound: bool = True) -> Path:
    """48 rows of 64 columns, the left half of which blinks white; shown after a turn, at TIMES, with a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "1"}
        if turned:
            stream.set_display_rotation(turned)
        heard = container.add_stream("aac", rate=44100) if sound else None
        for number, time in enumerate(TIMES):
            picture = np.full((48, 64, 3), 40, np.uint8)
            picture[:, :32] = 240 if number % 2 else 90
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for block in range(20 if heard else 0):
            assert heard is not None
            tone = np.sin(np.arange(1024 * block, 1024 * (block + 1)) / 20)[None].astype(np.float32)
            played = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            played.sample_rate, played.pts, played.time_base = 44100, 1024 * block, Fraction(1, 44100)
            container.mux(heard.encode(played))
        if heard is not None:
            container.mux(heard.encode(None))
    return path


def test_frames_are_upright_and_keep_their_times(tmp_path: Path) -> None:
    video = Video.open(made_film(tmp_path / "turned.mp4", turned=90))
    assert (video.width, video.height, video.expected) == (48, 64, len(TIMES))
    assert "turned by 90 degrees" in video.notes[0]
    frames = list(video.frames())
    assert [frame.time for frame in frames] == pytest.approx([time / 1000 for time in TIMES], abs=1e-3)
    white = frames[1].rgb.mean((1, 2))  # anticlockwise: what was on the left is below
    assert white[:28].max() < 60 and white[36:].min() > 220


def test_a_film_goes_on_at_a_frame(tmp_path: Path) -> None:
    video = Video.open(made_film(tmp_path / "film.mp4"))
    frames = list(video.frames())
    later = list(video.frames(3, frames[3].stamp))
    assert [frame.number for frame in later] == [3, 4]
    for one, other in zip(frames[3:], later, strict=True):
        assert one.time == pytest.approx(other.time)
        assert np.array_equal(one.rgb, other.rgb)


def test_a_written_film_has_the_times_the_pictures_and_the_sound(tmp_path: Path) -> None:
    source = made_film(tmp_path / "film.mp4")
    pictures = list(Video.open(source).frames())
    with written(tmp_path / "new.mp4", (63, 47), source) as film:  # of odd size, which H.264 does not take
        for frame in pictures:
            film.add(frame.rgb[:47, :63], frame.time)
    again = list(Video.open(tmp_path / "new.mp4").frames())
    assert [frame.time for frame in again] == pytest.approx([frame.time for frame in pictures], abs=1e-3)
    assert np.abs(again[2].rgb[:47, :63].astype(int) - pictures[2].rgb[:47, :63]).mean() < 6
    with av.open(str(tmp_path / "new.mp4")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 20 * 1024


@pytest.mark.parametrize("name, codec", [("film.mp4", "aac"), ("film.mkv", "pcm_s16le")])
@pytest.mark.parametrize("pictures_from, heard_from", [(0.4, 0.0), (0.0, 0.3)])
def test_sound_that_does_not_start_with_the_pictures_keeps_its_time(
    tmp_path: Path, name: str, codec: str, pictures_from: float, heard_from: float
) -> None:
    """Copied and encoded anew: a tone begins at 0.7 s by the film's clock."""
    rate, begins = 44100, 0.7
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        heard = container.add_stream(codec, rate=rate)
        heard.layout = "mono"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((pictures_from + number / 10) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        clock = np.arange(rate) / rate + heard_from
        tone = np.where(clock >= begins, np.sin(2 * np.pi * 500 * clock), 0)
        for block in range(0, rate - 1023, 1024):
            piece = (tone[None, block : block + 1024] * 20000).astype(np.int16)
            played = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            played.sample_rate, played.pts, played.time_base = rate, block, Fraction(1, rate)
            for packet in heard.encode(played):
                packet.pts = packet.dts = packet.pts + round(heard_from * rate)
                container.mux(packet)
    source = tmp_path / name
    with written(tmp_path / "new.mp4", (64, 48), source) as film:
        for frame in Video.open(source).frames():
            film.add(frame.rgb, frame.time)
    with av.open(str(tmp_path / "new.mp4")) as container:
        first = next(iter(container.decode(video=0)))
        assert first.time == pytest.approx(0, abs=0.03)
    with av.open(str(tmp_path / "new.mp4")) as container:
        loud = next(
            float(frame.time) + np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.1)[0] / rate
            for frame in container.decode(audio=0)
            if np.abs(frame.to_ndarray()).max() > 0.1
        )
    assert loud - float(first.time) == pytest.approx(begins - pictures_from, abs=0.03)


def test_a_film_that_fails_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written(tmp_path / "new.mp4", (64, 48)) as film:
        film.add(np.zeros((48, 64, 3), np.uint8), 0.0)
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("transfer, code", [(PQ, 0.5806888), (HLG, 0.75)])
def test_reference_white_is_the_knees_white(transfer: int, code: float) -> None:
    """BT.2408: diffuse white is 58 % of the PQ and 75 % of the HLG signal, 203 cd/m2."""
    shown = tone_mapped(np.full((1, 1, 3), round(code * 65535), np.uint16), transfer)[0, 0] / 255
    linear = KNEE + (1 - KNEE) * (1 - np.exp(-1))
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    assert shown == pytest.approx([expected] * 3, abs=0.012)


def test_skin_stays_linear_in_the_light() -> None:
    """ST 2084's curve, inverted: a tenth and a half of white are a tenth and a half."""
    for share in (0.1, 0.5):
        power = (share * 203 / 1e4) ** (2610 / 16384)
        code = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
        shown = tone_mapped(np.full((1, 1, 3), round(code * 65535), np.uint16), PQ)[0, 0] / 255
        assert shown == pytest.approx([1.055 * share ** (1 / 2.4) - 0.055] * 3, abs=0.006)


def test_ten_bits_of_a_high_dynamic_range_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.colorspace = PQ, 9
        stream.codec_context.color_primaries = 9
        grey = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 100, np.uint8), format="rgb24")
        for number in range(2):
            frame = grey.reformat(format="yuv420p10le")
            frame.pts, frame.color_trc, frame.colorspace = number, PQ, 9
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = Video.open(path)
    assert "high dynamic range" in video.notes[0]
    shown = next(video.frames()).rgb
    expected = tone_mapped(np.full((1, 1, 3), round(100 / 255 * 65535), np.uint16), PQ)[0, 0]
    assert np.abs(shown.astype(int) - expected).max() <= 2


def test_what_is_no_film_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film\n" * 100)
    silent = tmp_path / "song.m4a"
    with av.open(str(silent), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux([*stream.encode(sound), *stream.encode(None)])
    for name, words in {
        "missing.mp4": "There is no file",
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as a film",
        "song.m4a": "no moving pictures",
    }.items():
        with pytest.raises(VideoError, match=words):
            Video.open(tmp_path / name)


def test_a_film_that_breaks_off_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "whole.mkv"
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, picture in enumerate(noise):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 3 < len(list(Video.open(tmp_path / "cut.mkv").frames())) < len(noise)


KIND = np.dtype([("number", "<i4"), ("values", "<f4", (3,))])


def test_records_outlive_a_kill_in_the_middle_of_one(tmp_path: Path) -> None:
    path = tmp_path / "some.records"
    with Records(path, KIND, "key") as records:
        for number in range(5):
            records.append(np.array((number, [number] * 3), KIND))
    path.write_bytes(path.read_bytes()[:-7])
    with Records(path, KIND, "key") as records:
        assert len(records) == 4
        records.append(np.array([(9, [9] * 3), (10, [10] * 3)], KIND))
        assert records.column("number", at_once=2).tolist() == [0, 1, 2, 3, 9, 10]
        assert records.read(3, 5)["values"].tolist() == [[3] * 3, [9] * 3]
    with Records(path, KIND, "another key") as records:
        assert len(records) == 0
