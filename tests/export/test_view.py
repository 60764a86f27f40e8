"""`nextface view`: the pages of results, and nothing else of the machine, to this machine alone."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import made_once
from made_result import make_result
from typer.testing import CliRunner

from nextface.cli import app
from nextface.export.report.index import REPORT, Outcome, write_index
from nextface.export.report.server import Results, loopback_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of an older version, without a report, beside one with a name that must be quoted."""

    def make(folder: Path) -> dict[str, object]:
        make_result(folder / "kim")
        shutil.copytree(folder / "kim", folder / "a b<i>")
        (folder / "a b<i>" / REPORT).write_text("<p>written")
        (folder / "secret.txt").write_text("secret")
        return {}

    return made_once(tmp_path_factory, "results-to-view", make)[0]


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    with loopback_server(Results(folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield running.server_address[1]
        finally:
            running.shutdown()


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with serving(folder) as port:
        yield port


def ask(
    port: int, address: str, method: str = "GET", host: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content of an address, which is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, address, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_index_leads_to_every_report(port: int) -> None:
    status, headers, content = ask(port, "/")
    page = content.decode()
    assert status == 200
    assert "Set-Cookie" not in headers
    assert 'href="kim/"' in page
    assert 'href="a%20b%3Ci%3E/"' in page
    assert "<i>" not in page
    assert ask(port, "/a%20b%3Ci%3E/")[2] == b"<p>written"
    assert ask(port, "/kim/render_0.png")[2][:4] == b"\x89PNG"


def test_an_older_result_gets_its_page_now(port: int, folder: Path) -> None:
    status, _, content = ask(port, "/kim/")
    assert status == 200
    assert b"How near it came" in content and b'id="head"' in content
    assert not (folder / "kim" / REPORT).exists()  # looking changes nothing


@pytest.mark.parametrize(
    "address",
    [
        "/secret.txt",
        "/../secret.txt",
        "/kim/../secret.txt",
        "/kim/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/kim/metrics.json",
        "/kim/checkpoints/stage3.npz",
        "/nobody/",
        "/kim//etc/passwd",
        "//etc/passwd",
        "/kim/%00",
    ],
)
def test_nothing_else_is_served(port: int, address: str) -> None:
    status, _, content = ask(port, address)
    assert status == 404
    assert b"secret" not in content


def test_damaged_figures_are_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "kim", tmp_path / "kim")
    (tmp_path / "kim" / "metrics.json").write_text('{"warnings": 3}')
    with serving(tmp_path) as port:
        status, _, content = ask(port, "/")
        assert status == 200 and b"warnings is not a list of texts" in content
        status, _, content = ask(port, "/kim/")
        assert status == 500 and b"warnings is not a list of texts" in content


def test_links_that_lead_out_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "kim", tmp_path / "in" / "kim")
    (tmp_path / "in" / "kim" / REPORT).symlink_to(folder / "secret.txt")
    (tmp_path / "in" / "away").symlink_to(folder / "kim")
    with serving(tmp_path / "in") as port:
        assert ask(port, "/away/")[0] == 404
        assert b"secret" not in ask(port, "/kim/")[2]


def test_other_names_and_methods_are_refused(port: int) -> None:
    assert ask(port, "/", host="evil.example")[0] == 403
    assert ask(port, "/", method="POST")[0] == 501
    status, headers, content = ask(port, "/", method="HEAD")
    assert (status, content) == (200, b"")
    assert int(headers["Content-Length"]) > 100


def test_a_result_itself_is_shown_at_once(folder: Path) -> None:
    with serving(folder / "kim") as port:
        status, headers, _ = ask(port, "/")
        assert (status, headers["Location"]) == (308, "/kim/")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nowhere"], "no folder nowhere"), (["."], "holds no results"), (["kim", "--port", "70000"], "--port")],
)
def test_mistakes_are_told(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["view", *words])
    assert run.exit_code == 2
    assert said in run.output


def test_the_index_of_a_run_leads_to_reports_where_there_are_any(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "a b<i>", tmp_path / "a b<i>")
    outcomes = [
        Outcome(Path("a b<i>.jpg"), tmp_path / "a b<i>", "done", 30.0, 1.0, None),
        Outcome(Path("c.jpg"), tmp_path / "c", "failed", None, 1.0, "no face"),
    ]
    write_index(tmp_path, tmp_path, outcomes, [])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="a%20b%3Ci%3E/report.html"' in page and "done in 1 s, 30.0 dB" in page
    assert 'href="c/"' in page and "failed: no face" in page
