"""The speed benchmark: its arithmetic against known answers, and small runs of it through the command line."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PORTRAIT
from PIL import Image
from typer.testing import CliRunner

import benchmarks.speed.__main__ as speed
from benchmarks.speed import iteration, runs
from benchmarks.speed.figures import extrapolated, growth, typical
from benchmarks.speed.runs import (
    ESTIMATED,
    FEW,
    MORE,
    NOT_ENLARGED,
    ORIGINAL,
    PLAIN,
    SECOND,
    Case,
    Enlarged,
    RunFailedError,
    estimate,
    measure,
    run_python,
    warm_up,
)
from benchmarks.speed.tables import APART, tables
from nextface.cli import app

FACE = 162  # pixels of the portrait's crop
QUICK = ("iterStep1=12", "iterStep2=2", "iterStep3=2", "rtSamples=4", "report=False")
COST = {"stage1": 1.0, "stage2": 40.0, "stage3": 10.0, "psnrStage2": 2.0, "output": 3.0, "rest": 4.0}


def run_of(scale: float = 1.0, call: str = "today", peaks: tuple[float, ...] = ()) -> dict[str, Any]:
    """A run whose parts took `scale` times COST CPU-seconds, and half as many seconds."""
    parts = {part: {"cpuSeconds": scale * cost, "seconds": scale * cost / 2} for part, cost in COST.items()}
    for part, peak in zip(COST, peaks, strict=False):
        parts[part]["peakMemoryMB"] = peak
    whole = sum(COST.values())
    parts["all"] = {"cpuSeconds": scale * whole, "seconds": scale * whole / 2, "peakMemoryMB": 700.0}
    iterations = {"stage1": 15, "stage2": 150, "stage3": 100}
    return {
        "call": call, "load": [0.5, 2.5], "parts": parts, "pixels": 100, "iterations": iterations, "psnr": 30.0
    }  # fmt: skip


def entry_of(case: Case, *runs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case.name: {**case.description(), "enlarged": 1.0, "runs": list(runs or [run_of()])}}


CASE = Case(PORTRAIT, "mitsuba", 256, 512)


def row(text: str, *words: str) -> list[str]:
    """The cells of the one line of a table that has all the words."""
    (line,) = [
        line for line in text.splitlines() if line.startswith("| ") and all(word in line for word in words)
    ]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_growth_of_a_power_is_its_exponent() -> None:
    work = [4.0, 1.0, 16.0, 100.0]
    found = growth(work, [3 * amount**1.3 for amount in work])
    assert (found.exponent, found.last) == pytest.approx((1.3, 1.3))


def test_fixed_costs_hide_growth_less_in_the_last_step() -> None:
    found = growth([1.0, 4.0, 16.0], [100 + amount for amount in (1, 4, 16)])
    assert 0 < found.exponent < found.last < 1


@pytest.mark.parametrize(
    ("work", "cost"), [([1.0], [1.0]), ([2.0, 2.0], [1.0, 3.0]), ([1.0, 2.0], [0.0, 1.0]), ([1.0, 2.0], [1.0])]
)
def test_growth_needs_amounts_that_differ_and_costs_above_zero(work: list[float], cost: list[float]) -> None:
    with pytest.raises(ValueError):
        growth(work, cost)


def test_extrapolation_follows_the_line_and_noise_does_not_make_it_fall() -> None:
    assert extrapolated((8, 7 + 8 * 0.25), (24, 7 + 24 * 0.25), 400) == pytest.approx(7 + 400 * 0.25)
    assert extrapolated((8, 5.0), (24, 4.9), 400) == 4.9


def test_figures_are_medians_over_runs_of_sums_over_parts() -> None:
    runs = [run_of(1.0, peaks=(10, 30, 20)), run_of(9.0, peaks=(10, 50, 60)), run_of(2.0, peaks=(10, 40, 45))]
    assert typical(runs, "cpuSeconds", ("stage2", "stage3")) == 100.0
    assert typical(runs, "seconds", ("stage2", "stage3")) == 50.0
    assert typical(runs, "peakMemoryMB", ("stage2", "stage3")) == 45.0  # not a sum: memory is used again
    assert typical(runs, "peakMemoryMB", ("rest",)) is None
    assert typical([], "seconds", ("all",)) is None


def test_an_estimate_scales_stages_with_iterations_and_pictures_with_samples() -> None:
    def parts(count: dict[str, int]) -> dict[str, dict[str, float]]:
        stage2, stage3 = 2 + 0.5 * count["iterStep2"], 1 + 0.25 * count["iterStep3"]
        used = {"stage1": 3.0, "stage2": stage2, "stage3": stage3, "output": 1 + 0.01 * count["rtSamples"]}
        used |= {"psnrStage2": 0.002 * count["rtSamples"], "rest": 5.0}
        used["all"] = sum(used.values())
        return {part: {"seconds": 2 * cost, "cpuSeconds": cost} for part, cost in used.items()}

    full = {"iterStep2": 400, "iterStep3": 100, "rtSamples": 4000}
    found = estimate(parts(FEW), parts(MORE), full)
    for part, used in parts(full).items():
        assert found[part] == pytest.approx(used), part


def test_cases_that_differ_have_names_and_settings_that_differ() -> None:
    others = [
        replace(CASE, photo=Path("else.png")), replace(CASE, backend="vertex"), replace(CASE, size=512),
        replace(CASE, maps=256), replace(CASE, way=PLAIN), replace(CASE, changes=("seed=3",)),
    ]  # fmt: skip
    assert len({case.name for case in [CASE, *others]}) == 1 + len(others)
    assert CASE.settings == {"renderer": "mitsuba", "maxResolution": 256, "textureResolution": 512}
    assert replace(CASE, way=PLAIN).settings == {**CASE.settings, "lightTransfer": False}
    assert replace(CASE, way=ORIGINAL, changes=("iterStep2=7",)).settings["iterStep2"] == "7"


def test_ratios_leave_pictures_out_and_say_when_cases_were_measured_apart() -> None:
    plain, vertex = replace(CASE, way=PLAIN), replace(CASE, backend="vertex")
    cases = {**entry_of(CASE), **entry_of(plain, run_of(6.0)), **entry_of(vertex, run_of(0.1))}
    cells = row(tables(cases, {}), "mitsuba, plain loops / mitsuba, default")
    assert cells[4:8] == ["300.0 / 50.0", "**6.0**", "150.0 / 25.0", "**6.0**"]
    assert cells[8:10] == ["360.0 / 60.0", "**6.0**"]
    assert APART not in tables(cases, {}) and "/ vertex" not in tables(cases, {})
    cases |= entry_of(plain, run_of(6.0, call="yesterday"))
    assert APART in tables(cases, {})


def test_the_originals_settings_are_compared_with_the_default_and_an_estimate_says_so() -> None:
    estimated = replace(CASE, backend="redner", way=ESTIMATED)
    text = tables({**entry_of(CASE), **entry_of(estimated, run_of(30.0))}, {})
    cells = row(text, f"redner, {ESTIMATED} / mitsuba, default")
    assert cells[10] == "900.0 / 30.0" and cells[11] == "**30.0**"
    assert row(text, "redner", ESTIMATED, "1800.0 (900.0)")[-3] == "-"  # its iterations were not run


def test_memory_of_a_part_is_known_where_it_needed_more_than_before() -> None:
    text = tables(entry_of(CASE, run_of(peaks=(500, 500, 800, 650, 900))), {})
    memory = text[text.index("Peak memory") :]
    assert row(memory, "mitsuba")[5:] == ["500", "at most 500", "800", "900", "700"]


def test_growth_is_told_by_pixels_and_by_texels() -> None:
    cases: dict[str, dict[str, Any]] = {}
    for size in (256, 512, 1024):
        cases |= entry_of(replace(CASE, size=size), run_of((size / 256) ** 2) | {"pixels": size**2})
    for maps in (256, 1024):
        cases |= entry_of(replace(CASE, maps=maps), run_of(maps / 512))
    text = tables(cases, {})
    assert row(text, "256, 512, 1024 px")[2:4] == ["50.0, 200.0, 800.0", "1.00 (1.00)"]
    assert row(text, "256, 512, 1024 texels")[2:4] == ["25.0, 50.0, 100.0", "0.50 (0.50)"]


def test_photos_are_listed_with_their_mean_where_there_are_several() -> None:
    other = entry_of(replace(CASE, photo=Path("b.jpg")), run_of(3.0) | {"psnr": 34.0})
    assert "Photos" not in tables(other, {})
    text = tables({**entry_of(CASE), **other}, {})
    assert row(text, "mean of 2")[-3:] == ["32.00", "60.0", "120.0"]


def test_iterations_are_compared() -> None:
    text = tables({}, {"256 px": {"diffuse": {"pathReplay": 200.0, "transfer": 5.0}}})
    assert row(text, "diffuse") == ["256 px, diffuse", "200.0", "5.0", "**40.0**"]


def test_a_run_that_fails_tells_why() -> None:
    with pytest.raises(RunFailedError, match=r"exit code 1 .*\n.*no such luck"):
        run_python(["-c", "import sys; sys.exit('no such luck')"])


def printed(main: Callable[[], None], words: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """What a benchmark's `main` prints, called with words as its command line; what it starts is real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        main()
    return capsys.readouterr().out


