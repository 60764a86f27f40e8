"""Worker processes: what they return, and what happens when one dies, hangs or is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import HELPERS, environment
from toy_work import ToyWork

from nextface.system.workers import run_in_workers

Job = int | str | tuple[str, int]


def run(jobs: list[Job], workers: int, folder: Path) -> dict[int, Job]:
    """Results by job number; a lost job's is its worker's exit code in words."""
    return dict(run_in_workers(jobs, workers, partial(ToyWork, folder), lambda job, code: f"{job}: {code}"))


def is_running(pid: int) -> bool:
    """Whether a process is there, and not merely waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.pid")]


def wait_until(true: object, seconds: float = 20.0) -> None:
    """Wait for a condition, a callable without arguments."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_every_job_is_done_and_every_worker_closed(tmp_path: Path) -> None:
    assert run([1, 2, 3, 4, 5], 2, tmp_path) == {0: 1, 1: 4, 2: 9, 3: 16, 4: 25}
    assert len(pids(tmp_path)) == 2
    assert len(list(tmp_path.glob("*.closed"))) == 2
    assert not any(is_running(pid) for pid in pids(tmp_path))


def test_a_worker_that_dies_costs_its_job_alone(tmp_path: Path) -> None:
    results = run([1, "dies", 3, 4], 1, tmp_path)
    assert results == {0: 1, 1: f"dies: {-signal.SIGKILL}", 2: 9, 3: 16}
    assert len(pids(tmp_path)) == 2, "another worker goes on"


def test_ctrl_c_reaches_the_jobs_in_hand_and_begins_no_other(tmp_path: Path) -> None:
    def press() -> None:
        wait_until(lambda: len(list(tmp_path.glob("*.busy"))) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    presser = threading.Thread(target=press)
    presser.start()
    results = run(["sleeps", "sleeps", 3, 4], 2, tmp_path)
    presser.join()
    assert results == {0: "stopped", 1: "stopped"}
    assert signal.getsignal(signal.SIGINT) is handler
    assert not any(is_running(pid) for pid in pids(tmp_path))


def test_a_second_ctrl_c_reaches_the_jobs_and_a_third_ends_them(tmp_path: Path) -> None:
    def press() -> None:
        for number in range(3):
            names = ("willing", "deaf") if number < 2 else ("deaf",)
            wait_until(lambda: all((tmp_path / f"{name}.{number}").exists() for name in names))  # noqa: B023
            os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    start = time.monotonic()
    results = run([("willing", 2), ("deaf", 9)], 2, tmp_path)
    presser.join()
    assert results == {0: "stopped after 2", 1: "('deaf', 9): None"}
    assert time.monotonic() - start < 60
    assert not any(is_running(pid) for pid in pids(tmp_path))


PARENT = """
import sys
from functools import partial
from pathlib import Path
from toy_work import ToyWork
from nextface.system.workers import run_in_workers
if __name__ == "__main__":
    list(run_in_workers(["sleeps"], 1, partial(ToyWork, Path(sys.argv[1])), lambda job, code: job))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    paths = os.pathsep.join([str(HELPERS), environment()["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment() | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: list(tmp_path.glob("*.busy")))
        parent.send_signal(number)
        parent.wait(10)
        wait_until(lambda: not any(is_running(pid) for pid in pids(tmp_path)), seconds=5)
    finally:
        parent.kill()
