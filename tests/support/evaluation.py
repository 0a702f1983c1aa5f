"""Shortcut from parsed JSON to the two benchmarks' numbers, by our own code."""

from __future__ import annotations

from typing import Any

from posrefine.metrics.detections import DetectionsBuilder
from posrefine.metrics.findings import Finding
from posrefine.metrics.ground_truth import GroundTruthBuilder
from posrefine.metrics.match_table import MatchTable, match_images
from posrefine.metrics.persons import Detections, GroundTruth
from posrefine.metrics.protocol import PROTOCOLS
from posrefine.metrics.summary import metrics_of


def ground_truth(annotations: dict[str, Any], protocol: str = "coco") -> tuple[GroundTruth, list[Finding]]:
    builder = GroundTruthBuilder(PROTOCOLS[protocol])
    for image in annotations["images"]:
        builder.add_image(image)
    for category in annotations["categories"]:
        builder.add_category(category)
    for person in annotations["annotations"]:
        builder.add_person(person)
    truth, _, findings = builder.build()
    return truth, findings


def detections(results: list[dict[str, Any]], protocol: str = "coco") -> tuple[Detections, list[Finding]]:
    builder = DetectionsBuilder(PROTOCOLS[protocol].skeleton.num_joints)
    for entry in results:
        builder.add(entry)
    return builder.build()


def our_numbers(
    annotations: dict[str, Any], results: list[dict[str, Any]], protocol: str = "coco"
) -> list[float]:
    truth, _ = ground_truth(annotations, protocol)
    predicted, _ = detections(results, protocol)
    return numbers_of(match_images(truth, predicted, PROTOCOLS[protocol]), truth, protocol)


def numbers_of(table: MatchTable, truth: GroundTruth, protocol: str = "coco") -> list[float]:
    return list(metrics_of(table, truth.crowd_index, PROTOCOLS[protocol]).model_dump().values())
