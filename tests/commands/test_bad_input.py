"""Bad input through the command line: an exit code of 2, words that say what to mend, and nothing lost.

Every case runs where an earlier run left its results; they must be as they were afterwards. Formats, detectors,
LLVM and configuration have more cases of their own in the tests of their modules.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, run

import numpy as np
import pytest
from conftest import PORTRAIT, ROOT, TINY, assert_clear, command, environment, nextface, settings
from PIL import Image
from typer.testing import CliRunner, Result

from nextface import cli
from nextface.config import DEFAULTS
from nextface.models.basel2017.files import ALBEDO, SHAPE

VERTEX = ["--renderer", "vertex", *settings({**TINY, "threads": 1})]
FIRST_STAGE = "1 landmarks"


class Desk:
    """A folder with a photo to be named portrait.*, and the results of an earlier run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.results = self.output / "portrait"
        (self.results / "checkpoints").mkdir(parents=True)
        for name in ("mesh0.obj", "metrics.json", "diffuseMap_0.png", "checkpoints/stage2.npz"):
            (self.results / name).write_text(f"earlier {name}")
        self.before = self._contents()

    def photo(self, suffix: str = ".png") -> Path:
        """Where to put the photo."""
        return self.folder / f"portrait{suffix}"

    def reconstruct(self, photo: Path, *arguments: str | Path) -> Result:
        """Run the command in this process."""
        words = ["reconstruct", "--input", photo, "--output", self.output, *arguments]
        return CliRunner().invoke(cli.app, list(map(str, words)))

    def refuses(self, photo: Path, *arguments: str | Path, words: tuple[str, ...]) -> str:
        """Run the command, which must end with 2 and these words before any stage; returns what it said."""
        result = self.reconstruct(photo, *VERTEX, *arguments)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output and "our fault" not in result.output
        for word in words:
            assert word in result.output, f"{word!r} is not in: {result.output}"
        assert FIRST_STAGE not in result.output, "it is said before anything is computed"
        self.check_nothing_lost()
        return result.output

    def check_nothing_lost(self, *new: str) -> None:
        """The earlier results are as they were, and no half-written file lies beside them; `new` ones may."""
        after = self._contents()
        assert {name: after[name] for name in self.before} == self.before
        assert set(after) - set(self.before) <= {"searched.png", "landmarks_0.png", ".nextface.json", *new}

    def _contents(self) -> dict[str, bytes]:
        files = [path for path in self.results.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.results)): path.read_bytes() for path in files}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    with Image.open(PORTRAIT) as image:
        return image.convert("RGB")


# Files that are no photos


def test_no_such_file(desk: Desk) -> None:
    desk.refuses(desk.photo(), words=("There is no photo", "portrait.png"))


def test_an_empty_folder(desk: Desk) -> None:
    desk.photo().mkdir()
    desk.refuses(desk.photo(), words=("There is no photo in the folder", "portrait.png"))


def test_not_an_image(desk: Desk) -> None:
    desk.photo(".jpg").write_text("Dear diary")
    desk.refuses(desk.photo(".jpg"), words=("not an image", "portrait.jpg", "JPEG"))


