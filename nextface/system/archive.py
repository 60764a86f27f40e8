"""Reading archives of arrays (.npz) that somebody else may have made, damaged or forged.

Nothing is unpickled, and nothing is allocated before its size is known: the archive's directory says how large
each member is, its own header says which array that holds, both must agree, and all of them together must stay
under a limit. A file of some megabytes that unfolds to gigabytes is refused by its directory.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy

MAX_BYTES = 1 << 30  # of all arrays together; the largest maps with everything beside them are 120 MB
MAX_MEMBERS = 1000
MAX_DIMENSIONS = 8
MAX_HEADER = 4096  # characters of a member's header
MAX_TEXT = 4096  # characters of one string
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, struct.error)
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as NumPy writes


class ArchiveError(ValueError):
    """What is wrong with an archive, in words that go on from its name: "is not ..."."""


def read_arrays(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Every array in an .npz file by its name: numbers, truth values and text, in this machine's byte order.

    Parameters
    ----------
    path: the file.
    max_bytes: of all its arrays together.

    Raises
    ------
    ArchiveError: the file is no such archive, is damaged, or holds something else or too much.
    OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(4)[:2] != b"PK":
                raise ArchiveError("is no archive of arrays (.npz)")
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, max_bytes)
                return {name: _array(archive, member) for name, member in members.items()}
    except ArchiveError:
        raise
    except (*_BROKEN, ValueError, OverflowError, RuntimeError) as error:  # zipfile's, on forged archives
        raise ArchiveError(f"is damaged ({error or type(error).__name__})") from None


def _members(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by their arrays' names, if together they are no larger than allowed."""
    listed = archive.infolist()
    if len(listed) > MAX_MEMBERS:
        raise ArchiveError(f"holds {len(listed)} arrays; at most {MAX_MEMBERS} are read")
    total = sum(member.file_size for member in listed)
    if total > max_bytes:
        raise ArchiveError(f"would unfold to {total / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are read")
    members: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in members:
            raise ArchiveError(f"holds {member.filename!r}, which is no array or is there twice")
        if member.compress_type not in _PACKED or member.flag_bits & 1:
            raise ArchiveError(f"holds {member.filename!r} packed or encrypted in a way that is not read")
        members[name] = member
    return members


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One member's array. Its header and the directory must say the same size."""
    with archive.open(member) as stream:
        shape, columns_first, kind = _header(stream, member.filename)
        count = math.prod(shape)
        expected = count * kind.itemsize
        if expected != member.file_size - stream.tell():
            raise ArchiveError(f"is damaged ({member.filename} holds another number of bytes than it says)")
        data = bytearray(stream.read(expected))
        if len(data) != expected:
            raise ArchiveError(f"is damaged ({member.filename} is cut short)")
        if stream.read(1):  # reading on to the end also compares the checksum
            raise ArchiveError(f"is damaged ({member.filename} is longer than it says)")
    values = np.frombuffer(data, dtype=kind)
    values = values.reshape(shape, order="F" if columns_first else "C")
    return np.ascontiguousarray(values.astype(kind.newbyteorder("="), copy=False)).reshape(shape)


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of an array, from the start of its file."""
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ArchiveError(f"holds {name} in a version of the format that is not read")
        shape, columns_first, kind = read(stream, max_header_size=MAX_HEADER)
    except (ArchiveError, zipfile.BadZipFile):
        raise
    except (ValueError, TypeError, KeyError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArchiveError(f"is damaged ({name}: {first})") from None
    if len(shape) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
        raise ArchiveError(f"is damaged ({name} has the shape {shape})")
    is_number = kind.kind in "biuf" and kind.itemsize <= 8 and kind.subdtype is None
    is_text = kind.kind == "U" and 0 < kind.itemsize <= 4 * MAX_TEXT
    if not (is_number or is_text):
        raise ArchiveError(f"holds {name} of the type {kind}; numbers and text are read, and nothing else")
    return shape, bool(columns_first), kind
