"""Pickled model files without their danger: arrays and plain containers are read, and nothing else is made.

A pickle is a program: it names things to import and call. Here it may name only what holds numbers (NumPy's
arrays, SciPy's sparse matrices, chumpy's arrays, containers), and none of these is imported or called:
stand-ins of this module take their place and check every size before anything is allocated.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from nextface.model_files.limits import WrongFileError, check_size, check_values

LARGEST_FILE = 512 << 20  # bytes; FLAME's take 50 to 110 MB
MOST_VALUES = 30_000_000  # of all arrays together; FLAME's have 7 million, and as many again as text
BYTES = 8  # of a value
MOST_OPERATIONS = 1_000_000  # of the pickle's program; FLAME's have some hundreds
CHUMPY = ("chumpy.ch", "chumpy.reordering", "chumpy.linalg")


def read_pickle(path: Path) -> dict[str, Any]:
    """The arrays of a pickled dictionary, dense where they were sparse or chumpy's, its numbers and its texts.

    Raises
    ------
    WrongFileError: it is no pickle, holds anything else, or says that it is absurdly large.
    OSError: it cannot be read.
    """
    check_size(path, LARGEST_FILE)
    data = path.read_bytes()
    _check_program(data)
    before = _made.set(0)
    try:
        found = _Reader(io.BytesIO(data), encoding="latin1").load()
        if not isinstance(found, dict):
            raise WrongFileError(f"holds no dictionary but {type(found).__name__}")
        return {str(name): _plain(value) for name, value in found.items() if isinstance(value, _KEPT)}
    except WrongFileError:
        raise
    except Exception as error:  # a forged pickle may fail anywhere in its program
        raise WrongFileError(f"is damaged ({type(error).__name__}: {error})") from None
    finally:
        _made.reset(before)


_made: ContextVar[int] = ContextVar("made", default=0)  # values, of the file that is being read


def _count(values: int, what: str) -> None:
    """Note values that are about to be made: a short program may make the same thing again and again.

    Raises
    ------
    WrongFileError: they are too many, alone or with what was made before.
    """
    check_values(values, MOST_VALUES, what)
    made = _made.get() + values
    check_values(made, MOST_VALUES, "all of it")
    _made.set(made)


def _check_program(data: bytes) -> None:
    """Refuse what would allocate more than the file holds: counted bytes and places in the memo.

    Raises
    ------
    WrongFileError: it would, or it is no pickle.
    """
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if number > MOST_OPERATIONS:
                raise WrongFileError("is a pickle of too many operations")
            if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > MOST_OPERATIONS:
                raise WrongFileError("is a pickle that asks for an absurd amount of memory")
    except WrongFileError:
        raise
    except Exception as error:
        raise WrongFileError(f"is no pickle, or a damaged one ({error})") from None


class _Sealed(type):
    """Of classes that a pickle cannot change: it may set attributes of whatever it names."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise WrongFileError("wants to change this program")


class _Type(metaclass=_Sealed):
    """Stands in for `numpy.dtype`."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def numpy(self) -> np.dtype:
        name = self.name.lstrip("<>=|")
        if not name or name[0] not in "biuf" or not name[1:].isdigit() or int(name[1:]) > 8:
            raise WrongFileError(
                f"holds an array of the type {self.name!r}; numbers are read, and nothing else"
            )
        return np.dtype(name).newbyteorder(">" if self.order == ">" else "<")


class _Array(metaclass=_Sealed):
    """Stands in for `numpy.ndarray`."""

    values: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, data = state
        count = math.prod(int(size) for size in shape)
        _count(count, "an array")
        dtype = kind.numpy()
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        if len(raw) != count * dtype.itemsize:
            raise WrongFileError("is damaged (an array holds another number of bytes than it says)")
        values = np.frombuffer(raw, dtype).reshape(shape, order="F" if columns_first else "C")
        self.values = np.ascontiguousarray(values.astype(dtype.newbyteorder("=")))


class _State(metaclass=_Sealed):
    """Stands in for an object whose state is a dictionary: chumpy's and SciPy's arrays."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):  # slots beside the dictionary
            state = next((part for part in state if isinstance(part, dict)), {})
        if not isinstance(state, dict):
            raise WrongFileError("holds an array without its state")
        self.state = state


class _Chumpy(_State):
    """A chumpy array: its values are under "x"."""

    def numpy(self) -> np.ndarray:
        if "x" not in self.state:
            raise WrongFileError("holds a chumpy expression in place of an array")
        return _array(self.state["x"])


