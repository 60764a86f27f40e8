"""A film through the command: stopped, gone on with, and written; and films that cannot be followed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch
from conftest import ROOT, TINY, made_once
from node_packages import validated
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from nextface import Config, cli
from nextface.errors import Interrupted, VideoError
from nextface.preparation.film.choice import keyframes
from nextface.preparation.film.cuts import Take, takes
from nextface.preparation.film.sightings import LIT_SIDE, sighting_type
from nextface.runs.film.engine import WORK, track
from nextface.scene.geometry import pose_matrix
from nextface.system.archive import read_arrays
from nextface.system.progress import Count, Silent
from nextface.videos.film import written
from nextface.videos.records import Records
from nextface.videos.video import Video

FILM = ROOT / "tests" / "data" / "portrait_film"  # of the bundled portrait: two takes, a dark screen between
SIZE, FRAMES, FIRST, DARK = 128, 10, 5, 2
SETTINGS = {**TINY, "keyFrames": 2, "renderer": "vertex", "threads": 1}
STOPPED = 4  # frames into the second pass


class Stops(Silent):
    """Presses Ctrl-C in the second pass."""

    def __init__(self) -> None:
        self.name, self.steps = "", 0

    @contextmanager
    def count(self, name: str, done: int, total: int, unit: str) -> Iterator[Count]:
        self.name, self.steps = name, 0
        yield self

    def step(self) -> None:
        self.steps += 1
        if "pass 2" in self.name and self.steps == STOPPED:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The folder with film.mp4 and its results, of a run that was stopped and gone on with."""

    def make(folder: Path) -> dict[str, object]:
        shutil.copyfile(FILM / "film.mp4", folder / "film.mp4")
        with pytest.raises(Interrupted, match="Run the same command again"):
            track(folder / "film.mp4", folder / "out", Config(**SETTINGS), progress=Stops())  # type: ignore[arg-type]
        work = folder / "out" / "film" / WORK
        with (work / "pass1.equations").open("ab") as file:
            file.write(b"half a record")  # as a kill leaves it
        before = (folder / "out" / "film" / "person" / "checkpoints" / "stage3.npz").stat().st_mtime_ns
        words = [f"--set={key}={value}" for key, value in SETTINGS.items()]
        arguments = [
            "track",
            str(folder / "film.mp4"),
            "--output",
            str(folder / "out"),
            "--meshes",
            "--pictures",
        ]
        run = CliRunner().invoke(cli.app, [*arguments, *words])
        after = (folder / "out" / "film" / "person" / "checkpoints" / "stage3.npz").stat().st_mtime_ns
        return {"code": run.exit_code, "said": run.output, "personKept": before == after}

    return made_once(tmp_path_factory, "followed", make)


def test_a_stopped_run_goes_on_at_its_frame(followed: tuple[Path, dict[str, object]]) -> None:
    _, told = followed
    said = str(told["said"])
    assert told["code"] == 0, said
    assert told["personKept"]
    assert f"looking through the film: {FRAMES} frames, {FRAMES} of them done before" in said
    assert f"pass 1 of 3: {FRAMES} frames, {FRAMES} of them done before" in said
    assert f"pass 2 of 3: {FRAMES} frames, {STOPPED} of them done before" in said
    assert f"{FRAMES - DARK} of {FRAMES} frames, in 2 takes" in said


