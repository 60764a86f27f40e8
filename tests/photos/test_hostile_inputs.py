"""Photos, folders, masks and landmarks that no honest person would give: each ends in words, not in a crash."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from conftest import PORTRAIT, assert_clear, nextface
from hostile import QUICK, Answer, Situation, call, check, command, each
from PIL import Image
from test_photo import icc_profile, png_header, with_profile

from nextface.landmarks import read_landmarks
from nextface.photos.folder import find_photos, sidecar
from nextface.photos.icc import matrix_to_srgb
from nextface.photos.image_file import decode_image
from nextface.photos.photo import load_photo
from nextface.preparation.face_region import read_mask

AS_ROOT = not hasattr(os, "geteuid") or os.geteuid() == 0
NOT_UTF8 = "M\udcfcller"  # how Python names the bytes M\xfcller


@cache
def portrait(size: int = 512) -> Image.Image:
    with Image.open(PORTRAIT) as image:
        return Image.fromarray(np.asarray(image.convert("RGB").resize((size, size))))  # without its profile


@cache
def encoded(kind: str) -> bytes:
    """A small photo in a format."""
    packed = io.BytesIO()
    portrait(64).save(packed, kind)
    return packed.getvalue()


# Photos


def photo(content: bytes | Callable[[], bytes], name: str = "photo.jpg") -> Callable[[Path], Answer]:
    """Loads a file of these bytes."""

    def act(folder: Path) -> Answer:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
        return call(load_photo, folder / name)

    return act


def bad_photos() -> Iterator[Situation]:
    named = ("photo.jpg",)
    texts = {
        "text": b"Dear diary",
        "one byte": b"\xff",
        "zeros": bytes(5000),
        "html": b"<!doctype html><img src=x>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n%%EOF",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "elf": b"\x7fELF" + bytes(200),
        "zip": b"PK\3\4" + bytes(200),
        "gif": b"GIF89a\1\0\1\0\0\0\0;",
        "jpeg start": b"\xff\xd8\xff and no more",
        "png start": b"\x89PNG\r\n\x1a\n",
        "png without pixels": png_header(0, 0),
        "webp start": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        "tiff start": b"II*\0\xff\xff\xff\xff",
        "tiff in a loop": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8),
        "bmp start": b"BM" + bytes(60),
        "heif start": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "avif start": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(100),
    }
    for name, content in texts.items():
        yield Situation(f"photo: {name}", photo(content), named)
    yield Situation("photo: empty", photo(b""), (*named, "empty"))
    for size in ((30000, 30000), (2**31 - 1, 2**31 - 1), (100_000_001, 1)):
        yield Situation(f"photo: a PNG of {size[0]} x {size[1]}", photo(png_header(*size)), named)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        for share in (0.2, 0.7):
            cut = encoded(kind)[: int(len(encoded(kind)) * share)]
            yield Situation(f"photo: {kind} cut at {share}", photo(cut), named)
        yield Situation(f"photo: {kind} cut in its header", photo(encoded(kind)[:20]), named)
    yield Situation("photo: floats that are not finite", photo(lambda: float_tiff(np.nan)), named)
    colours = colour_tiff(np.full((20, 20, 3), 0.5))
    yield Situation("photo: colours that are not finite", photo(colour_tiff(np.full((9, 9, 3), np.nan))), named)
    yield Situation("photo: floats that end early", photo(colours[:1200] + colours[-200:]), named)
    wide = colours.replace(struct.pack("<HHII", 0x100, 4, 1, 20), struct.pack("<HHII", 0x100, 4, 1, 2**31 - 1))
    yield Situation("photo: floats of 43 thousand million pixels", photo(wide), (*named, "too large"))


def float_tiff(value: float) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.full((20, 20), value, np.float32)).save(packed, "TIFF")
    return packed.getvalue()


def colour_tiff(values: np.ndarray) -> bytes:
    """RGB or RGBA floats [H, W, 3 or 4] as the simplest TIFF: a header, the values, nine tags."""
    height, width, channels = values.shape
    pixels = values.astype("<f4").tobytes()
    after = 8 + len(pixels)
    shorts = struct.pack(f"<{2 * channels}H", *([32] * channels), *([3] * channels))
    bits, kinds = after, after + 2 * channels
    tags = [
        (0x100, 4, 1, width), (0x101, 4, 1, height), (0x102, 3, channels, bits), (0x103, 3, 1, 1),
        (0x106, 3, 1, 2), (0x111, 4, 1, 8), (0x115, 3, 1, channels), (0x116, 4, 1, height),
        (0x117, 4, 1, len(pixels)), (0x153, 3, channels, kinds),
    ]  # fmt: skip
    if channels == 4:
        tags.insert(-1, (0x152, 3, 1, 2))  # the fourth is transparency, not premultiplied
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", after + len(shorts)) + pixels + shorts + directory


def odd_places() -> Iterator[Situation]:
    """Paths, rather than what lies there."""

    def at(path: Callable[[Path], Path]) -> Callable[[Path], Answer]:
        return lambda folder: command(
            "reconstruct", "--input", path(folder), *QUICK, "--output", folder / "out"
        )

    def link(folder: Path, target: str = "nowhere") -> Path:
        (folder / "link.jpg").symlink_to(target)
        return folder / "link.jpg"

    def below_a_file(folder: Path) -> Path:
        (folder / "file.jpg").touch()
        return folder / "file.jpg" / "photo.jpg"

    def pipe(folder: Path) -> Path:
        os.symlink("/dev/null", folder / "null.jpg")
        return folder / "null.jpg"

    places: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
        "missing": (lambda folder: folder / "me.jpg", ("There is no photo", "me.jpg")),
        "a name of 300 letters": (lambda folder: folder / ("x" * 300), ("xxx", "too long")),
        "a path of 5,000 letters": (lambda folder: folder / "/".join(["abcd"] * 1000), ("abcd", "too long")),
        "below a file": (below_a_file, ("photo.jpg",)),
        "a link to nowhere": (link, ("link.jpg",)),
        "a link to itself": (lambda folder: link(folder, "link.jpg"), ("link.jpg",)),
        "the null device": (pipe, ("null.jpg", "empty")),
        "not UTF-8": (lambda folder: folder / f"{NOT_UTF8}.jpg", ("There is no photo", "ller.jpg")),
        "with a line break": (lambda folder: folder / "a\nb.jpg", ("There is no photo",)),
        "with markup": (lambda folder: folder / "[bold]me[/bold].jpg", ("[bold]me[/bold].jpg",)),
        "with braces": (lambda folder: folder / "{0}%s.jpg", ("{{0}}%s.jpg",)),
        "an empty folder": (lambda folder: folder, ("There is no photo in the folder", "{folder}")),
    }
    for name, (path, words) in places.items():
        yield Situation(f"place: {name}", at(path), words)

    files = {"--landmarks": "landmarks file", "--mask": "mask", "--config": "configuration"}
    for option, word in files.items():
        for name, odd in {
            "missing": lambda folder: folder / "x",
            "a folder": lambda folder: folder,
            "a long name": lambda folder: folder / ("x" * 300),
            "below a file": lambda folder: below_a_file(folder) / "x",
            "not UTF-8": lambda folder: folder / NOT_UTF8,
        }.items():

            def act(folder: Path, option: str = option, odd: Callable[[Path], Path] = odd) -> Answer:
                portrait(64).save(folder / "me.png")
                words = ["reconstruct", "--input", folder / "me.png", "--output", folder / "out", *QUICK]
                points = [] if option == "--landmarks" else ["--landmarks", face_file(folder)]
                return command(*words, option, odd(folder), *points)

            yield Situation(f"{option}: {name}", act, (word,))


def folders() -> Iterator[Situation]:
    """Folders of photos."""

    def listing(make: Callable[[Path], object]) -> Callable[[Path], Answer]:
        def act(folder: Path) -> Answer:
            make(folder)
            return call(find_photos, folder)

        return act

    empty = ("There is no photo in the folder", "{folder}")
    yield Situation("folder: empty", listing(lambda folder: None), empty)
    yield Situation("folder: of text", listing(lambda folder: (folder / "a.txt").touch()), empty)
    yield Situation("folder: hidden photos", listing(lambda folder: (folder / ".a.jpg").touch()), empty)
    yield Situation("folder: folders", listing(lambda folder: (folder / "a.jpg").mkdir()), empty)
    nowhere = listing(lambda folder: (folder / "a.jpg").symlink_to("nowhere"))
    yield Situation("folder: a link to nowhere", nowhere, (*empty, "a.jpg"))
    yield Situation("folder: missing", lambda folder: call(find_photos, folder / "x"), ("{folder}/x",))
    yield Situation(
        "folder: a mistyped one of one person",
        lambda folder: command("reconstruct", "--input", folder / "kmi", "--sharedIdentity"),
        ("There is no folder", "kmi"),
    )
    yield Situation(
        "folder: a file of one person",
        lambda folder: command("reconstruct", "--input", PORTRAIT, "--sharedIdentity"),
        ("--sharedIdentity", "folder"),
    )
    for option, suffix in (("--landmarks", ".json"), ("--mask", ".png")):
        for name, path, words in (
            ("missing", lambda folder: folder / "x", "no such folder"),
            ("a file", lambda folder: PORTRAIT, "no folder"),
        ):
            yield Situation(
                f"folder: {option} is {name}",
                lambda folder, path=path, suffix=suffix, option=option: call(
                    sidecar, path(folder), Path("a.jpg"), suffix, option
                ),
                (option, words),
            )


# Masks


def masks() -> Iterator[Situation]:
    def mask(make: Callable[[Path], object], name: str = "mask.png") -> Callable[[Path], Answer]:
        def act(folder: Path) -> Answer:
            portrait(64).save(folder / "me.png")
            make(folder / name)
            return call(read_mask, folder / name, load_photo(folder / "me.png"))

        return act

    def picture(mode: str, size: tuple[int, int], colour: Any) -> Callable[[Path], object]:
        return lambda path: Image.new(mode, size, colour).save(path)

    cases: dict[str, tuple[Callable[[Path], object], str]] = {
        "missing": (lambda path: None, "There is no mask"),
        "a folder": (lambda path: path.mkdir(), "folder"),
        "empty": (lambda path: path.touch(), "empty"),
        "text": (lambda path: path.write_text("white"), "not an image"),
        "of another size": (picture("L", (63, 64), 255), "63 x 64"),
        "turned": (picture("L", (64, 32), 255), "64 x 32"),
        "black": (picture("L", (64, 64), 0), "all black"),
        "dark grey": (picture("L", (64, 64), 100), "all black"),
        "transparent white": (picture("RGBA", (64, 64), (255, 255, 255, 0)), "all black"),
        "transparent grey": (picture("LA", (64, 64), (255, 20)), "all black"),
        "opaque black": (picture("RGBA", (64, 64), (0, 0, 0, 255)), "all black"),
        "black in one bit": (picture("1", (64, 64), 0), "all black"),
    }
    for name, (make, word) in cases.items():
        yield Situation(f"mask: {name}", mask(make), ("mask.png", word))

    def beside(folder: Path) -> Answer:
        portrait().save(folder / "me.png")
        painted = Image.new("L", (512, 512), 0)
        painted.paste(255, (300, 80, 320, 100))  # in the crop, and beside the face
        painted.save(folder / "mask.png")
        return command("reconstruct", "--input", folder / "me.png", "--mask", folder / "mask.png", *QUICK,
                       "--output", folder / "out")  # fmt: skip

    yield Situation("mask: beside the face", beside, ("mask.png", "no white pixel on the face"))


# Landmarks


def face_file(folder: Path) -> Path:
    """A file of landmarks in a photo of 64 x 64 pixels, right in form."""
    grid = np.stack(np.meshgrid(np.linspace(5, 60, 25), np.linspace(5, 60, 25)), -1).reshape(-1, 2)[:478]
    (folder / "points.json").write_text(json.dumps({"detector": "mediapipe", "points": grid.tolist()}))
    return folder / "points.json"


def landmark_files() -> Iterator[Situation]:
    def file(content: str | bytes) -> Callable[[Path], Answer]:
        def act(folder: Path) -> Answer:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / "points.json").write_bytes(data)
            return call(read_landmarks, folder / "points.json")

        return act

    def points(rows: Any, detector: Any = "fan") -> str:
        return json.dumps({"detector": detector, "points": rows})

    good = [[float(number), float(number * 7 % 50)] for number in range(68)]
    cases = {
        "empty": "",
        "text": "x, y",
        "not UTF-8": b"\xff\xfe\x00",
        "a number": "7",
        "null": "null",
        "a list": "[]",
        "a list of points": json.dumps(good),
        "no points": '{"detector": "fan"}',
        "no detector": json.dumps({"points": good}),
        "another detector": points(good, "dlib"),
        "a detector's number": points(good, 1),
        "a list of detectors": points(good, ["fan"]),
        "points that are text": points("all"),
        "points that are an object": points({"0": [1, 2]}),
        "one point too few": points(good[:-1]),
        "one point too many": points([*good, [0, 0]]),
        "another detector's count": points(good, "mediapipe"),
        "three numbers a point": points([[*row, 1.0] for row in good]),
        "one number a point": points([row[:1] for row in good]),
        "numbers in a row": points([number for row in good for number in row]),
        "text for a number": points([["1", "2"], *good[1:]]),
        "null for a number": points([[None, 2], *good[1:]]),
        "NaN": points([[float("nan"), 2.0], *good[1:]]),
        "infinity": points([[float("inf"), 2.0], *good[1:]]),
        "a huge number": points([[1e300, 2.0], *good[1:]]),
        "a huge whole number": '{"detector": "fan", "points": [[' + "9" * 5000 + ", 1]]}",
        "deep nesting": "[" * 100_000,
        "a deep point": points([[[[1]], 2], *good[1:]]),
        "all in one place": points([[5, 5]] * 68),
        "on one line": points([[number, 5] for number in range(68)]),
        "megabytes": '{"detector": "fan", "points": [' + " " * 2_000_000 + "]}",
        "cut short": points(good)[:-40],
    }
    for name, content in cases.items():
        yield Situation(f"landmarks: {name}", file(content), ("points.json",))
    yield Situation(
        "landmarks: and --face",
        lambda folder: command(
            "reconstruct", "--input", PORTRAIT, "--landmarks", face_file(folder), "--face", "0", *QUICK
        ),
        ("--face", "--landmarks"),
    )


SITUATIONS = [*bad_photos(), *odd_places(), *folders(), *masks(), *landmark_files()]


@each(SITUATIONS)
def test_a_hostile_input(situation: Situation, tmp_path: Path) -> None:
    check(situation, tmp_path)


# What is read after all


@pytest.mark.parametrize(("white", "shown"), [(1.0, 0.5), (255.0, 127.5), (65535.0, 32767.5)])
def test_float_pictures_of_every_scale_are_read(white: float, shown: float, tmp_path: Path) -> None:
    values = np.full((20, 20), shown, np.float32)
    values[0] = white
    Image.fromarray(values).save(tmp_path / "photo.tif")
    srgb = load_photo(tmp_path / "photo.tif").srgb
    assert np.allclose(srgb[0], 1) and np.allclose(srgb[1:], 0.5)


@pytest.mark.parametrize("white", [1.0, 65535.0])
def test_colours_in_floats_are_read(white: float, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 0.9, (20, 30, 3))
    values[0] = 1
    (tmp_path / "photo.tif").write_bytes(colour_tiff(values * white))
    assert np.allclose(load_photo(tmp_path / "photo.tif").srgb, values, atol=1e-5)


def test_transparent_floats_show_grey(tmp_path: Path) -> None:
    values = np.concatenate([np.full((6, 8, 3), 0.8), np.linspace(0, 1, 8)[None, :, None].repeat(6, 0)], -1)
    (tmp_path / "photo.tif").write_bytes(colour_tiff(values))
    shown = values[..., :3] * values[..., 3:] + 0.5 * (1 - values[..., 3:])
    assert np.allclose(load_photo(tmp_path / "photo.tif").srgb, shown, atol=1e-5)


def test_white_paint_on_a_transparent_layer_is_the_mask(tmp_path: Path) -> None:
    portrait(64).save(tmp_path / "me.png")
    layer = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (10, 20, 30, 40))
    layer.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", load_photo(tmp_path / "me.png"))
    expected = np.zeros((64, 64), bool)
    expected[20:40, 10:30] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("written", [1, 5, 9, 601, 1500, 65535])
def test_incredible_focal_lengths_are_not_believed(written: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = written
    portrait(64).save(tmp_path / "photo.jpg", exif=exif)
    loaded = load_photo(tmp_path / "photo.jpg")
    assert loaded.focal_35mm is None
    assert len(loaded.warnings) == 1 and f"{written} mm" in loaded.warnings[0]


@pytest.mark.parametrize("focal", [1.0, 1500.0, 65535.0])
def test_a_pose_is_found_at_any_focal_length(focal: float) -> None:
    """A lens that long sees in parallel, and OpenCV's solver gives up: the fit begins at a distance instead."""
    import torch

    from nextface.fitting.landmarks.coarse import initial_pose
    from nextface.models import create as create_model

    model = create_model("open")
    points = model.vertices(torch.zeros(1, model.identity_size), torch.zeros(1, 52))[0, ::40]
    pixels = focal * 512 / 36
    intrinsics = torch.tensor([[pixels, 0, 256], [0, pixels, 256], [0, 0, 1]])
    rotation, translation = initial_pose(points, points[:, :2] * torch.tensor([1, -1]) + 256, intrinsics)
    assert np.isfinite(rotation).all() and np.isfinite(translation).all() and translation[2] > 0


