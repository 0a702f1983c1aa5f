"""Shortcut from parsed JSON to the two benchmarks' numbers, by our own code."""

from __future__ import annotations

from typing import Any

from posrefine.metrics.detections import DetectionsBuilder
from posrefine.metrics.findings import Finding
from posrefine.metrics.ground_truth import GroundTruthBuilder
from posrefine.metrics.match_table import MatchTable, match_images
from posrefine.metrics.oks_rules import OKS_RULES
from posrefine.metrics.persons import Detections, GroundTruth
from posrefine.metrics.summary import metrics_of


def ground_truth(annotations: dict[str, Any], protocol: str = "coco") -> tuple[GroundTruth, list[Finding]]:
    builder = GroundTruthBuilder(OKS_RULES[protocol])
    builder.add_images(annotations["images"])
    builder.add_categories(annotations["categories"])
    builder.add_persons(annotations["annotations"])
    truth, _, findings = builder.build()
    return truth, findings


def detections(results: list[dict[str, Any]], protocol: str = "coco") -> tuple[Detections, list[Finding]]:
    builder = DetectionsBuilder(OKS_RULES[protocol].skeleton.num_joints)
    builder.add(results)
    return builder.build()


def our_numbers(
    annotations: dict[str, Any], results: list[dict[str, Any]], protocol: str = "coco"
) -> list[float]:
    truth, _ = ground_truth(annotations, protocol)
    predicted, _ = detections(results, protocol)
    return numbers_of(match_images(truth, predicted, OKS_RULES[protocol]), truth, protocol)


def numbers_of(table: MatchTable, truth: GroundTruth, protocol: str = "coco") -> list[float]:
    return list(metrics_of(table, truth.crowd_index, OKS_RULES[protocol]).model_dump().values())
