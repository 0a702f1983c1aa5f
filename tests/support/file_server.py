"""A real HTTP server on 127.0.0.1 that serves one file, with ranges, and can be told to misbehave."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served, what goes wrong, and what was asked for.

    Attributes:
        content: the file.
        cut_after_bytes: per answer, in order, after how many bytes of the body the connection is cut; answers
            beyond the list are whole.
        statuses: per answer, in order, an error status to give instead.
        honour_ranges: whether ranges are answered with 206, or ignored as some servers do.
        ranges: the Range header of every request so far, None where there was none.
        before_answer: held until set; lets a test have several clients wait at once.
    """

    content: bytes
    cut_after_bytes: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    honour_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)
    before_answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __post_init__(self) -> None:
        self.before_answer.set()


@contextlib.contextmanager
def serving(server: FileServer, name: str) -> Iterator[FileServer]:
    """Runs the server at `server.url`, which ends in `name`, for as long as the block lasts."""
    handler = type("Handler", (_Handler,), {"file": server})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{http.server_port}/{name}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    file: FileServer

    def do_GET(self) -> None:
        self.file.ranges.append(self.headers.get("Range"))
        self.file.before_answer.wait(timeout=30)
        if self.file.statuses:
            self.send_error(self.file.statuses.pop(0))
            return
        start = self._start()
        if start is not None and start >= len(self.file.content):
            self.send_error(416)
            return
        body = self.file.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Length", str(len(body)))
        if start is not None:
            whole = len(self.file.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        if self.file.cut_after_bytes:
            self.wfile.write(body[: self.file.cut_after_bytes.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _start(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(match[1]) if match and self.file.honour_ranges else None

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test output quiet."""
