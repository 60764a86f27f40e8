"""The quickstart notebook runs top to bottom, and leaves the files that the README promises."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
SMALL = {
    "maxResolution": 96,
    "textureResolution": 256,
    "iterStep1": 10,
    "iterStep2": 4,
    "iterStep3": 4,
    "rtTrainingSamples": 2,
    "rtSamples": 8,
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nbformat.NotebookNode, Path]:
    """The notebook after a run with small settings, and its output folder."""
    output = tmp_path_factory.mktemp("quickstart")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    # as a cell of its own after the notebook's parameters, which it overrides
    changed = nbformat.v4.new_code_cell(f"settings = {SMALL!r}\noutput = {str(output)!r}")
    notebook.cells.insert(tagged[0] + 1, changed)
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place).execute()
    return notebook, output


def pictures(notebook: nbformat.NotebookNode) -> list[np.ndarray]:
    """The pictures that the cells show, [H, W, 3] uint8."""
    shown = []
    for cell in notebook.cells:
        for result in cell.get("outputs", []):
            encoded = result.get("data", {}).get("image/png")
            if encoded:
                image = Image.open(io.BytesIO(base64.b64decode(encoded)))
                shown.append(np.asarray(image.convert("RGB")))
    return shown


def test_runs_top_to_bottom(executed: tuple[nbformat.NotebookNode, Path]) -> None:
    panels, maps, strip = pictures(executed[0])
    assert panels.shape[1] % 7 == 0
    assert maps.shape == (256, 512, 3)
    views = np.split(strip.astype(float), 4, axis=1)
    for number, view in enumerate(views):
        assert view.max() > 100
        assert all(np.abs(view - other).max() > 30 for other in views[:number])
    warm, cold = views[1], views[2]
    half = warm.shape[1] // 2
    assert warm[:, :half].mean() > 1.3 * warm[:, half:].mean()  # lit from the left of the picture
    assert cold[:, half:].mean() > 1.3 * cold[:, :half].mean()
    assert warm[..., 0].mean() > warm[..., 2].mean()


def test_leaves_the_files_that_the_readme_lists(executed: tuple[nbformat.NotebookNode, Path]) -> None:
    folder = executed[1] / "astronaut"
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## What comes out")[1].split("\n## ")[0]
    names = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)))
    assert len(names) > 15
    for name in names:
        assert (folder / name).exists(), f"{name} is in the README but was not written"
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written <= set(names), f"not in the README: {sorted(written - set(names))}"


def test_is_stored_without_results() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
