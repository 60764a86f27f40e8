"""Reading photos of every supported kind, refusing the others, and cropping."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from nextface.errors import PhotoError
from nextface.photos.exif import CameraId
from nextface.photos.photo import Photo, crop_to_box, load_photo
from nextface.scene.colour import linear_to_srgb, srgb_to_linear

ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth RGB picture, 8 bit, that tells every direction apart."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 60 + 150 * x / width, 200 - 120 * y / height, 90 + 60 * (x + y) / (width + height)
    return np.stack([red, green, blue], -1).round().astype(np.uint8)


def icc_profile(matrix: np.ndarray, curve: bytes) -> bytes:
    """An RGB display profile of the matrix and tone curve kind (columns of `matrix`: D50 colorants)."""

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = b"test"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    tags = {b"desc": description, b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249]))}
    tags |= {name: xyz(matrix[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


GAMMA_2_2 = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563)
TABLE = b"curv\0\0\0\0" + struct.pack(">I", 1024)
TABLE += struct.pack(">1024H", *(round(65535 * (i / 1023) ** 1.8) for i in range(1024)))
# The sRGB curve as a parametric one of type 3: g, a, b, c, d.
PARAMETRIC = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(value * 65536) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def with_profile(path: Path, png: bytes, profile: bytes) -> None:
    """Write a PNG with a colour profile put in behind its header."""
    chunk = b"iCCP" + b"test\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(png[:33] + chunk + png[33:])


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("webp", {"lossless": True}), ("bmp", {})])
def test_lossless_formats(tmp_path: Path, suffix: str, options: dict) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(gradient()).save(path, **options)
    photo = load_photo(path)
    assert photo.srgb.dtype == np.float32 and photo.focal_35mm is None and photo.path == path
    assert np.array_equal(np.round(photo.srgb * 255), gradient())


def test_jpeg_heic_and_a_wrong_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"  # the content counts, not the name
    Image.fromarray(gradient()).save(path, format="JPEG", quality=98, subsampling=0)
    assert np.abs(load_photo(path).srgb * 255 - gradient()).max() < 4
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.fromarray(gradient(64, 96)).save(tmp_path / "photo.heic", quality=95)
    assert np.abs(load_photo(tmp_path / "photo.heic").srgb * 255 - gradient(64, 96)).mean() < 3


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        load_photo(path)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(gradient()).convert(mode)
    image.save(tmp_path / "photo.png")
    assert np.array_equal(
        np.round(load_photo(tmp_path / "photo.png").srgb * 255), np.asarray(image.convert("RGB"))
    )


def test_cmyk(tmp_path: Path) -> None:
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "photo.jpg", quality=98)
    assert np.abs(load_photo(tmp_path / "photo.jpg").srgb * 255 - gradient()).max() < 12


@pytest.mark.parametrize("sixteen", [False, True])
def test_transparency_shows_mid_grey(tmp_path: Path, sixteen: bool) -> None:
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 51, 255
    rgba = np.concatenate([gradient(), alpha], -1)
    if sixteen:
        cv2.imwrite(
            str(tmp_path / "photo.png"), cv2.cvtColor(rgba.astype(np.uint16) * 257, cv2.COLOR_RGBA2BGRA)
        )
    else:
        Image.fromarray(rgba).save(tmp_path / "photo.png")
    expected = gradient() / 255 * (alpha / 255) + 0.5 * (1 - alpha / 255)
    assert np.abs(load_photo(tmp_path / "photo.png").srgb - expected).max() < 1e-5


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    values = np.arange(30000, 30000 + 40 * 60 * 3, dtype=np.uint16).reshape(40, 60, 3)
    cv2.imwrite(str(tmp_path / "rgb.png"), values[..., ::-1])
    assert np.abs(load_photo(tmp_path / "rgb.png").srgb * 65535 - values).max() < 0.01
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values[..., 0]).save(tmp_path / name)
        assert np.abs(load_photo(tmp_path / name).srgb * 65535 - values[..., :1]).max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sixteen", [False, True])
def test_exif_orientation(tmp_path: Path, orientation: int, sixteen: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(gradient())
    image.save(tmp_path / "photo.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.png")))
    if sixteen:  # OpenCV writes no EXIF: carry over the chunk that Pillow wrote
        written = (tmp_path / "photo.png").read_bytes()
        start = written.index(b"eXIf") - 4
        chunk = written[start : start + 12 + struct.unpack(">I", written[start : start + 4])[0]]
        png = cv2.imencode(".png", gradient()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
        (tmp_path / "photo.png").write_bytes(png[:33] + chunk + png[33:])
    assert np.array_equal(np.round(load_photo(tmp_path / "photo.png").srgb * 255), expected)


@pytest.mark.parametrize(("written", "expected"), [(28, 28.0), (0, None)])
def test_focal_length(tmp_path: Path, written: int, expected: float | None) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = written
    Image.fromarray(gradient()).save(tmp_path / "photo.jpg", exif=exif)
    assert load_photo(tmp_path / "photo.jpg").focal_35mm == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (("2024:02:29 12:30:45", "", ""), datetime(2024, 2, 29, 12, 30, 45)),
        (("2024:02:29 12:30:45", "07", "+02:00"), datetime(2024, 2, 29, 10, 30, 45, 70_000, timezone.utc)),
        (("2024:02:29 12:30:45", "1234567", "east"), datetime(2024, 2, 29, 12, 30, 45, 123_456)),
        (("0000:00:00 00:00:00", "", ""), None),
        (("yesterday", "5", ""), None),
    ],
)
def test_the_time_a_photo_was_taken(
    tmp_path: Path, written: tuple[str, str, str], expected: datetime | None
) -> None:
    exif = Image.Exif()
    for tag, text in zip((0x9003, 0x9291, 0x9011), written, strict=True):
        exif.get_ifd(0x8769)[tag] = text
    Image.fromarray(gradient()).save(tmp_path / "photo.jpg", exif=exif)
    taken = load_photo(tmp_path / "photo.jpg").taken
    assert taken == expected
    assert taken is None or (taken.tzinfo is None) == (expected is not None and expected.tzinfo is None)


def test_the_camera_that_took_a_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    Image.fromarray(gradient()).save(tmp_path / "photo.jpg", exif=exif)
    assert load_photo(tmp_path / "photo.jpg").camera is None
    exif[0x010F], exif[0x0110] = "Maker\0", "Model 5 "
    exif.get_ifd(0x8769)[0xA431], exif.get_ifd(0x8769)[0x920A] = "0042", IFDRational(247, 10)
    Image.fromarray(gradient()).save(tmp_path / "photo.jpg", exif=exif)
    assert load_photo(tmp_path / "photo.jpg").camera == CameraId("Maker", "Model 5", "0042", 24.7)
    exif.get_ifd(0x8769)[0x920A] = IFDRational(1, 0)
    Image.fromarray(gradient()).save(tmp_path / "photo.jpg", exif=exif)
    assert load_photo(tmp_path / "photo.jpg").camera == CameraId("Maker", "Model 5", "0042", None)


@pytest.mark.parametrize("sixteen", [False, True])
@pytest.mark.parametrize(
    ("curve", "decode"),
    [(GAMMA_2_2, lambda x: x ** (563 / 256)), (TABLE, lambda x: x**1.8), (PARAMETRIC, srgb_to_linear)],
    ids=["gamma", "table", "parametric"],
)
def test_colour_profiles(tmp_path: Path, sixteen: bool, curve: bytes, decode) -> None:
    pixels = gradient()[..., ::-1].astype(np.uint16) * 257 if sixteen else gradient()[..., ::-1]
    with_profile(
        tmp_path / "photo.png", cv2.imencode(".png", pixels)[1].tobytes(), icc_profile(ADOBE_RGB, curve)
    )
    linear = decode(gradient() / 255) @ np.linalg.solve(SRGB, ADOBE_RGB).T
    expected = np.clip(linear_to_srgb(linear), 0, 1)
    error = np.abs(load_photo(tmp_path / "photo.png").srgb - expected)[(linear > 0.01).all(-1)].max()
    assert error < (0.0015 if sixteen else 2 / 255)
    assert np.abs(expected - gradient() / 255).max() > 0.05  # the profile does something


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    png = cv2.imencode(".png", gradient()[..., ::-1])[1].tobytes()
    with_profile(tmp_path / "photo.png", png, icc_profile(SRGB, PARAMETRIC))
    assert np.array_equal(np.round(load_photo(tmp_path / "photo.png").srgb * 255), gradient())


def test_damaged_profile_is_ignored_with_a_warning(tmp_path: Path) -> None:
    png = cv2.imencode(".png", gradient()[..., ::-1])[1].tobytes()
    with_profile(tmp_path / "photo.png", png, b"no profile at all")
    photo = load_photo(tmp_path / "photo.png")
    assert len(photo.warnings) == 1
    assert "photo.png" in photo.warnings[0] and "profile" in photo.warnings[0]
    assert np.array_equal(np.round(photo.srgb * 255), gradient())


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    chunks = b""
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", bytes(20))):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size", [(30000, 30000), (12000, 10000)])
def test_bombs_are_refused_by_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(*size))
    with pytest.raises(PhotoError, match=r"too large.*100 million"):
        load_photo(tmp_path / "bomb.png")


def test_unusable_files(tmp_path: Path) -> None:
    def refused(name: str, pattern: str) -> None:
        with pytest.raises(PhotoError, match=pattern) as caught:
            load_photo(tmp_path / name)
        assert name in str(caught.value)

    refused("missing.jpg", "no photo")
    (tmp_path / "folder.jpg").mkdir()
    refused("folder.jpg", "folder")
    (tmp_path / "empty.jpg").touch()
    refused("empty.jpg", "empty")
    (tmp_path / "text.jpg").write_text("not an image")
    refused("text.jpg", "not an image")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refused("script.eps", "not an image")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    for suffix in ("jpg", "png", "webp", "tif"):
        noise.save(tmp_path / f"whole.{suffix}")
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
        refused(f"cut.{suffix}", "damaged")
    deep = cv2.imencode(".png", np.full((200, 200, 3), 7, np.uint16) + np.asarray(noise))[1].tobytes()
    (tmp_path / "cut16.png").write_bytes(deep[: len(deep) // 2])
    refused("cut16.png", "damaged")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.touch(mode=0o000)
    with pytest.raises(PhotoError, match="permissions"):
        load_photo(path)


def photo_of(srgb: np.ndarray) -> Photo:
    return Photo(Path("photo.png"), srgb.astype(np.float32), None)


def test_crop_is_never_enlarged_and_stays_in_the_photo() -> None:
    picture = gradient(100, 80) / 255
    crop = crop_to_box(photo_of(picture), (-20.5, 10.2, 60.3, 120), 1000)
    assert crop.srgb.shape == (90, 61, 3)
    assert np.allclose(crop.srgb, picture[10:, :61])
    assert np.array_equal(crop.photo_to_image, [[1, 0, 0], [0, 1, -10]])
    with pytest.raises(PhotoError, match="outside"):
        crop_to_box(photo_of(picture), (90, 0, 120, 30), 100)


@pytest.mark.parametrize("max_resolution", [100, 97, 64, 33, 1])
def test_reduction_averages_linear_light(max_resolution: int) -> None:
    random = np.random.default_rng(1).random((100, 70, 3))
    crop = crop_to_box(photo_of(random), (0, 0, 70, 100), max_resolution)
    height, width = crop.srgb.shape[:2]
    assert height == max_resolution and width in (max(int(0.7 * max_resolution), 1), 1)
    scale = crop.photo_to_image[0, 0]
    covered = srgb_to_linear(random)[: round(height / scale), : round(width / scale)].mean()
    assert abs(srgb_to_linear(crop.srgb).mean() - covered) < 0.01
    flat = crop_to_box(photo_of(np.full((100, 70, 3), 0.3)), (0, 0, 70, 100), max_resolution)
    assert np.abs(flat.srgb - 0.3).max() < 1e-5


def test_affine_map_is_exact() -> None:
    """A blob's centroid lands where the map says, at a scale that is no simple fraction."""
    y, x = np.mgrid[:200, :300] + 0.5
    blob = np.exp(-((x - 143.3) ** 2 + (y - 88.7) ** 2) / (2 * 9**2))
    crop = crop_to_box(photo_of(linear_to_srgb(np.repeat(blob[..., None], 3, -1))), (31.4, 12.8, 260, 190), 97)
    linear = srgb_to_linear(crop.srgb.astype(np.float64))[..., 0]
    rows, columns = np.mgrid[: linear.shape[0], : linear.shape[1]] + 0.5
    centroid = np.array([(linear * columns).sum(), (linear * rows).sum()]) / linear.sum()
    assert np.allclose(centroid, crop.photo_to_image @ [143.3, 88.7, 1], atol=0.01)


def test_one_clipped_source_pixel_marks_its_image_pixel() -> None:
    picture = np.full((100, 100, 3), 0.5)
    picture[37, 62, 1] = 250 / 255
    picture[80, 20, 1] = 249 / 255
    clipped = crop_to_box(photo_of(picture), (0, 0, 100, 100), 10).clipped
    assert clipped[3, 6] and clipped.sum() == 1
    assert crop_to_box(photo_of(picture), (0, 0, 100, 100), 100).clipped.sum() == 1
