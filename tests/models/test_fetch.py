"""`nextface model fetch`: over HTTP from servers on this machine, whole, broken off, changed, and not there."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from loopback import file_handler, git_handler, serving
from typer.testing import CliRunner

from nextface.cli import app
from nextface.model_files.git_folder import GitFolder
from nextface.model_files.offer import Offer, Source
from nextface.model_files.web_file import WebFile
from nextface.models import gnm, ict
from nextface.models.registry import face_models

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
PINNED = hashlib.sha256(CONTENT).hexdigest()
MESH = "v 0 0 0\n" * 2000
Offered = Callable[[str, Source], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder of model files, not there yet."""
    return tmp_path / "files"


@pytest.fixture
def offer_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Offered]:
    """Lets a model's files come from another place; the offer's licence stays."""

    def offered(name: str, source: Source) -> None:
        module = {"gnm": gnm, "ict": ict}[name]
        entry = module.MODEL
        assert entry.offer is not None
        known: Offer = entry.offer()
        monkeypatch.setattr(module, "MODEL", replace(entry, offer=lambda: replace(known, source=source)))
        face_models.cache_clear()

    yield offered
    monkeypatch.undo()
    face_models.cache_clear()


def fetch(name: str, folder: Path, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["model", "fetch", name, "--models", str(folder), *words], input=answer)


def refused(result: Result, folder: Path, *words: str) -> None:
    """It ends with the exit code for what a user can mend, says so, and leaves nothing behind."""
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_file_is_fetched_after_its_licence_was_agreed_to(folder: Path, offer_of: Offered) -> None:
    with serving(file_handler(CONTENT)) as (url, server):
        offer_of("gnm", WebFile(f"{url}/head.npz", len(CONTENT), PINNED, "gnm_head.npz"))
        for answer in ("n\n", ""):  # somebody who declines; a script without anybody
            refused(
                fetch("gnm", folder, answer=answer),
                folder,
                "Apache License 2.0",
                "Google",
                "Nothing was fetched",
            )
        assert server.asked == [], "nothing is fetched without being asked for"
        taken = fetch("gnm", folder, answer="y\n")
        assert taken.exit_code == 0, taken.output
        assert (folder / "gnm_head.npz").read_bytes() == CONTENT
        assert [path.name for path in folder.iterdir()] == ["gnm_head.npz"]
        again = fetch("gnm", folder, "--yes")
        assert again.exit_code == 0 and "is there already" in again.output
        assert server.asked == ["/head.npz"], "it is not fetched twice"
        (folder / "gnm_head.npz").write_text("mine")
        assert fetch("gnm", folder, "--yes").exit_code == 2
        assert (folder / "gnm_head.npz").read_text() == "mine"


def test_another_file_than_is_pinned_is_not_kept(folder: Path, offer_of: Offered) -> None:
    with serving(file_handler(CONTENT[:-1] + b"!")) as (url, _):
        offer_of("gnm", WebFile(url, len(CONTENT), PINNED, "gnm_head.npz"))
        refused(
            fetch("gnm", folder, "--yes"), folder, "another file than is pinned", "By hand: download", PINNED
        )