def parametric(number: int, *values: float) -> bytes:
    fixed = struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
    return b"para\0\0\0\0" + struct.pack(">HH", number, 0) + fixed


@pytest.mark.parametrize(
    "curve",
    [
        parametric(1, 2.4, 0, 0.05),  # type 1 divides by its second number
        parametric(2, 2.4, 0, 0.05, 0.1),
        parametric(0, -3),  # 0 to a negative power
        parametric(3, 30000, 30000, 1, 1, 0),
        b"curv\0\0\0\0" + struct.pack(">I", 2**32 - 1),
        b"curv\0\0\0\0" + struct.pack(">IH", 1, 65535),
        b"para\0\0\0\0\0\7\0\0",
        b"nope",
        b"",
    ],
)
@pytest.mark.filterwarnings("error")
def test_forged_tone_curves_are_harmless(curve: bytes, tmp_path: Path) -> None:
    """Finite values, or none; and a photo with such a profile is read."""
    matrix = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
    profile = icc_profile(matrix, curve)
    gradient = np.linspace(0, 1, 300, dtype=np.float32).reshape(10, 10, 3)
    converted = matrix_to_srgb(gradient, profile)
    assert converted is None or np.isfinite(converted).all()
    for kind, bits in (("I;16", 16), ("RGB", 8)):
        packed = io.BytesIO()
        (Image.new(kind, (20, 20), 9000) if bits == 16 else portrait(20)).save(packed, "PNG")
        with_profile(tmp_path / "photo.png", packed.getvalue(), profile)
        assert np.isfinite(decode_image(tmp_path / "photo.png").srgb).all()