def test_every_frame_is_told(followed: tuple[Path, dict[str, object]]) -> None:
    folder = followed[0] / "out" / "film"
    found = read_arrays(folder / "track.npz")
    assert found["take"].tolist() == [0] * 5 + [-1] * 2 + [1] * 3
    assert np.array_equal(np.isnan(found["expression"]).all(1), found["take"] < 0)
    assert (found["confidence"][found["take"] >= 0] > 0.5).all()
    seen = found["take"] >= 0
    turns = pose_matrix(torch.from_numpy(found["pose"][seen])).numpy()
    assert np.allclose(turns, found["modelToCamera"][seen][:, :, :3], atol=1e-5)
    truth = json.loads((FILM / "truth.json").read_text())
    true = np.array([turn for turn in truth["turns"] if turn is not None])
    yaw = np.degrees(found["pose"][seen][:, 1])
    off = (yaw - yaw.mean()) - (true - true.mean())
    assert (np.diff(yaw[:FIRST]) > 0.5).all()  # the head turns to its left, and farther with every frame
    assert np.abs(off).max() < 4, off  # by a person of two iterations
    jaw = found["expression"][seen, found["expressionNames"].tolist().index("jawOpen")]
    assert jaw[-1] > jaw[FIRST:].min() + 0.1 and jaw[-1] > jaw[:FIRST].max() + 0.1
    assert np.allclose(np.linalg.norm(found["gaze"][seen], axis=2), 1, atol=1e-4)
    assert found["light"].shape == (10, 81, 3) and found["map_diffuse"].shape == (256, 256, 3)
    assert not (folder / WORK).exists()


def test_curves_and_cameras_say_the_same(followed: tuple[Path, dict[str, object]]) -> None:
    folder = followed[0] / "out" / "film"
    found = read_arrays(folder / "track.npz")
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and rows[5]["jawOpen"] == ""
    names = found["expressionNames"].tolist()
    told = [[float(rows[frame][name]) for name in names] for frame in (0, 9)]
    assert np.allclose(told, found["expression"][[0, 9]], atol=1e-4)
    cameras = json.loads((folder / "transforms.json").read_text())
    assert [frame["file_path"] for frame in cameras["frames"]][5] == "pictures/frame_000007.png"
    assert "OpenGL" in cameras["conventions"]
    matrix, pose = np.array(cameras["frames"][0]["transform_matrix"]), found["modelToCamera"][0]
    point = np.array([10.0, 20, 30, 1])  # of the head, in the camera's frame, with y up and z to the back
    assert np.allclose(np.linalg.inv(matrix) @ point, [*(pose @ point) * [1, -1, -1], 1], atol=1e-3)
    assert all((folder / frame["file_path"]).is_file() for frame in cameras["frames"])
    assert len(list((folder / "meshes").glob("*.obj"))) == 8


def test_the_head_moves_as_glTF_as_in_the_film(followed: tuple[Path, dict[str, object]]) -> None:  # noqa: N802
    folder = followed[0] / "out" / "film"
    document = pygltflib.GLTF2().load(str(folder / "head.glb"))
    found = read_arrays(folder / "track.npz")
    seen = found["take"] >= 0
    (animation,) = document.animations

    def values(number: int, columns: int) -> np.ndarray:
        accessor = document.accessors[number]
        start = document.bufferViews[accessor.bufferView].byteOffset
        data = document.binary_blob()
        return np.frombuffer(data, "<f4", accessor.count * columns, start).reshape(-1, columns)

    root = document.scenes[0].nodes[0]
    told = {channel.target.path: channel for channel in animation.channels if channel.target.node == root}
    sampler = animation.samplers[told["rotation"].sampler]
    assert np.allclose(values(sampler.input, 1)[:, 0], found["time"][seen])
    turns = Rotation.from_quat(values(sampler.output, 4)).as_rotvec()
    assert np.allclose(turns, found["pose"][seen], atol=1e-5)
    places = values(animation.samplers[told["translation"].sampler].output, 3)
    assert np.allclose(places, found["translation"][seen] * [1e-3, -1e-3, -1e-3], atol=1e-6)
    parts = [channel for channel in animation.channels if channel.target.path == "weights"]
    assert {channel.target.node for channel in parts} == set(document.nodes[root].children)
    weights = values(animation.samplers[parts[0].sampler].output, 1).reshape(-1, 52)
    assert np.allclose(weights, found["expression"][seen], atol=1e-6)  # whose bounds are 0 and 1


