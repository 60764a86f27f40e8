"""Checkpoints that were damaged, forged, or made by hand or for somebody else: each is refused in words."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import Answer, Situation, call, check, each

from nextface.errors import CheckpointError
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.person.parameters import LIGHT_LOBES
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame

Arrays = dict[str, Any]


@cache
def _model() -> Any:
    return create_model("open")


def honest() -> Arrays:
    """The arrays of a checkpoint of one photo that is read."""
    model = _model()
    return {
        "version": 2,
        "stage": 3,
        "finished": True,
        "model": "open",
        "bands": 9,
        "width": [64],
        "height": [60],
        "principal": np.array([[32.0, 30.0]], np.float32),
        "photoToImage": np.array([[[0.5, 0, -10], [0, 0.5, -12]]]),
        "thumbnails": np.full((1, 16, 16, 3), 100, np.uint8),
        "identity": np.zeros((1, model.identity_size), np.float32),
        "expression": np.zeros((1, len(model.expression_names)), np.float32),
        "albedo": np.zeros((1, model.albedo_size), np.float32),
        "rotation": np.array([[3.14, 0, 0]], np.float32),
        "translation": np.array([[0, 0, 600]], np.float32),
        "focal": np.array([5.0], np.float32),
        "light": np.zeros((1, LIGHT_LOBES, 3), np.float32),
        "material_diffuse": np.full((1, 32, 32, 3), 0.4, np.float32),
        "material_specular": np.full((1, 32, 32, 1), 0.03, np.float32),
        "material_roughness": np.full((1, 32, 32, 1), 0.5, np.float32),
        "confidence": np.full((1, 32, 32, 3), 0.3, np.float16),
    }


def load(path: Path) -> Answer:
    return call(Checkpoint.load, path, _model())


def changed(**values: Any) -> Callable[[Path], Answer]:
    """Loads an honest checkpoint with other arrays; None leaves one out."""

    def act(folder: Path) -> Answer:
        arrays = {name: value for name, value in (honest() | values).items() if value is not None}
        np.savez(folder / "mine.npz", **arrays)
        return load(folder / "mine.npz")

    return act


def content(make: Callable[[], bytes]) -> Callable[[Path], Answer]:
    """Loads a file of these bytes."""

    def act(folder: Path) -> Answer:
        (folder / "mine.npz").write_bytes(make())
        return load(folder / "mine.npz")

    return act


def spoiled(spoil: Callable[[bytes], bytes]) -> Callable[[Path], Answer]:
    """Loads the bytes of an honest checkpoint, spoiled."""

    def make() -> bytes:
        packed = io.BytesIO()
        np.savez_compressed(packed, **honest())
        return spoil(packed.getvalue())

    return content(make)


def member(data: bytes, name: str = "identity.npy", packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive in which one array's file has these bytes."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **{key: value for key, value in honest().items() if f"{key}.npy" != name})
    with zipfile.ZipFile(packed, "a", packing) as archive:
        archive.writestr(name, data)
    return packed.getvalue()


def header(text: str, version: bytes = b"\1\0", body: bytes = b"") -> bytes:
    """The file of an array whose header says this."""
    packing = "<H" if version == b"\1\0" else "<I"
    return b"\x93NUMPY" + version + struct.pack(packing, len(text)) + text.encode("latin1") + body


def described(shape: str, kind: str = "<f4", order: str = "False") -> str:
    return f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def bomb() -> bytes:
    """An archive of some hundred kilobytes that unfolds to 6 GB, as its directory honestly says."""
    part = 100 << 20
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    rows = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(part >> 20)) + squeezer.flush()
    sum_ = 0
    for _ in range(part >> 20):
        sum_ = zlib.crc32(bytes(1 << 20), sum_)
    files, directory = b"", b""
    for number in range(60):
        name = f"material_{number}.npy".encode()
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, sum_, len(rows), part, len(name), 0)
        offset = struct.pack("<HHHII", 0, 0, 0, 0, len(files))
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + offset + name
        files += b"PK\3\4" + fields + name + rows
    end = struct.pack("<HHHHIIH", 0, 0, 60, 60, len(directory), len(files), 0)
    return files + directory + b"PK\5\6" + end


def liar() -> bytes:
    """An archive whose directory says that an array is small, while its data unfold to 200 MB."""
    packed = bytearray(member(header(described("(50000000,)"), body=bytes(200_000_000))))
    entry = packed.rindex(b"PK\1\2", 0, packed.rindex(b"identity.npy"))
    struct.pack_into("<I", packed, entry + 24, 480)
    return bytes(packed)


def encrypted(data: bytes) -> bytes:
    packed = bytearray(data)
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = packed.index(mark)
        packed[place + offset] |= 1
    return bytes(packed)


class Pickled:
    """Would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (Path("was_run"),))


