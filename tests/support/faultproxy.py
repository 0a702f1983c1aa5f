"""A proxy on loopback that does to a server's traffic what networks and overloaded stores do.

    with FaultProxy(server.host, server.port) as proxy:
        proxy.add("503", method="GET", times=3)

Requests and answers pass unchanged, the Host header too, so signed requests still verify. The faults:

    503, 403, 409   the answer of a store that is busy, refuses, or sees two writers; the server hears nothing
    400, 501        the answer of a store that does not know what is asked
    slow            nothing is wrong but that it all takes `seconds` longer
    drip            nothing is wrong but that the answer's body takes `seconds` to come, in ten pieces
    reset           the connection breaks before the server hears of the request
    hang            silence for `seconds`, then the connection breaks
    reset_body      the connection breaks after `after_bytes` of the answer's body
    short_body      the connection is closed properly, but after `after_bytes` of the body
    flip            the byte at `after_bytes` of the answer's body is another one
    lost_reply      the server does what was asked, and the connection breaks instead of an answer
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal

__all__ = ["FaultProxy", "Kind", "Request"]

Kind = Literal[
    "503",
    "403",
    "409",
    "400",
    "501",
    "slow",
    "drip",
    "reset",
    "hang",
    "reset_body",
    "short_body",
    "flip",
    "lost_reply",
]

_ANSWERS = {
    "503": "SlowDown",
    "403": "AccessDenied",
    "409": "ConditionalRequestConflict",
    "400": "InvalidArgument",
    "501": "NotImplemented",
}
_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Fault:
    """What happens to the next `times` requests that fit."""

    kind: Kind
    method: str | None = None
    path: str = ""
    header: str = ""
    """In lower case, that a request must have to be struck."""
    times: int = 1
    after_bytes: int = 0
    seconds: float = 0.0

    def takes(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Whether this request is struck; counts it."""
        fits = self.times > 0 and self.method in (None, method) and re.search(self.path, path) is not None
        fits = fits and (not self.header or self.header in headers)
        self.times -= fits
        return fits


@dataclass(frozen=True)
class Request:
    """A request as it came, and the fault that struck it."""

    method: str
    path: str
    fault: Kind | None
    headers: Mapping[str, str]
    """By names in lower case."""


@dataclass
class FaultProxy:
    """Starts on entering, stops on leaving."""

    upstream_host: str
    upstream_port: int
    unheard: frozenset[str] = frozenset()
    """Headers of requests, in lower case, that the server does not understand."""
    requests: list[Request] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.break_connections()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The endpoint to use instead of the server's."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, kind: Kind, **fault: object) -> None:
        """Strike later requests; see `Fault` for which."""
        with self._lock:
            self._faults.append(Fault(kind, **fault))  # type: ignore[arg-type]

    def heal(self) -> None:
        """Strike nothing more."""
        with self._lock:
            self._faults.clear()

    def heal_path(self, path: str) -> None:
        """Strike nothing more by faults whose pattern holds `path`."""
        with self._lock:
            self._faults = [fault for fault in self._faults if path not in fault.path]

    def struck(self) -> list[Kind]:
        """The faults that happened so far."""
        return [request.fault for request in self.requests if request.fault is not None]

    def take(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """The fault for a request, if any; writes the request down."""
        with self._lock:
            fault = next((fault for fault in self._faults if fault.takes(method, path, headers)), None)
            self.requests.append(Request(method, path, fault.kind if fault else None, headers))
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close without the base class's orderly goodbye, which a connection that breaks does not say."""
        self._open.discard(request)
        request.close()

    def handle_error(self, request: object, client_address: object) -> None:  # type: ignore[override]
        """Clients that go away in mid-answer are what this is for."""

    def break_connections(self) -> None:
        """End the threads that wait for another request of a client."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: FaultProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.owner.take(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}
        )
        kind = fault.kind if fault else None
        if kind in _ANSWERS:
            code = f"<Error><Code>{_ANSWERS[kind]}</Code><Message>injected</Message></Error>".encode()
            self._answer(
                int(kind), {"Content-Type": "application/xml", "Content-Length": str(len(code))}, code
            )
        elif fault and kind in ("reset", "hang"):
            time.sleep(fault.seconds)
            self._break()
        else:
            if fault and kind == "slow":
                time.sleep(fault.seconds)
            status, headers, content = self._ask_upstream(body)
            if kind == "lost_reply":
                self._break()
            else:
                self._answer(status, headers, content, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815 - the base class's names

    def _ask_upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.owner.upstream_host, self.owner.upstream_port, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection", *self.owner.unheard}:
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            reply = upstream.getresponse()
            content = reply.read()
            headers = {
                name: value for name, value in reply.getheaders() if name.lower() not in _NOT_PASSED_ON
            }
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(content))
            return reply.status, headers, content
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.kind == "flip":
            flipped = bytes([body[fault.after_bytes] ^ 1])
            body = body[: fault.after_bytes] + flipped + body[fault.after_bytes + 1 :]
        if fault and fault.kind == "drip":
            for start in range(0, len(body), -(-len(body) // 10)):
                time.sleep(fault.seconds / 10)
                self.wfile.write(body[start : start + -(-len(body) // 10)])
            return
        is_cut = fault is not None and fault.kind in ("reset_body", "short_body")
        self.wfile.write(body[: fault.after_bytes] if fault and is_cut else body)
        if fault and fault.kind == "short_body":
            self.close_connection = True
        elif is_cut:
            time.sleep(0.05)  # lets the client see the beginning before the break
            self._break()

    def _break(self) -> None:
        """Have the connection closed by a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing; `FaultProxy.requests` is the log."""
