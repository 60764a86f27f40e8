"""What is asked of the operating system: files written in one step, streams, permissions, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import PORTRAIT, environment

from nextface import Config, reconstruct
from nextface.errors import OutputError
from nextface.runs.threads import excess_of_threads, renderer_threads, torch_threads
from nextface.system.atomic import TEMPORARY, filling, replacing, sweep
from nextface.system.streams import Lasting, quiet_stderr
from nextface.system.threads import available_cores, limited_threads
from nextface.system.usage import Usage

# Files


def test_files_get_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "new.txt") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "new.txt").stat().st_mode & 0o777 == 0o640


def test_writing_never_changes_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process: a file that another thread makes meanwhile would meet the change."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
    with replacing(tmp_path / "new.txt") as temporary:
        temporary.write_text("new")


def test_an_error_without_a_reason_of_the_system_says_its_own(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the encoder is unwell"), replacing(tmp_path / "new.png"):
        raise OSError("the encoder is unwell")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from nextface.system.atomic import filling, replacing
with replacing(Path(sys.argv[1])) as alone, filling(Path(sys.argv[1]).parent) as folder:
    with replacing(folder / "one of many.npz") as temporary:
        alone.write_bytes(b"half")
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_swept_up_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    left = tmp_path / "stage" / "left.npz"
    subprocess.run([sys.executable, "-c", KILLED, left], env=environment())
    assert [path.name[: len(TEMPORARY)] for path in left.parent.iterdir()] == 3 * [TEMPORARY]
    with filling(tmp_path) as folder:
        with replacing(folder / "good.txt") as temporary:
            temporary.write_text("good")
            sweep(tmp_path)
            assert temporary.exists()
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["good.txt", "stage"]


# Streams


def test_threads_that_silence_native_code_leave_standard_error_where_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def first() -> None:
        with quiet_stderr():
            first_is_in.set()
            second_is_in.wait(20)
            os.write(2, b"noise\n")

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(20)
    with quiet_stderr():  # ends after the first, which began earlier
        second_is_in.set()
        thread.join()
        os.write(2, b"noise\n")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_a_stream_outlives_its_reader() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        lasting = Lasting(stream)
        os.close(reading)
        for _ in range(3):
            print("nobody hears", file=lasting, flush=True)


# Threads


def settings() -> tuple[object, ...]:
    """What belongs to the whole process."""
    import cv2
    import torch
    from threadpoolctl import threadpool_info

    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    return torch.get_num_threads(), cv2.getNumThreads(), pools, dict(os.environ)


@pytest.mark.parametrize("renderer", ["vertex", "mitsuba"])
def test_the_callers_threads_and_variables_are_as_they_were(renderer: str, tmp_path: Path) -> None:
    import torch

    own = torch.get_num_threads()
    torch.set_num_threads(3)
    config = Config(renderer=renderer, maxResolution=64, rtSamples=1, textureResolution=256)
    try:
        before = settings()
        reconstruct(PORTRAIT, tmp_path, config, skip_stages=frozenset({1, 2, 3}))
        after = settings()
    finally:
        torch.set_num_threads(own)
    pools = after[2]
    assert isinstance(pools, dict) and isinstance(before[2], dict)
    known = {path: threads for path, threads in pools.items() if path in before[2]}  # others were loaded since
    assert (*after[:2], known, after[3]) == before


def test_dr_jits_threads_are_as_they_were() -> None:
    import renderers
    from renderers.settings import Settings

    drjit = pytest.importorskip("drjit")
    before = drjit.thread_count()
    drawing = renderers.create("mitsuba", Settings(device="cpu", threads=before + 1))
    assert drjit.thread_count() == before + 1
    drawing.close()
    assert drjit.thread_count() == before


def test_overlapping_limits_end_with_what_was_before_the_first() -> None:
    import torch
    from threadpoolctl import threadpool_info, threadpool_limits

    def blas() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    own = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        before = threadpool_limits(2, user_api="blas")
        with ThreadPoolExecutor(1) as other:
            first, second = limited_threads(1), limited_threads(1)
            first.__enter__()
            assert blas() == {1}
            other.submit(second.__enter__).result()
            first.__exit__(None, None, None)
            assert blas() == {2} and torch.get_num_threads() == 3
            other.submit(second.__exit__, None, None, None).result()
            assert blas() == {2} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(own)
        before.restore_original_limits()


def test_more_threads_than_cores_are_not_used_and_that_is_said() -> None:
    cores = available_cores()
    many = Config(threads=cores + 1, renderer="vertex")
    assert renderer_threads(many) == cores
    assert torch_threads(many) == cores
    told = excess_of_threads(many)
    assert told is not None and f"threads = {cores + 1}" in told and f"{cores} core" in told
    assert excess_of_threads(Config(threads=cores)) is None
    assert excess_of_threads(Config(threads=cores + 1, deterministic=True)) is None


def test_usage_needs_no_module_that_windows_lacks() -> None:
    program = (
        "import sys, psutil; sys.modules['resource'] = None\nimport nextface.system.usage as u; u.Usage.now()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())
    assert Usage.now().peak_memory > 0