def files() -> Iterator[Situation]:
    """What is no archive of arrays, or a damaged one."""
    ours = ("mine.npz", "not a checkpoint")
    yield Situation("no such file", lambda folder: load(folder / "mine.npz"), ("mine.npz", "no checkpoint"))
    yield Situation("a folder", lambda folder: load(folder), ("no checkpoint", "{folder}"))
    yield Situation("below a file", content_below_a_file, ("no checkpoint",))
    yield Situation("a long name", lambda folder: load(folder / ("x" * 300 + ".npz")), ("xxx.npz", "too long"))
    yield Situation("empty", content(lambda: b""), ours)
    yield Situation("text", content(lambda: b"Dear diary, today I fitted a face."), ours)
    yield Situation("a pickle", content(lambda: pickle.dumps(Pickled())), ours)
    yield Situation("one array", content(lambda: header(described("(3,)"), body=bytes(12))), ours)
    yield Situation("a photo", content(lambda: b"\x89PNG\r\n\x1a\n" + bytes(50)), ours)
    yield Situation("PK and no more", content(lambda: b"PK"), ours)
    yield Situation("PK and zeros", content(lambda: b"PK\3\4" + bytes(500)), ours)
    yield Situation("an empty archive", content(lambda: b"PK\5\6" + bytes(18)), ("mine.npz", "no version"))
    for share in (0.1, 0.5, 0.9, 0.99):
        yield Situation(
            f"cut at {share}", spoiled(lambda data, share=share: data[: int(len(data) * share)]), ours
        )
    yield Situation("shifted by junk", spoiled(lambda data: data[100:]), ours)
    for start in (200, 1000, 2500):
        yield Situation(
            f"flipped at {start}",
            spoiled(
                lambda data, start=start: (
                    data[:start] + bytes(byte ^ 0x5A for byte in data[start : start + 40]) + data[start + 40 :]
                )
            ),
            ours,
        )
    yield Situation("a bomb of 6 GB", content(bomb), (*ours, "MB"))
    yield Situation("a directory that lies", content(liar), ours)
    yield Situation("encrypted", spoiled(encrypted), ours)
    yield Situation("packed otherwise", content(lambda: member(bytes(9), packing=zipfile.ZIP_LZMA)), ours)
    yield Situation("a member that is no array", content(lambda: member(b"hello", "readme.txt")), ours)
    yield Situation("a member outside", content(lambda: member(b"hello", "../../evil.npy")), ours)
    yield Situation("2,000 members", changed(**{f"x{number}": 0 for number in range(2000)}), (*ours, "2021"))


def content_below_a_file(folder: Path) -> Answer:
    (folder / "file").touch()
    return load(folder / "file" / "mine.npz")


