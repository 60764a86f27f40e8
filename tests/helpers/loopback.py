"""Web servers on this machine: of one file, and of Git repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Server(ThreadingHTTPServer):
    """Remembers which paths were asked for."""

    asked: list[str]
    cut: int | None = None  # bytes after which a body breaks off
    status: int = 200


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[str, Server]]:
    """A running server and its URL."""
    with Server(("127.0.0.1", 0), handler) as server:
        server.asked = []
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server
        finally:
            server.shutdown()
            thread.join()


class _Quiet(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """A whole answer, or one that breaks off where the server says so."""
        self.server.asked.append(self.path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])


def file_handler(body: bytes) -> type[BaseHTTPRequestHandler]:
    """Answers every request with one file."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            self.answer(self.server.status, {}, body)

    return Handler


def git_handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    """Git's own program for repositories over HTTP, which is a CGI script, for those in a folder."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            self.ask(b"")

        def do_POST(self) -> None:
            self.ask(self.rfile.read(int(self.headers["Content-Length"])))

        def ask(self, body: bytes) -> None:
            place, _, query = self.path.partition("?")
            told = {
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": place,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            ended = subprocess.run(
                ["git", "http-backend"], input=body, capture_output=True, env={**os.environ, **told}
            )
            head, _, content = ended.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.answer(int(headers.pop("Status", "200").split()[0]), headers, content)

    return Handler