class _Sparse(_State):
    """A compressed sparse matrix."""

    by_columns = True

    def numpy(self) -> np.ndarray:
        parts = {name.lstrip("_"): value for name, value in self.state.items()}
        try:
            rows, columns = (int(size) for size in parts["shape"])
            values, inner, starts = (_array(parts[name]) for name in ("data", "indices", "indptr"))
        except (KeyError, TypeError, ValueError):
            raise WrongFileError("holds a sparse matrix without its parts") from None
        _count(rows * columns, "a sparse matrix")
        dense = np.zeros((rows, columns))
        outer = columns if self.by_columns else rows
        if (
            len(starts) != outer + 1
            or (np.diff(starts) < 0).any()
            or starts[0] != 0
            or starts[-1] != len(inner)
        ):
            raise WrongFileError("holds a damaged sparse matrix")
        numbers = np.repeat(np.arange(outer), np.diff(starts))
        place = (inner, numbers) if self.by_columns else (numbers, inner)
        if len(inner) and (inner.min() < 0 or inner.max() >= (rows if self.by_columns else columns)):
            raise WrongFileError("holds a damaged sparse matrix")
        np.add.at(dense, place, values)
        return dense


class _SparseRows(_Sparse):
    by_columns = False


def _new_array(kind: Any, shape: Any, _: Any) -> _Array:
    """Stands in for `numpy.core.multiarray._reconstruct`, which makes an array that gets its state later."""
    if kind is not _Array or any(shape):
        raise WrongFileError("holds an array that is made in an unusual way")
    return _Array()


def _scalar(kind: Any, data: Any) -> Any:
    """Stands in for `numpy.core.multiarray.scalar`."""
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, kind.numpy(), 1)[0].item()


def _new_object(kind: Any, *_: Any) -> Any:
    """Stands in for `copyreg._reconstructor`, which makes an object without its state."""
    if not (isinstance(kind, type) and issubclass(kind, _State)):
        raise WrongFileError("holds an object that is no array")
    return kind()


def _encoded(text: str, how: str = "latin1") -> bytes:
    """Stands in for `_codecs.encode`, with which Python 3 writes bytes into old pickles."""
    _count(len(text) // BYTES, "a text")
    return text.encode(how if how in ("latin1", "ascii", "utf-8") else "latin1")


def _container(kind: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for a container's class, which copies what it is called with."""

    def made(*content: Any) -> Any:
        _count(sum(len(one) for one in content), "a container")
        return kind(*content)

    return made


class _Nothing(metaclass=_Sealed):
    """Stands in for `object`, a base class that is named and never made."""


class _Function(metaclass=_Sealed):
    """A function that a pickle may call and cannot change."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise WrongFileError("wants to change this program")

    def __setstate__(self, state: Any) -> None:
        raise WrongFileError("wants to change this program")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _Function(_encoded),
    ("collections", "OrderedDict"): _Function(_container(OrderedDict)),
    **{(module, "object"): _Nothing for module in ("builtins", "__builtin__")},
    **{
        (module, name): _Function(_container(kind))
        for module in ("builtins", "__builtin__")
        for name, kind in (("dict", dict), ("list", list), ("tuple", tuple), ("set", set))
    },
    **{(module, "_reconstructor"): _Function(_new_object) for module in ("copyreg", "copy_reg")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _Function(_new_array)), ("scalar", _Function(_scalar)))
    },
    **{
        (f"scipy.sparse.{module}", f"{kind}_{what}"): stand_in
        for kind, stand_in in (("csc", _Sparse), ("csr", _SparseRows))
        for module in (kind, f"_{kind}")
        for what in ("matrix", "array")
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name)) or (_Chumpy if module in CHUMPY else None)
        if found is None:
            raise WrongFileError(
                f"is a pickle that wants to run {module}.{name}, which no face model needs. Nothing of it was "
                "run; do not load it with other programs either"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise WrongFileError("refers to objects outside the file")


def _array(value: Any) -> np.ndarray:
    """The values of a stand-in for an array. Lists are refused: a few bytes can make them of any length."""
    found = _plain(value) if isinstance(value, _Array | _Chumpy) else None
    if not isinstance(found, np.ndarray):
        raise WrongFileError("holds something else where an array's values belong")
    return found


_KEPT = (_Array, _Chumpy, _Sparse, int, float, str)


def _plain(value: Any) -> Any:
    """A value without stand-ins; containers are not looked into."""
    if isinstance(value, _Array):
        return value.values
    return value.numpy() if isinstance(value, _Chumpy | _Sparse) else value