def headers() -> Iterator[Situation]:
    """Arrays whose own headers are wrong."""
    forged = {
        "no magic": b"no array at all",
        "nothing": b"",
        "magic alone": b"\x93NUMPY",
        "version 9": header(described("(1,)"), b"\x09\0"),
        "a shape of gigabytes": header(described("(1, 4000000000000)")),
        "a shape beyond 64 bits": header(described(f"({2**62}, {2**62})")),
        "a negative shape": header(described("(-1, 100)"), body=bytes(400)),
        "a shape of truth values": header(described("(True, 100)"), body=bytes(400)),
        "a shape of fractions": header(described("(1.0, 100)"), body=bytes(400)),
        "a shape of text": header(described("'1'"), body=bytes(400)),
        "40 dimensions": header(described("(" + "1," * 40 + ")"), body=bytes(4)),
        "a header of code": header("__import__('os').mkdir('was_run')\n"),
        "a deep header": header("(" * 1000 + ")" * 1000 + "\n"),
        "a huge header": header(described("(1, 100)") + " " * 60000, body=bytes(400)),
        "a header of 2 GB": b"\x93NUMPY\2\0" + struct.pack("<I", 2**31 - 1) + b"{",
        "objects": header(described("(1, 100)", "|O"), body=pickle.dumps([Pickled()] * 100)),
        "records": header(described("(1,)", "f4").replace("'f4'", "[('a','<f4')]"), body=bytes(4)),
        "nothing at all": header(described("(1, 100)", "|V0")),
        "bytes": header(described("(1, 100)", "|S4"), body=bytes(400)),
        "dates": header(described("(1, 100)", "<M8[s]"), body=bytes(800)),
        "complex numbers": header(described("(1, 100)", "<c8"), body=bytes(800)),
        "an unknown type": header(described("(1, 100)", "<q99"), body=bytes(400)),
        "too few bytes": header(described("(1, 100)"), body=bytes(399)),
        "too many bytes": header(described("(1, 100)"), body=bytes(401)),
        "text for numbers": header(described("(1, 100)", "<U1"), body=bytes(400)),
    }
    for name, data in forged.items():
        yield Situation(f"header: {name}", content(lambda data=data: member(data)), ("mine.npz", "identity"))


def values() -> Iterator[Situation]:
    """Arrays that are well formed and say nonsense."""

    def one(name: str, value: Any, *words: str) -> Situation:
        kind = type(value).__name__ if value is None or np.ndim(value) == 0 else str(np.shape(value))
        return Situation(
            f"{name}: {words[0] if words else kind}", changed(**{name: value}), ("mine.npz", name, *words[1:])
        )

    for name in honest():
        if name not in ("thumbnails", "confidence", "principal", "material_diffuse"):
            yield one(name, None, "left out")
    yield one("version", 0, "0", "version 0")
    yield one("version", 999, "999", "version 999")
    yield one("version", "two", "text")
    yield one("stage", 0, "0")
    yield one("stage", 4, "4")
    yield one("stage", [1, 2], "two of them")
    yield one("stage", 1.5, "a fraction")
    yield one("finished", "yes", "text")
    yield one("bands", 0, "0")
    yield one("bands", 10**9, "a thousand million")
    yield one("width", [0], "0")
    yield one("width", [-64], "negative")
    yield one("width", [64, 64], "two for one photo")
    yield one("height", [10**9], "a thousand million")
    yield one("height", "tall", "text")
    flat = np.array([[[0.0, 0, 0], [0, 0.0, 0]]])
    yield one("photoToImage", flat, "no scale", "scale")
    yield one("photoToImage", flat + np.nan, "not finite", "finite")
    yield one("photoToImage", np.zeros((0, 2, 3)), "no photo")
    yield one("photoToImage", np.zeros((2, 2)), "another shape")
    yield one("thumbnails", np.zeros((1, 8, 8, 3), np.uint8), "another shape")
    for name in ("identity", "expression", "albedo", "rotation", "translation", "focal", "light"):
        good = honest()[name]
        yield one(name, np.full_like(good, np.nan), "NaN", "not finite")
        yield one(name, np.full(good.shape, np.inf), "infinite", "not finite")
        yield one(name, np.full(good.shape, 1e30), "huge")
        yield one(name, good[..., None], "another dimension")
        yield one(name, np.concatenate([good, good]), "one photo too many")
        yield one(name, good.astype(str), "text")
    for name in ("material_diffuse", "material_specular", "material_roughness"):
        good = honest()[name]
        yield one(name, np.full_like(good, np.nan), "NaN", "not finite")
        yield one(name, np.full_like(good, -0.5), "negative")
        yield one(name, np.full_like(good, 7), "beyond its range")
        yield one(name, good[:, :, :0], "no texels")
        yield one(name, np.concatenate([good, good], -1), "more channels")
    yield Situation(
        "material: maps of two sizes",
        changed(material_specular=np.full((1, 16, 16, 1), 0.03, np.float32)),
        ("mine.npz", "material_specular", "(1, 16, 16, 1)"),
    )
    yield Situation(
        "material: values of other vertices",
        changed(material_diffuse=np.full((1, 77, 3), 0.4, np.float32)),
        ("mine.npz", "material_diffuse"),
    )
    yield one("confidence", np.full((1, 32, 32, 3), np.nan, np.float16), "NaN", "not finite")
    yield one("confidence", np.full((1, 16, 32, 3), 0.3, np.float16), "another size")
    yield Situation("another model", changed(model="flame"), ("mine.npz", "flame", "morphableModel"))
    yield Situation("a model's name of a book's length", changed(model="x" * 5000), ("mine.npz", "model"))