def test_an_empty_file(desk: Desk) -> None:
    desk.photo().touch()
    desk.refuses(desk.photo(), words=("empty", "portrait.png"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_truncated_photo(desk: Desk, portrait: Image.Image, suffix: str) -> None:
    portrait.save(desk.photo(suffix))
    content = desk.photo(suffix).read_bytes()
    desk.photo(suffix).write_bytes(content[: len(content) // 2])
    desk.refuses(desk.photo(suffix), words=("damaged or cut short", f"portrait{suffix}"))


def test_a_bomb_of_30000_x_30000_pixels(desk: Desk) -> None:
    """A valid PNG of 0.1 MB that would become 2.7 GB."""
    side = 30_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (1 + side // 8)) for _ in range(side)) + packer.flush()
    with desk.photo().open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    assert desk.photo().stat().st_size < 1_000_000
    start = time.process_time()
    desk.refuses(desk.photo(), words=("too large", "million pixels"))
    assert time.process_time() - start < 5


# Faces


def test_no_face(desk: Desk) -> None:
    grey = np.tile(np.linspace(60, 180, 400).astype(np.uint8)[None, :, None], (300, 1, 3))
    Image.fromarray(grey).save(desk.photo())
    searched = desk.results / "searched.png"
    desk.refuses(desk.photo(), words=("No face was found", "400 x 300", "--landmarks", str(searched)))
    with Image.open(searched) as picture:
        assert picture.size == (400, 300)


def test_a_face_under_48_pixels(desk: Desk, portrait: Image.Image) -> None:
    portrait.resize((160, 160), Image.Resampling.LANCZOS).save(desk.photo())
    said = desk.refuses(desk.photo(), words=("pixels wide", "48"))
    assert (desk.results / "searched.png").is_file()
    assert "larger copy" in said


@pytest.fixture(scope="module")
def two_faces(portrait: Image.Image) -> Image.Image:
    """The portrait, and beside it to the right a smaller copy."""
    picture = Image.new("RGB", (860, 512), (90, 90, 90))
    picture.paste(portrait, (0, 0))
    picture.paste(portrait.resize((340, 340), Image.Resampling.LANCZOS), (520, 80))
    return picture


def test_the_largest_of_several_faces_is_taken_with_a_warning(desk: Desk, two_faces: Image.Image) -> None:
    two_faces.save(desk.photo())
    skips = ("--skipStage2", "--skipStage3")
    largest = desk.reconstruct(desk.photo(), *VERTEX, *skips)
    assert largest.exit_code == 0, largest.output
    for word in ("2 faces", "largest", "--face", "searched.png"):
        assert word in largest.output
    assert centre_of_crop(desk.results)[0] < 512

    other = desk.reconstruct(desk.photo(), *VERTEX, *skips, "--face", "1")
    assert other.exit_code == 0, other.output
    assert "the largest is taken" not in other.output
    assert centre_of_crop(desk.results)[0] > 512


def test_a_face_number_that_is_not_there(desk: Desk, two_faces: Image.Image) -> None:
    two_faces.save(desk.photo())
    desk.refuses(desk.photo(), "--face", "5", words=("no face 5", "2 found"))


def centre_of_crop(folder: Path) -> np.ndarray:
    """The middle of the processed picture in pixels of the photo."""
    described = json.loads((folder / "scene_0.json").read_text())
    matrix = np.array(described["photoToImage"])
    middle: np.ndarray = (np.array([described["width"], described["height"]]) / 2 - matrix[:, 2]) / matrix[0, 0]
    return middle


# What goes with the photo


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("not json", "is not JSON"),
        ("[]", 'has no "points"'),
        ('{"points": []}', "must name its"),
        ('{"detector": "dlib", "points": []}', "mediapipe"),
        ('{"detector": "mediapipe", "points": [[1, 2]]}', "has 1 points"),
        (json.dumps({"detector": "fan", "points": [[1, 2]] * 68}), "all its points in one place"),
    ],
)
def test_wrong_landmark_files(desk: Desk, portrait: Image.Image, content: str | None, words: str) -> None:
    portrait.save(desk.photo())
    path = desk.folder / "points.json"
    if content is not None:
        path.write_text(content)
    desk.refuses(desk.photo(), "--landmarks", path, words=("points.json", words))


def mediapipe_points(name: str) -> np.ndarray:
    """Landmarks [478, 2] that are right in form and wrong in content."""
    random = np.random.default_rng(1)
    across = np.linspace(100, 400, 478)
    return {
        "outside": random.uniform(2000, 2300, (478, 2)),
        "far outside": random.uniform(-9e5, 9e5, (478, 2)),
        "noise": random.uniform(100, 400, (478, 2)),
        "line": np.stack([across, across], 1),
        "tiny": random.uniform(200, 204, (478, 2)),
        "huge": random.uniform(-3000, 3500, (478, 2)),
    }[name]


@pytest.mark.parametrize("name", ["outside", "far outside", "noise", "line", "tiny", "huge"])
def test_landmarks_that_are_not_a_face(desk: Desk, portrait: Image.Image, name: str) -> None:
    """An error, or a result of finite numbers: nothing else."""
    portrait.save(desk.photo())
    path = desk.folder / "points.json"
    path.write_text(json.dumps({"detector": "mediapipe", "points": mediapipe_points(name).tolist()}))
    result = desk.reconstruct(desk.photo(), *VERTEX, "--landmarks", path)
    assert "Traceback" not in result.output and "our fault" not in result.output
    assert result.exit_code in (0, 2), result.output
    if result.exit_code == 2:  # some are found out after stage 1, whose state is kept
        desk.check_nothing_lost("checkpoints/stage1.npz")
    if name == "outside":
        assert result.exit_code == 2 and "outside the photo" in result.output


def test_masks_that_do_not_fit(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    mask = desk.folder / "mask.png"
    desk.refuses(desk.photo(), "--mask", mask, words=("There is no mask", "mask.png"))
    Image.new("L", (100, 80), 255).save(mask)
    desk.refuses(desk.photo(), "--mask", mask, words=("100 x 80", "512 x 512", "photo's size"))
    Image.new("L", portrait.size, 0).save(mask)
    desk.refuses(desk.photo(), "--mask", mask, words=("all black", "white"))


def test_a_mask_beside_the_face(desk: Desk, portrait: Image.Image) -> None:
    """White pixels, but none on the face: there is nothing to fit, and that is said."""
    portrait.save(desk.photo())
    mask = Image.new("L", portrait.size, 0)
    mask.paste(255, (0, 450, 60, 512))
    mask.save(desk.folder / "mask.png")
    desk.refuses(desk.photo(), "--mask", desk.folder / "mask.png", words=("mask.png", "face"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bandz = 3", ("line 2", "bandz", "Did you mean bands?")),
        ("bands = many", ("line 2", "bands", "whole number")),
        ("bands = 99", ("line 2", "bands", "1 to 12")),
        ("camFocalLength = 500", ("line 2", "focalLength35mm", f"{DEFAULTS['focalLength35mm']:g}")),
    ],
)
def test_wrong_configurations(desk: Desk, portrait: Image.Image, line: str, words: tuple[str, ...]) -> None:
    portrait.save(desk.photo())
    ini = desk.folder / "mine.ini"
    ini.write_text(f"[Light]\n{line}\n")
    desk.refuses(desk.photo(), "--config", ini, words=("mine.ini", *words))


def test_a_wrong_checkpoint_is_known_before_any_work(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    text = desk.results / "checkpoints" / "stage2.npz"
    desk.refuses(desk.photo(), "--checkpoint", text, words=("stage2.npz", "not a checkpoint"))


# Parts that are not here


def test_an_unknown_backend(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    result = desk.reconstruct(desk.photo(), "--renderer", "mitsubishi")
    assert result.exit_code == 2
    assert "mitsuba" in result.output and "vertex" in result.output
    desk.check_nothing_lost()


def test_the_basel_model_says_where_to_get_its_files(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    words = (
        SHAPE.names[0],
        ALBEDO.names[0],
        "baselMorphableModel/",
        "https://faces.dmi.unibas.ch",
        "morphableModel = open",
    )
    desk.refuses(desk.photo(), "--set", "morphableModel=basel2017", words=words)


@pytest.mark.skipif(find_spec("face_alignment") is not None, reason="face-alignment is here")
def test_a_detector_that_is_not_installed(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    desk.refuses(desk.photo(), "--set", "landmarksDetectorType=fan", words=("face-alignment", "pip install"))


@pytest.mark.parametrize("backend", ["vertex", "mitsuba"])
def test_a_gpu_that_is_not_here(desk: Desk, portrait: Image.Image, backend: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    portrait.save(desk.photo())
    result = desk.reconstruct(desk.photo(), *VERTEX, "--renderer", backend, "--device", "cuda")
    if backend == "mitsuba" and Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU that PyTorch does not see")
    assert result.exit_code == 2, result.output
    assert "--device cpu" in result.output
    desk.check_nothing_lost()


@pytest.mark.parametrize("kind", ["missing", "not a library"])
def test_an_llvm_that_does_not_work(desk: Desk, portrait: Image.Image, kind: str) -> None:
    portrait.save(desk.photo())
    library = desk.folder / "libLLVM.so"
    if kind == "not a library":
        library.write_bytes(b"\x7fELF but no library")
    arguments = ("reconstruct", "--input", desk.photo(), "--output", desk.output, "--device", "cpu")
    result = nextface(*arguments, DRJIT_LIBLLVM_PATH=str(library), XDG_CACHE_HOME=str(desk.folder / "cache"))
    assert_clear(result, 2, [str(library), "pip install --no-deps tadashi", "renderer = vertex"])
    assert FIRST_STAGE not in result.stderr
    desk.check_nothing_lost()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Environment variables under which a package cannot be found: all others are linked to one folder."""

    def prepare(package: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("packages")
        for place in map(Path, sys.path):
            if place.name not in ("site-packages", "dist-packages"):
                continue
            for part in place.iterdir():
                named = part.name.replace("-", "_").lower().startswith(package)
                if not named and not (folder / part.name).exists():
                    (folder / part.name).symlink_to(part)
        return environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(folder)]))

    return prepare


def run_without(variables: dict[str, str], *arguments: str | Path):  # type: ignore[no-untyped-def]
    """The command with no other packages than the environment variables tell."""
    interpreter, *rest = command(*arguments)
    return run(
        [interpreter, "-S", *rest], capture_output=True, text=True, timeout=200, env=variables, stdin=DEVNULL
    )


def test_without_mitsuba_its_package_is_named(desk: Desk, portrait: Image.Image, without) -> None:  # type: ignore[no-untyped-def]
    portrait.save(desk.photo())
    result = run_without(without("mitsuba"), "reconstruct", "--input", desk.photo(), "--output", desk.output)
    assert_clear(result, 2, ["Mitsuba", "pip install", "mitsuba"])
    desk.check_nothing_lost()


def test_without_mediapipe_the_photo_is_still_reconstructed(desk: Desk, portrait: Image.Image, without) -> None:  # type: ignore[no-untyped-def]
    portrait.save(desk.photo())
    arguments = ("reconstruct", "--input", desk.photo(), "--output", desk.output, *VERTEX)
    result = run_without(without("mediapipe"), *arguments, "--skipStage2", "--skipStage3")
    assert_clear(result, 0, ["OpenCV", "MediaPipe does not start here"])


# Places that cannot be written


def test_a_file_in_place_of_the_output_folder(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    place = desk.folder / "taken"
    place.write_text("mine")
    desk.refuses(desk.photo(), "--output", place, words=("cannot be written", str(place), "--output"))
    assert place.read_text() == "mine"


def test_a_file_in_place_of_the_photos_folder(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    place = desk.folder / "free"
    place.mkdir()
    (place / "portrait").write_text("mine")
    desk.refuses(desk.photo(), "--output", place, words=("cannot be written", "--output"))
    assert (place / "portrait").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(desk: Desk, portrait: Image.Image) -> None:
    portrait.save(desk.photo())
    place = desk.folder / "locked"
    place.mkdir(mode=0o555)
    desk.refuses(desk.photo(), "--output", place, words=("cannot be written", str(place), "--output"))


def test_a_folder_in_place_of_a_result_file(desk: Desk, portrait: Image.Image) -> None:
    """Seen only at the end, when hours may have passed: the checkpoints of all stages are kept."""
    portrait.save(desk.photo())
    results = desk.folder / "other" / "portrait"
    (results / "diffuseMap_0.png" / "full").mkdir(parents=True)
    result = desk.reconstruct(desk.photo(), *VERTEX, "--output", desk.folder / "other")
    assert result.exit_code == 2, result.output
    assert "diffuseMap_0.png" in result.output and "Traceback" not in result.output
    for stage in (1, 2, 3):
        assert (results / "checkpoints" / f"stage{stage}.npz").is_file()
    assert not [path for path in results.rglob(".*") if path.name != ".nextface.json"], (
        "temporary files are gone"
    )
