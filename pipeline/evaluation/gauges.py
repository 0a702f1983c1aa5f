"""The headline numbers of an evaluation as Prometheus gauges: `metrics.prom`, and a Pushgateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest, push_to_gateway

from pipeline.evaluation.result import Evaluation
from pipeline.telling import TIMEOUT_S, told
from posrefine.metrics import CocoMetrics, CrowdPoseMetrics
from posrefine.redaction import redacted

__all__ = ["encode_gauges", "push_gauges"]

_JOB = "posrefine_evaluation"


def encode_gauges(evaluation: Evaluation) -> bytes:
    """The gauges in Prometheus' text format, as node_exporter's textfile collector reads it.

    Every sample has the labels `run` (the predictions), `protocol` and `model`, so that the files of several
    evaluations can lie in one folder. Numbers without a person to be found have no sample.
    """
    return generate_latest(_registry(evaluation, ("run", "protocol", "model")))


def push_gauges(evaluation: Evaluation, gateway: str) -> None:
    """Push the gauges, in the place of those of an earlier evaluation of the same run.

    The results are written by then: a gateway that is away, or an address that is none, is a warning.
    """
    registry, group = _registry(evaluation, ("protocol", "model")), {"run": redacted(evaluation.predictions)}
    told(
        "the numbers were not pushed",
        gateway,
        lambda: push_to_gateway(gateway, job=_JOB, registry=registry, grouping_key=group, timeout=TIMEOUT_S),
    )


def _registry(evaluation: Evaluation, common: tuple[str, ...]) -> CollectorRegistry:
    known = {
        "run": redacted(evaluation.predictions),
        "protocol": evaluation.protocol,
        "model": evaluation.model or "",
    }
    labels = {name: known[name] for name in common}
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, *own: str) -> Gauge:
        return Gauge(f"posrefine_evaluation_{name}", meaning, [*common, *own], registry=registry)

    score = gauge("score", "The benchmark's number of this name, 0 to 1.", "number")
    for name, value in _numbers(evaluation).items():
        score.labels(**labels, number=name).set(value)
    if evaluation.diagnosis is not None:
        bound = gauge("score_bound", "Bounds of the number's 95% bootstrap interval.", "number", "bound")
        for name in _numbers(evaluation):
            interval = evaluation.diagnosis.intervals[name]
            bound.labels(**labels, number=name, bound="low").set(interval.low)
            bound.labels(**labels, number=name, bound="high").set(interval.high)
    for name, meaning, count in (
        ("images", "Annotated images, all of them scored.", evaluation.images),
        ("persons", "Persons to be found.", evaluation.persons),
        ("detections", "Detections that were matched.", evaluation.detections),
    ):
        gauge(name, meaning).labels(**labels).set(count)
    warned = gauge("warnings", "Images, persons or entries that an input check names.", "code")
    for finding in evaluation.warnings:
        warned.labels(**labels, code=finding.code).set(finding.count)
    gauge("duration_seconds", "That the evaluation took.").labels(**labels).set(evaluation.seconds)
    finished = gauge("timestamp_seconds", "When it was made, Unix time.")
    finished.labels(**labels).set(evaluation.evaluated_at.timestamp())
    return registry


def _numbers(evaluation: Evaluation) -> dict[str, float]:
    kind = CocoMetrics if evaluation.protocol == "coco" else CrowdPoseMetrics
    numbers = {name: float(getattr(evaluation, name)) for name in kind.model_fields}
    return {name: value for name, value in numbers.items() if value >= 0}
