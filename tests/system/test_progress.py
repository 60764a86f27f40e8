"""Progress: bars on a terminal, plain lines elsewhere, and one protocol for both."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nextface.system.progress import Bars, Lines, Progress, Silent, on_screen


def run_stage(progress: Progress, iterations: int, total: int) -> None:
    with progress.stage("Stage 2, statistical", total) as stage:
        for iteration in range(iterations):
            stage.advance(1.0 / (iteration + 1))
    progress.note("a note")
    progress.warn("[bold] is not markup")


def test_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    progress = on_screen(stream)
    assert isinstance(progress, Lines)
    run_stage(progress, 4, 10)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Stage 2, statistical: up to 10 iterations"
    assert lines[1].startswith("Stage 2, statistical: done after 4 iterations")
    assert lines[1].endswith("loss 0.25")
    assert lines[2:] == ["a note", "Warning: [bold] is not markup"]


def test_lines_say_loss_and_time_and_promise_no_end() -> None:
    stream = io.StringIO()
    run_stage(Lines(stream, every=0), 2, 10)
    assert "2 of at most 10, 0 s, loss 0.5" in stream.getvalue()
    assert "left" not in stream.getvalue()


def test_bars_on_a_terminal() -> None:
    stream = io.StringIO()
    run_stage(Bars(Console(file=stream, force_terminal=True, width=120)), 4, 10)
    text = stream.getvalue()
    for word in ("Stage 2, statistical", "4/4", "loss 0.25", "a note", "Warning: [bold] is not markup"):
        assert word in text


@pytest.mark.parametrize("progress", [Silent(), Lines(io.StringIO()), Bars(Console(file=io.StringIO()))])
def test_errors_pass_through(progress: Progress) -> None:
    with pytest.raises(ZeroDivisionError), progress.stage("a stage", 3):
        raise ZeroDivisionError
