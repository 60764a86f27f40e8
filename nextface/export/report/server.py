"""The reports of a folder of results, served to this machine's own browsers.

Addresses are looked up among the results that are there, and never turned into paths: "/" is the index,
"/NAME/" the report of a result, "/NAME/render_0.png" its picture. The server listens on the loopback interface
alone, answers only to its own name (a page elsewhere could have its name lead here), and sets no cookies.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from nextface.errors import NextFaceError, OutputError, ResultError
from nextface.export.report.index import PANELS, REPORT, Card, address, index_page
from nextface.export.report.page import report_page
from nextface.export.saved.figures import FIGURES, read_figures
from nextface.export.saved.result import load_result

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")  # by which a browser on this machine may ask
MARK_OF_RESULT = "scene_0.json"


class Results:
    """The results in a folder, by name; a folder that is a result itself has only its own."""

    def __init__(self, folder: Path, model_folder: str = "baselMorphableModel") -> None:
        """The results in `folder`; face models that a user must obtain are looked for in `model_folder`.

        Raises
        ------
        ResultError: where there is no folder, or no result in it.
        """
        if not folder.is_dir():
            raise ResultError(f"There is no folder {folder}. Name a result folder, or a folder of them.")
        self.folder, self._model_folder = folder.resolve(), model_folder
        self.is_one = (self.folder / MARK_OF_RESULT).is_file()
        if not self.names():
            raise ResultError(
                f"{folder} holds no results. Name a result folder, such as output/me after "
                "`nextface reconstruct me.jpg`, or a folder of them."
            )

    def names(self) -> list[str]:
        """The results' names, as they are now."""
        if self.is_one:
            return [self.folder.name]
        return sorted(path.parent.name for path in self.folder.glob(f"*/{MARK_OF_RESULT}"))

    def place(self, name: str) -> Path | None:
        """The folder of a result; None where there is none of this name, or it leads out of the folder."""
        if name not in self.names():
            return None
        place = self.folder if self.is_one else (self.folder / name).resolve()
        return place if place.is_relative_to(self.folder) else None

    def file(self, name: str, file: str) -> bytes | None:
        """A file of a result; None where there is none, or it lies elsewhere."""
        path = self._path(name, file)
        return None if path is None else path.read_bytes()

    def report(self, name: str) -> bytes | None:
        """The page of a result; made now where the run wrote none. None where there is no such result."""
        place = self.place(name)
        if place is None:
            return None
        written = self.file(name, REPORT)
        if written is not None:
            return written
        result = load_result(place, self._model_folder)
        return report_page(result).encode("utf-8", errors="replace")

    def index(self) -> str:
        """The page that shows all results."""
        return index_page(self.folder.name, [self._card(name) for name in self.names()])

    def _path(self, name: str, file: str) -> Path | None:
        """The path of a file of a result; None where there is none, or it lies elsewhere."""
        place = self.place(name)
        path = None if place is None else (place / file).resolve()
        return path if path is not None and path.parent == place and path.is_file() else None

    def _card(self, name: str) -> Card:
        warnings: list[str] = []
        try:
            path = self._path(name, FIGURES)
            figures = {} if path is None else read_figures(path)
        except ResultError as error:
            figures, warnings = {}, [str(error)]
        shown = {"psnr": "{:.1f} dB", "seconds": "{:.0f} s"}
        told = [form.format(figures[key]) for key, form in shown.items() if figures.get(key) is not None]
        warnings += figures.get("warnings", [])
        return Card(name, ", ".join(told), f"{address(name)}/", address(name, PANELS), tuple(warnings))


def loopback_server(results: Results, port: int = 0) -> ThreadingHTTPServer:
    """A server of results on the loopback interface; 0 takes any free port.

    Raises
    ------
    OutputError: if the port is taken or may not be used.
    """

    class Handler(_Handler):
        shown = results

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise OutputError(f"Port {port} cannot be used ({error}). Choose another one with --port.") from None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, and nothing else."""

    shown: Results
    server_version, sys_version = "nextface", ""

    def do_GET(self) -> None:
        self._answer(lambda content: self.wfile.write(content))

    def do_HEAD(self) -> None:
        self._answer(lambda content: None)

    def _answer(self, send: Callable[[bytes], object]) -> None:
        try:
            status, kind, content = self._found()
        except NextFaceError as error:
            status, kind, content = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode()
        except OSError as error:
            status, kind, content = HTTPStatus.NOT_FOUND, "text/plain", f"{error.strerror}\n".encode()
        if status == HTTPStatus.PERMANENT_REDIRECT:
            self.send_response(status)
            self.send_header("Location", content.decode("ascii"))
            content = b""
        else:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        send(content)

    def _found(self) -> tuple[HTTPStatus, str, bytes]:
        """Status, type and content for the address that is asked for."""
        if self.headers.get("Host", "").partition(":")[0] not in NAMES:
            return HTTPStatus.FORBIDDEN, "text/plain", b"This server answers to this machine alone.\n"
        nothing = HTTPStatus.NOT_FOUND, "text/plain", b"There is no such page.\n"
        try:
            path = urlsplit(self.path).path
        except ValueError:
            return nothing
        words = [os.fsdecode(unquote_to_bytes(word)) for word in path.split("/")[1:]]
        if words == [""]:
            if self.shown.is_one:
                return HTTPStatus.PERMANENT_REDIRECT, "", f"/{address(self.shown.folder.name)}/".encode("ascii")
            return HTTPStatus.OK, "text/html", self.shown.index().encode("utf-8", errors="replace")
        if len(words) == 2 and words[1] in ("", REPORT):
            page = self.shown.report(words[0])
            return nothing if page is None else (HTTPStatus.OK, "text/html", page)
        if len(words) == 2 and words[1] == PANELS:
            picture = self.shown.file(words[0], PANELS)
            return nothing if picture is None else (HTTPStatus.OK, "image/png", picture)
        return nothing

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the person who started it."""