def test_what_cannot_be_looked_at_is_mentioned(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "notes.txt").touch()
    found = find_photos(tmp_path)
    assert [path.name for path in found.photos] == ["a.jpg"]
    assert "b.jpg" in found.note and "lead nowhere" in found.note and "notes.txt" in found.note
    assert len(found.note.splitlines()) == 1


@pytest.mark.skipif(AS_ROOT, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o000)
    answer = command("reconstruct", "--input", tmp_path / "locked" / "me.jpg")
    assert answer.code == 2 and "me.jpg" in answer.said and "ermission" in answer.said


# File names that are no text


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        (NOT_UTF8, {}),
        ("Müller", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
    ids=["not UTF-8", "not ASCII, in the C locale"],
)
def test_file_names_that_are_no_text(name: str, variables: dict[str, str], tmp_path: Path) -> None:
    """A folder of such names, in a folder of such a name, gives every file of results."""
    folder = tmp_path / name
    folder.mkdir()
    portrait().save(folder / f"{name}.png")
    skips = ("--skipStage2", "--skipStage3", "--set", "debugFrequency=1")
    run = nextface(
        "reconstruct", "--input", folder, "--output", tmp_path / f"{name} out", *QUICK, *skips, **variables
    )
    assert_clear(run, 0, ["1 of 1", "index.html"])
    output = tmp_path / f"{name} out"
    index = json.loads((output / "index.json").read_text())
    assert [item["status"] for item in index["photos"]] == ["done"]
    results = output / name
    kinds = "mesh0.obj mesh0.mtl diffuseMap_0.png specularMap_0.png envMap_0.exr scene_0.json render_0.png"
    for kind in f"{kinds} landmarks_0.png metrics.json checkpoints/stage1.npz".split():
        assert (results / kind).stat().st_size > 0, kind
    page = (output / "index.html").read_text()
    assert f"{quote(os.fsencode(name))}/render_0.png" in page
    assert (results / "envMap_0.exr").read_bytes()[:4] == b"v/1\x01"
