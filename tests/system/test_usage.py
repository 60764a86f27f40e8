"""Processor time and memory of this process and its children, against what they are known to have used."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import environment

from nextface.system.usage import Usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of children")

BUSY = "import time\nwhile time.process_time() < 0.5: pass\n"
LARGE = "block = bytearray(200 * 1024**2)\nblock[::4096] = bytes([1]) * len(block[::4096])\n"
SAY = "print(flush=True)\n"
WAIT = "import sys\nsys.stdin.read()\n"


@contextmanager
def running(program: str) -> Iterator[None]:
    """A child that has done its work and waits."""
    words = [sys.executable, "-c", program + WAIT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield
        child.kill()


def test_time_of_this_process_is_counted_and_waiting_is_not() -> None:
    start, clock = Usage.now(), time.process_time()
    while time.process_time() < clock + 0.2:
        pass
    worked = Usage.now()
    time.sleep(0.3)
    assert worked.since(start).cpu_seconds == pytest.approx(0.2, abs=0.05)
    assert Usage.now().since(worked).cpu_seconds < 0.1
    assert Usage.now().since(worked).seconds >= 0.3


def test_a_childs_time_counts_once_whether_it_still_runs_or_has_ended() -> None:
    start = Usage.now()
    with running(BUSY + SAY):
        during = Usage.now().since(start)
    after = Usage.now().since(start)
    assert 0.45 < during.cpu_seconds < 0.9
    assert after.cpu_seconds == pytest.approx(during.cpu_seconds, abs=0.1)


@pytest.mark.parametrize(("start", "program"), [("Popen", BUSY + SAY + WAIT), ("run", BUSY)])
def test_a_grandchilds_time_counts_whether_it_still_runs_or_has_ended(start: str, program: str) -> None:
    parent = f"import subprocess, sys\nsubprocess.{start}([sys.executable, '-c', {program!r}])\n"
    parent += SAY if start == "run" else ""
    before = Usage.now()
    with running(parent):
        assert 0.45 < Usage.now().since(before).cpu_seconds < 0.9


def test_peak_memory_is_this_process_own_and_remembered_after_it_is_freed() -> None:
    program = """
from nextface.system.usage import Usage
start = Usage.now().peak_memory
block = bytes([1]) * (100 * 1024**2)
del block
print(start, Usage.now().peak_memory)
"""
    held = np.ones(200 * 1024**2, np.uint8)  # the child begins as a copy of this process
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    )
    start, end = map(float, run.stdout.split())
    assert start < 100 and start + 95 < end < start + 110
    assert held[-1] == 1


def test_memory_of_a_running_child_counts() -> None:
    before = Usage.now().peak_memory
    with running(LARGE + SAY):
        assert before + 195 < Usage.now().peak_memory < before + 250


def test_a_child_that_needed_little_adds_nothing() -> None:
    block = np.ones(200 * 1024**2, np.uint8)  # the child begins as a copy of this process
    before = Usage.now().peak_memory
    subprocess.run(["true"], check=True)
    assert Usage.now().peak_memory < before + 20
    assert block[-1] == 1
