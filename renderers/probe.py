"""Try a Mitsuba variant in a process of its own, because a bad LLVM or driver can abort the process it runs in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

TIMEOUT_SECONDS = 120

# Traces rays against a triangle mesh, takes a minimum (the instruction that LLVM 15 and 16 cannot select on
# AVX-512 machines), and differentiates through a texture: what the renderer needs, in under two seconds.
_PROGRAM = """
import ctypes, sys
variant, library, *preloads = sys.argv[1:]
for path in preloads:
    ctypes.CDLL(path)
number = ""
if library:
    parts = [ctypes.c_uint() for _ in range(3)]
    ctypes.CDLL(library).LLVMGetVersion(*map(ctypes.byref, parts))  # absent before LLVM 16
    number = ".".join(str(part.value) for part in parts)
    if parts[0].value < 17:
        sys.exit(f"it is LLVM {number}; Dr.Jit needs 17 or newer")
import drjit, mitsuba
mitsuba.set_variant(variant)
scene = mitsuba.load_dict({"type": "scene", "cube": {"type": "cube"}, "light": {"type": "constant"}})
x = drjit.linspace(mitsuba.Float, -1.5, 1.5, 64)
texels = drjit.full(mitsuba.Float, 0.5, 8)
drjit.enable_grad(texels)
hit = scene.ray_intersect(mitsuba.Ray3f(mitsuba.Point3f(x, 0, 5), mitsuba.Vector3f(0, 0, -1)))
value = drjit.gather(mitsuba.Float, texels, mitsuba.UInt32(drjit.clip(x + 4, 0, 7)), hit.is_valid())
drjit.backward(drjit.minimum(value * value, 3.0 - x))
if not 1.0 < drjit.sum(drjit.grad(texels))[0] < 64.0:
    sys.exit("it computes wrong gradients")
print("VERSION=" + number)
"""


@dataclass(frozen=True)
class Verdict:
    """What a trial run found."""

    works: bool
    version: str  # of the LLVM library; empty where it is not known
    reason: str  # why it does not work; empty where it does


def cache_folder() -> Path:
    """The folder of the user's caches that belongs to this program (it may not exist yet)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nextface"


def probe(variant: str, library: Path | None = None, preloads: Sequence[Path] = (), stamp: str = "") -> Verdict:
    """Say whether a Mitsuba variant works here, from the cache where this was tried before.

    Parameters
    ----------
    variant: "llvm_ad_rgb" or "cuda_ad_rgb".
    library: the libLLVM to use; None for CUDA.
    preloads: shared libraries that `library` needs and would not find by itself.
    stamp: further text that a remembered verdict must match, such as a driver's version.
    """
    file_stamp = ""
    if library is not None:
        status = library.stat()
        file_stamp = f"{library}:{status.st_mtime_ns}:{status.st_size}"
    key = "|".join([variant, file_stamp, stamp, version("mitsuba"), version("drjit"), sys.executable])
    remembered = _read_cache()
    if key in remembered:
        return Verdict(**remembered[key])
    verdict = _try(variant, library, preloads)
    _write_cache({**remembered, key: asdict(verdict)})
    return verdict


def _try(variant: str, library: Path | None, preloads: Sequence[Path]) -> Verdict:
    environment = dict(os.environ)
    if library is not None:
        environment["DRJIT_LIBLLVM_PATH"] = str(library)
    arguments = [variant, str(library or ""), *map(str, preloads)]
    try:
        run = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Verdict(False, "", f"its trial run took longer than {TIMEOUT_SECONDS} s")
    if run.returncode == 0 and "VERSION=" in run.stdout:
        return Verdict(True, run.stdout.rsplit("VERSION=", 1)[1].strip(), "")
    lines = [line.strip() for line in (run.stderr + "\n" + run.stdout).splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if "LLVMGetVersion" in last:
        return Verdict(False, "", "it is older than LLVM 16; Dr.Jit needs 17 or newer")
    if run.returncode < 0:
        return Verdict(False, "", f"its trial run was killed by signal {-run.returncode}: {last}")
    return Verdict(False, "", last)


def _read_cache() -> Mapping[str, dict]:
    try:
        content = json.loads((cache_folder() / "probes.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(content: Mapping[str, dict]) -> None:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".json")
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=1)
        os.replace(name, folder / "probes.json")
    except OSError:
        pass  # a home that cannot be written only costs the trial run again
