"""The doctor: says what works, says how to mend the rest, and never falls ill itself."""

from __future__ import annotations

import sys

import pytest

import renderers
from nextface import doctor
from nextface.errors import MissingPartError
from nextface.models.basel2017.files import ALBEDO, SHAPE


@pytest.fixture(scope="module")
def findings() -> dict[str, doctor.Finding]:
    return {finding.part.strip(): finding for group in doctor.examine().values() for finding in group}


def test_every_part_is_examined(findings: dict[str, doctor.Finding]) -> None:
    assert {"mitsuba on a GPU", "mitsuba on the CPU", "vertex", "redner", "cpu", "cuda"} <= set(findings)
    assert {"mediapipe", "without MediaPipe", "fan", "open", "basel2017", "HEIC"} <= set(findings)
    assert all(finding.text for finding in findings.values())


def test_what_needs_nothing_always_works(findings: dict[str, doctor.Finding]) -> None:
    for part in ("vertex", "cpu", "without MediaPipe", "open", "JPEG, PNG, WebP"):
        assert findings[part].works, findings[part].text


def test_findings_agree_with_the_parts(findings: dict[str, doctor.Finding]) -> None:
    import torch

    from renderers.mitsuba.llvm import find_llvm

    assert findings["cuda"].works == torch.cuda.is_available()
    try:
        find_llvm()
    except MissingPartError as error:
        assert findings["mitsuba on the CPU"].text == str(error)
    else:
        assert findings["mitsuba on the CPU"].works


def test_basel_names_its_two_files(findings: dict[str, doctor.Finding]) -> None:
    assert not findings["basel2017"].works
    for name in (SHAPE.names[0], ALBEDO.names[0]):
        assert name in findings["basel2017"].text


def test_detectors_that_abort_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_DETECTORS", "import os; os.abort()")
    findings = doctor._detectors()
    assert len(findings) == 3
    assert not any(finding.works for finding in findings)


def test_a_broken_part_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "renderers.vertex.renderer", None)
    backend = renderers.backends()["vertex"]
    finding = doctor._try("vertex", backend.examinations["vertex"], backend.hint())
    assert not finding.works
    assert "renderers.vertex.renderer" in finding.text
    assert backend.hint() in finding.text


def test_report_is_plain_text_of_moderate_width() -> None:
    long = "Run `pip install something` and then " + "much more " * 20
    text = doctor.report(
        {"Group": [doctor.Finding("part", False, long), doctor.Finding("other", True, "Fine.")]}
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "  no    part" in text
    assert "  works other" in text