@pytest.mark.parametrize(
    ("size", "cut", "status", "said"),
    [
        (len(CONTENT), 2_000_000, 200, "broke off after 2,000,000 of 3,072,000 bytes"),
        (len(CONTENT) - 5, None, 200, "sends more than the 3,071,995 bytes"),
        (len(CONTENT), None, 404, "answers 404 Not Found"),
    ],
)
def test_a_file_that_does_not_come_whole(
    folder: Path, offer_of: Offered, size: int, cut: int | None, status: int, said: str
) -> None:
    with serving(file_handler(CONTENT)) as (url, server):
        server.cut, server.status = cut, status
        offer_of("gnm", WebFile(url, size, PINNED, "gnm_head.npz"))
        refused(fetch("gnm", folder, "--yes"), folder, said, "By hand")


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_without_a_network_the_way_by_hand_is_told(folder: Path, offer_of: Offered) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    offer_of("gnm", WebFile(url, 1, PINNED, "gnm_head.npz"))
    refused(fetch("gnm", folder, "--yes"), folder, "cannot be reached", "By hand: download", str(folder))
    offer_of("ict", GitFolder(url, "0" * 40, "FaceXModel", "LICENSE", "little"))
    refused(fetch("ict", folder, "--yes"), folder, "git fetch says", "By hand: clone", str(folder))


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A repository with the model's folder in an earlier commit, and that commit's name."""
    folder = tmp_path / "served" / "kit"
    (folder / "FaceXModel").mkdir(parents=True)
    (folder / "FaceXModel" / "generic_neutral_mesh.obj").write_text(MESH)
    (folder / "LICENSE").write_text("You may.")
    (folder / "large.bin").write_bytes(CONTENT)
    git(folder, "init", "--quiet")
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):  # as public places have them
        git(folder, "config", setting, "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    pinned = git(folder, "rev-parse", "HEAD")
    (folder / "FaceXModel" / "generic_neutral_mesh.obj").write_text("changed since")
    git(folder, "commit", "--quiet", "--all", "--message", "second")
    return folder, pinned


def test_a_folder_is_fetched_as_it_was_at_its_commit(
    folder: Path, offer_of: Offered, repository: tuple[Path, str]
) -> None:
    served, pinned = repository
    with serving(git_handler(served.parent)) as (url, server):
        offer_of("ict", GitFolder(f"{url}/kit/.git", pinned, "FaceXModel", "LICENSE", "little"))
        taken = fetch("ict", folder, "--yes")
        assert taken.exit_code == 0, taken.output
        assert "MIT licence" in taken.output
        place = folder / "FaceXModel"
        assert (place / "generic_neutral_mesh.obj").read_text() == MESH
        assert (place / "LICENSE").read_text() == "You may."
        assert sorted(path.name for path in place.iterdir()) == ["LICENSE", "generic_neutral_mesh.obj"]
        assert [path.name for path in folder.iterdir()] == ["FaceXModel"]
        asked = len(server.asked)
        again = fetch("ict", folder, "--yes")
        assert again.exit_code == 2 and "is there already" in again.output
        assert len(server.asked) == asked


def test_a_folder_that_is_not_the_pinned_one_or_breaks_off(
    folder: Path, offer_of: Offered, repository: tuple[Path, str]
) -> None:
    served, pinned = repository
    with serving(git_handler(served.parent)) as (url, server):
        other = GitFolder(f"{url}/kit/.git", "1" * 40, "FaceXModel", "LICENSE", "little")
        offer_of("ict", other)
        refused(fetch("ict", folder, "--yes"), folder, "git fetch says", "By hand: clone")
        server.cut = 150
        offer_of("ict", replace(other, commit=pinned))
        refused(fetch("ict", folder, "--yes"), folder, "By hand: clone")


def test_what_cannot_be_fetched_says_so(folder: Path) -> None:
    refused(fetch("flame", folder, "--yes"), folder, "flame cannot be fetched", "docs/models.md")
    refused(fetch("open", folder, "--yes"), folder, "ships with this package")
    refused(fetch("waxwork", folder, "--yes"), folder, "No face model is named waxwork")


def test_what_is_pinned_is_whole() -> None:
    """One content each: a checksum, a commit; and over an encrypted connection."""
    offers = {name: entry.offer() for name, entry in face_models().items() if entry.offer}
    assert set(offers) == {"gnm", "ict"}
    file, folder = offers["gnm"].source, offers["ict"].source
    assert isinstance(file, WebFile) and isinstance(folder, GitFolder)
    assert len(bytes.fromhex(file.sha256)) == 32 and len(bytes.fromhex(folder.commit)) == 20
    assert file.url.startswith("https://") and folder.repository.startswith("https://")