def test_the_animated_head_is_valid(followed: tuple[Path, dict[str, object]]) -> None:
    report = validated(followed[0] / "out" / "film" / "head.glb")
    assert report["issues"]["numErrors"] == 0, report["issues"]


def test_films_show_the_head_where_it_is(followed: tuple[Path, dict[str, object]]) -> None:
    folder = followed[0]
    original = [frame.rgb.astype(int) for frame in Video.open(folder / "film.mp4").frames()]
    overlay = [frame.rgb.astype(int) for frame in Video.open(folder / "out" / "film" / "overlay.mp4").frames()]
    beside = Video.open(folder / "out" / "film" / "side_by_side.mp4")
    assert len(overlay) == len(original) == 10 and (beside.width, beside.height) == (2 * SIZE, SIZE)
    assert np.abs(overlay[5] - original[5]).mean() < 3  # no face: the film itself
    for number in (0, 9):
        difference = np.abs(overlay[number] - original[number]).mean(2)
        assert 0.1 < difference.mean() < 18  # drawn, and like the film


@pytest.mark.parametrize(
    "frames, words", [(1, "has one frame"), (3, "No face was found in any of the 3 frames")]
)
def test_films_without_a_face_or_of_one_frame(tmp_path: Path, frames: int, words: str) -> None:
    with written(tmp_path / "grey.mp4", (64, 64)) as film:
        for number in range(frames):
            film.add(np.full((64, 64, 3), 90 + number, np.uint8), number / 10)
    run = CliRunner().invoke(cli.app, ["track", str(tmp_path / "grey.mp4"), "--output", str(tmp_path / "out")])
    assert run.exit_code == 2
    assert words in run.output


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        track(tmp_path / "missing.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_takes_end_at_cuts_gaps_and_jumps() -> None:
    times = np.arange(20) / 10
    found, unlike = np.ones(20, bool), np.full(20, 0.01)
    centres, sizes = np.zeros((20, 2)), np.full(20, 100.0)

    def split() -> list[tuple[int, int]]:
        return [(take.first, take.stop) for take in takes(found, times, unlike, centres, sizes)]

    assert split() == [(0, 20)]
    found[3] = False  # a frame in which it is not seen
    assert split() == [(0, 20)]
    found[8:13] = False  # longer
    assert split() == [(0, 8), (13, 20)]
    unlike[16] = 0.3  # a cut
    assert split() == [(0, 8), (13, 16), (16, 20)]
    unlike[14:19] = 0.3  # much motion, and no cut
    assert split() == [(0, 8), (13, 20)]
    centres[5:] = 90  # another face, or the same elsewhere
    assert split() == [(0, 5), (5, 8), (13, 20)]
    assert takes(np.zeros(20, bool), times, unlike, centres, sizes) == []


def test_keyframes_are_sharp_and_unlike_each_other(tmp_path: Path) -> None:
    """Forty frames of a face that turns one way; one frame is blurred, one is badly seen."""
    random = np.random.default_rng(0)
    shape = random.uniform(20, 80, (478, 2))
    shape[:2] = [20, 20], [80, 80]
    with Records(tmp_path / "s", sighting_type("mediapipe"), "key") as records:
        for frame in range(40):
            record = np.zeros((), records.kind)
            record["found"], record["time"], record["sharpness"] = True, frame / 30, 1.0
            record["points"] = shape + [[frame / 4, 0]] * (np.arange(478) % 2)[:, None]
            record["light"] = np.full((LIT_SIDE, LIT_SIDE, 3), 0.5)
            if frame == 39:
                record["sharpness"] = 0.2
            if frame == 38:
                record["points"] = random.uniform(20, 80, (478, 2))
            records.append(record)
        chosen = keyframes(records, [Take(0, 40)], 3, 100, 100)
        assert len(keyframes(records, [Take(0, 2)], 3, 100, 100)) == 2
    assert 15 <= chosen[0] <= 24 and set(chosen[1:]) == {0, 36}  # 37 and 38 jump, 39 is blurred
