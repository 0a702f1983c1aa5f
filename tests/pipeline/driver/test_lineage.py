"""An address that is named hears of a run twice, as OpenLineage has it; without one nobody hears anything."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.importers import read_by
from support.ports import free_port
from support.standing import Standing, picture

from jobs.annotate import main
from pipeline.exit_codes import ExitCode
from pipeline.storage import Storage


@dataclass
class Listener:
    """What came in at the address."""

    url: str
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    status: int = 201


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            found.keys.append(self.headers["Authorization"])
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Listener(f"http://127.0.0.1:{server.server_port}/api/v1/lineage")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Finished, so that a sync has nothing to do and starts nothing."""
    found = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    Path(found.input).mkdir()
    for number in range(3):
        (Path(found.input) / f"{number}.png").write_bytes(picture(number))
    found.sync()
    return found


def sync(standing: Standing, *more: str) -> int:
    places = ("--input", standing.input, "--output", standing.output_uri, "--model", "m", "--weights", "w")
    return main(["sync", *places, "--precision", "float32", "--replaced-grace-s", "0", *more])


def test_beginning_and_end_are_told_with_what_was_read_and_written(
    standing: Standing, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame")
    assert sync(standing, "--openlineage", listener.url) == 0
    start, end = listener.events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert start["job"] == end["job"] == {"namespace": "posrefine", "name": f"sync {standing.output_uri}"}
    assert end["inputs"] == [{"namespace": "file", "name": standing.input}]
    counts = standing.output.counts()
    assert counts is not None
    images, persons = end["outputs"]
    assert images["name"] == f"{standing.output_uri}/tables/images"
    assert images["facets"]["version"]["datasetVersion"] == "0"
    assert images["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert persons["outputFacets"]["outputStatistics"]["rowCount"] == counts.persons + counts.persons_below
    assert listener.keys == ["Bearer sesame"] * 2


def test_a_failure_is_told_as_one(standing: Standing, listener: Listener):
    (Path(standing.input) / "0.png").unlink()
    code = sync(standing, "--openlineage", listener.url, "--scales", "1,2")
    assert code == ExitCode.DIFFERENT_RUN
    end = listener.events[-1]
    assert end["eventType"] == "FAIL"
    assert end["run"]["facets"]["errorMessage"]["message"].startswith("FingerprintMismatch: ")


def test_without_an_address_nobody_is_told(standing: Standing, listener: Listener):
    assert sync(standing) == 0
    assert not listener.events


def test_events_that_are_lost_change_nothing(
    standing: Standing, listener: Listener, caplog: pytest.LogCaptureFixture
):
    listener.status = 500
    with caplog.at_level(logging.WARNING):
        assert sync(standing, "--openlineage", listener.url) == 0
        assert sync(standing, "--openlineage", f"http://127.0.0.1:{free_port()}/") == 0
    assert sum("was not sent to" in record.message for record in caplog.records) == 4


def test_an_address_that_is_none_is_refused_by_name(standing: Standing):
    assert sync(standing, "--openlineage", "marquez:5000") == ExitCode.BAD_CONFIGURATION


@pytest.mark.slow
def test_openlineages_own_client_takes_the_events(standing: Standing, listener: Listener, tmp_path: Path):
    assert sync(standing, "--openlineage", listener.url) == 0
    (tmp_path / "events.json").write_text(json.dumps(listener.events))
    kinds = read_by("openlineage_events", "openlineage-python", tmp_path / "events.json")
    assert kinds == ["START", "COMPLETE"]
