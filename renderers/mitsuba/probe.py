"""Try a Mitsuba variant in a process of its own: a bad LLVM or driver can abort the process that it runs in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from nextface.errors import OutputError
from nextface.system.atomic import replacing
from nextface.system.paths import cache_folder
from nextface.system.python import child

TIMEOUT_SECONDS = 120

_TRIED_CODE = (
    "trial",
    "scene",
    "light_transport",
    "skin_bsdf",
    "environment_light",
    "random_numbers",
)


@dataclass(frozen=True)
class Verdict:
    """What a trial run found."""

    works: bool
    version: str  # of the LLVM library; empty where it is not known
    reason: str  # why it does not work; empty where it does


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
    key = "|".join(
        [variant, file_stamp, stamp, version("mitsuba"), version("drjit"), sys.executable, _digest_of_code()]
    )
    remembered = _read_cache()
    if key in remembered:
        return Verdict(**remembered[key])
    verdict = _try(variant, library, preloads)
    _write_cache({**remembered, key: asdict(verdict)})
    return verdict


def _try(variant: str, library: Path | None, preloads: Sequence[Path]) -> Verdict:
    program = "from renderers.mitsuba.trial import main; main(*sys.argv[1:])"
    try:
        run = subprocess.run(
            child(program, variant, str(library or ""), *preloads),
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
    if run.returncode < 0:
        error = next((line for line in lines if "ERROR" in line), last)
        return Verdict(False, "", f"its trial run was killed by signal {-run.returncode}: {error}")
    return Verdict(False, "", last)


def _digest_of_code() -> str:
    """A fingerprint of the code that a trial runs: another kernel deserves another trial."""
    folder = Path(__file__).parent
    content = b"".join((folder / f"{name}.py").read_bytes() for name in _TRIED_CODE)
    return hashlib.sha256(content).hexdigest()[:16]


def _read_cache() -> Mapping[str, dict]:
    try:
        content = json.loads((cache_folder() / "probes.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(content: Mapping[str, dict]) -> None:
    # a home that cannot be written only costs the trial run again
    with suppress(OutputError), replacing(cache_folder() / "probes.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1))
