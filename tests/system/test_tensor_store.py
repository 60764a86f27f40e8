"""Large tensors that are kept for later, in memory or in files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nextface.system.tensor_store import TensorStore

MEGABYTE = 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int64])
def test_what_is_kept_comes_back(limit: int, kind: torch.dtype) -> None:
    values = torch.arange(-30, 30).to(kind).view(3, 4, 5) * 3
    kept = TensorStore(limit).keep(values.transpose(0, 2))
    for _ in range(2):
        found = kept()
        assert found.dtype == kind and torch.equal(found, values.transpose(0, 2))


def test_nothing_is_kept_of_empty_tensors() -> None:
    assert TensorStore(0).keep(torch.zeros(0, 3))().shape == (0, 3)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured on Linux")
def test_memory_stays_below_the_limit_and_one_tensor() -> None:
    size = 40 * MEGABYTE  # memory of such a size goes back to the system at once
    store, before = TensorStore(size), resident()
    kept = [store.keep(torch.full((size // 4,), float(number))) for number in range(8)]
    for number, one in enumerate(kept):
        assert float(one().mean()) == number
    assert resident() - before < 3 * size


def test_what_is_let_go_makes_room() -> None:
    store, values = TensorStore(8), torch.ones(2)
    first = store.keep(values)
    assert first() is not values and first().data_ptr() == values.data_ptr()
    assert store.keep(values)().data_ptr() != values.data_ptr()
    del first
    assert store.keep(values)().data_ptr() == values.data_ptr()


def test_no_folder_for_files_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    values = torch.arange(4.0)
    assert torch.equal(TensorStore(0).keep(values)(), values)


def test_files_have_no_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = TensorStore(0).keep(torch.arange(4.0))
    assert not any(tmp_path.iterdir())
    assert float(kept().sum()) == 6