def test_the_command_measures_photos_once_and_keeps_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "speed.json"
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / PORTRAIT.name).symlink_to(PORTRAIT)
    words: list[str | Path] = [
        "--sizes",
        "--photos",
        photos,
        "--backends",
        "vertex",
        "--maps",
        "256",
        "--json",
        kept,
    ]
    words += [word for change in QUICK for word in ("--set", change)]
    said = printed(speed.main, words, capsys)
    ((name, entry),) = json.loads(kept.read_text())["cases"].items()
    assert name == Case(PORTRAIT, "vertex", 256, 256, NOT_ENLARGED, QUICK).name
    assert entry["enlarged"] == 1
    (measured,) = entry["runs"]
    assert measured["iterations"]["stage2"] == measured["iterations"]["stage3"] == 2
    assert measured["pixels"] == FACE**2
    parts = measured["parts"]
    assert set(parts) == {*COST, "all"}
    for figure in ("seconds", "cpuSeconds"):
        sums = sum(used[figure] for part, used in parts.items() if part != "all")
        assert parts["all"][figure] == pytest.approx(sums) and min(used[figure] for used in parts.values()) > 0
    assert 200 < parts["stage3"]["peakMemoryMB"] <= parts["all"]["peakMemoryMB"] < 4000
    assert row(said, "vertex", "2 + 2")[-2] == "1"

    before = kept.read_text()
    again = printed(speed.main, words, capsys)
    assert kept.read_text() == before
    assert again.strip() == said[said.index("CPU-seconds (and") :].strip()

    kept.write_text(before.replace('"cores": ', '"cores": 1'))
    with pytest.raises(SystemExit, match="another machine"):
        printed(speed.main, words, capsys)


