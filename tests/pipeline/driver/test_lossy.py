"""Whatever is behind the addresses of those who watch, a run ends as it would without them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge
from support.ports import free_port

from pipeline.driver.lineage import with_lineage
from pipeline.driver.lossy import push
from pipeline.output.outcome import Outcome
from pipeline.settings.run import RunSettings
from pipeline.telling import told


class Done(Exception):
    """How the work ended."""


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """The address of what answers two callers like that, and what they said."""
    heard: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            try:
                caller, _ = server.accept()
            except OSError:
                return
            with caller:
                heard.append(caller.recv(1 << 16))
                reply(caller)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def numbers() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("posrefine_sync_backlog", "Images.", registry=registry).set(7)
    return registry


def work_told_to(address: str) -> None:
    """Work that ends with `Done`, whatever hears of it."""
    needed = {"input": "/in", "output": "/out", "model": "m", "weights": "w", "openlineage": address}

    def work() -> Outcome:
        raise Done

    with pytest.raises(Done):
        with_lineage("sync", RunSettings.model_validate(needed), work)


def says(text: bytes) -> Callable[[socket.socket], None]:
    return lambda caller: caller.sendall(text)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_answers_in_another_language_changes_nothing(reply: bytes):
    with answering(says(reply)) as (address, heard):
        work_told_to(address)
    assert len(heard) == 2
    with answering(says(reply)) as (address, heard):
        push(numbers(), address, "posrefine", "/out")
        push(numbers(), address, "posrefine-sync", "/out", keep=True)
    assert [said.split()[0] for said in heard] == [b"PUT", b"POST"]
    assert heard[0].split()[1] == b"/metrics/job/posrefine/run@base64/L291dA=="


@pytest.mark.parametrize(
    "address", ["http://u:pass:word@127.0.0.1:9/x", "http://u:password@h/x", "http://.a/x", "http://[::1/x"]
)
def test_an_address_that_is_none_is_a_warning_without_its_secret(
    address: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        work_told_to(address)
        push(numbers(), address, "posrefine", "/out")
    assert [record.message.partition(" to ")[0] for record in caplog.records] == [
        "the OpenLineage event START was not sent",
        "the OpenLineage event FAIL was not sent",
        "metrics were not pushed",
    ]
    assert "word" not in caplog.text


def test_nobody_there_is_a_warning(caplog: pytest.LogCaptureFixture):
    push(numbers(), f"http://127.0.0.1:{free_port()}", "posrefine", "/out")
    assert "refused" in caplog.text


def test_who_never_comes_to_an_end_is_not_waited_for(caplog: pytest.LogCaptureFixture):
    over = threading.Event()
    told("it was not told", "http://127.0.0.1:9", over.wait, within_s=0.05)
    over.set()
    assert "it was not told to http://127.0.0.1:9: no whole answer" in caplog.text


def test_the_key_follows_nobody_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame")
    with answering(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (elsewhere, heard_there):
        away = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        with answering(says(away.encode())) as (address, heard):
            work_told_to(address)
    assert b"Bearer sesame" in heard[0]
    assert heard_there == []


def test_no_key_is_shown_that_no_header_can_hold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame\n")
    work_told_to(f"http://127.0.0.1:{free_port()}")
    assert "was not sent" in caplog.text
    assert "sesame" not in caplog.text
