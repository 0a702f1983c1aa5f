"""Prometheus reads an evaluation's numbers, from a file of the textfile collector or from a Pushgateway."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.annotated import annotated_people, results_of, write_json
from support.ports import free_port
from support.scored import score

from pipeline.evaluation.gauges import encode_gauges, push_gauges
from pipeline.evaluation.result import Evaluation
from pipeline.telling import TIMEOUT_S
from posrefine.metrics import CocoMetrics


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    annotations = annotated_people(12)
    stranger = {**results_of(annotations)[0], "image_id": 999}
    results = write_json(tmp_path / "results.json", [*results_of(annotations), stranger])
    truth = write_json(tmp_path / "truth.json", annotations)
    return score(results, truth, model='odd "name"', draws=10).evaluation


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric and by the labels that are not common to all, in the order of their names."""
    common = {"run", "protocol", "model"}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            own = tuple(value for name, value in sorted(sample.labels.items()) if name not in common)
            found.setdefault(sample.name.removeprefix("posrefine_evaluation_"), {})[own] = sample.value
    return found


def test_the_file_holds_every_headline_number_with_its_interval(evaluation: Evaluation) -> None:
    text = encode_gauges(evaluation).decode()
    found = samples(text)

    assert evaluation.diagnosis is not None
    for name in CocoMetrics.model_fields:
        value, interval = getattr(evaluation, name), evaluation.diagnosis.intervals[name]
        assert found["score"].get((name,), -1.0) == value
        if value >= 0:
            assert found["score_bound"]["low", name] == interval.low
            assert found["score_bound"]["high", name] == interval.high
    assert found["images"] == {(): 12}
    assert found["persons"] == {(): evaluation.persons}
    assert found["warnings"] == {("predictions_of_unknown_images",): 1}
    assert found["timestamp_seconds"] == {(): evaluation.evaluated_at.timestamp()}
    assert 'model="odd \\"name\\""' in text
    assert f'run="{evaluation.predictions}"' in text


def test_numbers_without_anybody_to_be_found_have_no_sample(tmp_path: Path) -> None:
    annotations = annotated_people(3)
    for person in annotations["annotations"]:
        person["area"] = 50.0**2
    truth, results = write_json(tmp_path / "t.json", annotations), write_json(tmp_path / "r.json", [])
    found = score(results, truth, diagnosis=False).evaluation

    numbers = samples(encode_gauges(found).decode())["score"]

    assert ("APm",) in numbers
    assert ("APl",) not in numbers
    assert ("ARl",) not in numbers


def test_a_pushgateway_gets_them_grouped_under_the_run(evaluation: Evaluation) -> None:
    received: dict[str, str] = {}

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            received[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test output quiet."""

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        push_gauges(evaluation, f"http://127.0.0.1:{server.server_port}")
        thread.join()

    ((path, text),) = received.items()
    assert path.startswith("/metrics/job/posrefine_evaluation/run")
    assert samples(text)["score"]["AP",] == evaluation.AP
    assert 'run="' not in text


def test_a_gateway_that_is_not_there_is_a_warning(
    evaluation: Evaluation, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = f"http://127.0.0.1:{free_port()}"
    push_gauges(evaluation, gateway)
    assert f"the numbers were not pushed to {gateway}: " in caplog.text
    assert "refused" in caplog.text


@pytest.mark.parametrize(
    "address", ["http://u:pass:word@127.0.0.1:9/x", "http://u:password@h/x", "http://.a/x", "http://[::1/x"]
)
def test_an_address_that_is_none_is_a_warning_without_its_secret(
    evaluation: Evaluation, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    push_gauges(evaluation, address)
    assert "the numbers were not pushed" in caplog.text
    assert "word" not in caplog.text


def test_a_gateway_that_never_answers_is_not_waited_for(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        "pipeline.evaluation.gauges.push_to_gateway", lambda *_, timeout, **__: waits.append(timeout)
    )
    push_gauges(evaluation, "http://127.0.0.1:9")
    assert waits == [TIMEOUT_S]


def test_neither_file_nor_gateway_gets_the_secrets_of_an_address(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[dict[str, str]] = []
    monkeypatch.setattr(
        "pipeline.evaluation.gauges.push_to_gateway",
        lambda *_, grouping_key, **__: groups.append(grouping_key),
    )
    signed = evaluation.model_copy(update={"predictions": "s3://b/run?X-Amz-Signature=hunter2"})
    push_gauges(signed, "http://127.0.0.1:9")
    assert groups == [{"run": "s3://b/run?X-Amz-Signature=***"}]
    assert b"hunter2" not in encode_gauges(signed)