def test_a_photo_is_enlarged_until_its_face_has_the_pixels_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two runs that it takes are commands, but in this process."""

    def run_here(words: Sequence[str]) -> tuple[object, str]:
        run = CliRunner().invoke(app, words[2:])
        assert words[:2] == ["-m", "nextface"] and run.exit_code == 0, run.output
        return resource.getrusage(resource.RUSAGE_SELF), run.output

    monkeypatch.setattr(runs, "run_python", run_here)
    small = tmp_path / "small.png"
    with Image.open(PORTRAIT) as portrait:
        portrait.resize((portrait.width * 5 // 8, portrait.height * 5 // 8)).save(small)
    size = FACE * 5 // 8 + 10
    photo = warm_up(Case(small, "vertex", size, 256, changes=QUICK), Enlarged(small), tmp_path)
    with Image.open(photo.file) as larger, Image.open(small) as original:
        assert larger.width == round(photo.factor * original.width) < 1.3 * original.width
    with Image.open(tmp_path / photo.file.stem / "input_0.png") as fitted:
        assert max(fitted.size) == size


def test_a_second_call_in_one_process_is_cheaper_than_a_command(tmp_path: Path) -> None:
    case = Case(PORTRAIT, "vertex", 64, 256, SECOND, QUICK)
    parts = measure(case, PORTRAIT, tmp_path)["parts"]
    assert 0 < parts["rest"]["cpuSeconds"] < 2.5  # neither a Python's start nor imports
    assert parts["all"]["cpuSeconds"] > parts["stage2"]["cpuSeconds"] > 0


def test_one_iteration_by_light_transfer_is_several_times_cheaper_than_by_path_replay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    threads = torch.get_num_threads()
    said = printed(iteration.main, ["--size", "96", "--repeats", "5"], capsys)
    torch.set_num_threads(threads)
    times = {kind: found["pathReplay"] / found["transfer"] for kind, found in json.loads(said).items()}
    assert (
        times["diffuse"] > 6 and times["all maps"] > 2.5
    )  # 14 and 5 were measured, and more in larger pictures