SITUATIONS = [*files(), *headers(), *values()]


@each(SITUATIONS)
def test_a_hostile_checkpoint(situation: Situation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(situation, tmp_path)
    assert not (tmp_path / "was_run").exists(), "nothing in a checkpoint is run"


READ = {
    "as it is": {},
    "double precision": {"rotation": np.ones((1, 3)), "light": np.zeros((1, LIGHT_LOBES, 3))},
    "whole numbers": {"rotation": np.array([[3, 0, 0]]), "albedo": np.zeros((1, 33), np.int64)},
    "the other byte order": {"translation": np.array([[0, 0, 600]], ">f4")},
    "columns first": {"light": np.asfortranarray(np.zeros((1, LIGHT_LOBES, 3), np.float32))},
    "no maps": {name: None for name in honest() if name.startswith(("material", "confidence"))},
    "no thumbnails": {"thumbnails": None},
    "the first version": {"version": 1, "width": 64, "height": 60, "photoToImage": [[0.5, 0, -1], [0, 0.5, 0]]},
}


@pytest.mark.parametrize("name", READ)
def test_an_unusual_checkpoint_is_read(name: str, tmp_path: Path) -> None:
    """What says the same in another way is no reason to refuse it; stages get the numbers they compute with."""
    answer = changed(**READ[name])(tmp_path)  # type: ignore[arg-type]
    assert answer == Answer(0, "")
    kept = Checkpoint.load(tmp_path / "mine.npz", _model())
    assert {getattr(kept.parameters, key).dtype for key in ("identity", "rotation", "light")} == {torch.float32}
    assert (kept.material is None) == (name == "no maps")
    assert kept.sizes.tolist() == [[64, 60]]


def resumed(folder: Path, thumbnail: np.ndarray | None, device: str = "cpu") -> Reconstruction:
    """An honest checkpoint in a run on a photo of the same crop with another thumbnail."""
    changed()(folder)
    checkpoint = Checkpoint.load(folder / "mine.npz", _model())
    frame = Frame(64, 60, torch.zeros(1, 2), honest()["photoToImage"][0], thumbnail)
    run = Reconstruction(_model(), checkpoint.parameters.to(device), (frame,), 9, 64)
    return checkpoint.resumed(run, 32)[0]


def test_a_checkpoint_of_another_person_in_the_same_crop_is_an_error(tmp_path: Path) -> None:
    alike = honest()["thumbnails"][0] + np.random.default_rng(1).integers(0, 5, (16, 16, 3)).astype(np.uint8)
    assert resumed(tmp_path, alike).confidence is not None
    assert resumed(tmp_path, None).confidence is not None
    other = alike.copy()
    other[4:12, 4:12] += 60  # the same surroundings, and another face in their middle
    with pytest.raises(CheckpointError, match=r"mine\.npz was made from another photo"):
        resumed(tmp_path, other)


def test_all_of_a_checkpoint_goes_to_the_runs_device(tmp_path: Path) -> None:
    there = resumed(tmp_path, None, "meta")
    assert there.material is not None and there.confidence is not None
    assert {there.material.diffuse.device.type, there.confidence.device.type} == {"meta"}
