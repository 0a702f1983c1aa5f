"""The reference tools' numbers, and random detections to compare on."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_CROWDPOSE_SIGMAS = (
    np.array([0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]) / 10.0
)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def pycocotools_numbers(annotations: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """COCO's ten numbers by pycocotools."""
    evaluation = _evaluate(annotations, results)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    return [float(number) for number in evaluation.stats]


def crowdpose_numbers(annotations: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """CrowdPose's nine numbers by pycocotools, with the changes that the CrowdPose tool makes to it."""
    annotations = copy.deepcopy(annotations)
    for person in annotations["annotations"]:
        person["area"] = person["bbox"][2] * person["bbox"][3] * 0.53
    whole = _evaluate(annotations, results, _CROWDPOSE_SIGMAS)
    with contextlib.redirect_stdout(io.StringIO()):
        whole.summarize()
    numbers = [float(whole.stats[index]) for index in (0, 1, 2, 5, 6, 7)]
    easy, medium, hard = [], [], []
    for image in annotations["images"]:
        index = image["crowdIndex"]
        (easy if index < 0.2 else medium if index < 0.8 else hard).append(image["id"])
    for split in (easy, medium, hard):
        part = _evaluate(annotations, results, _CROWDPOSE_SIGMAS, split)
        numbers.append(round(float(np.mean(part.eval["precision"][:, :, :, 0, :])), 4))
    return numbers


def _evaluate(
    annotations: dict[str, Any],
    results: list[dict[str, Any]],
    sigmas: np.ndarray | None = None,
    image_ids: list[int] | None = None,
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _indexed(annotations)
        # pycocotools cannot load an empty list of results.
        found = (
            truth.loadRes(copy.deepcopy(results)) if results else _indexed({**annotations, "annotations": []})
        )
        evaluation = COCOeval(truth, found, "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = sigmas
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _indexed(annotations: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = copy.deepcopy(annotations)
    coco.createIndex()
    return coco


def noisy_results(
    annotations: dict[str, Any],
    seed: int,
    *,
    noise_px: tuple[float, ...] = (0.0, 1.0, 4.0, 15.0, 60.0),
    score_steps: int = 7,
    most_per_image: int = 25,
) -> list[dict[str, Any]]:
    """Detections of all sorts: exact, jittered, doubled, invented; few distinct scores, so many are equal."""
    rng = np.random.default_rng(seed)
    by_image: dict[int, list[np.ndarray]] = {image["id"]: [] for image in annotations["images"]}
    for person in annotations["annotations"]:
        by_image[person["image_id"]].append(np.array(person["keypoints"], float).reshape(-1, 3))
    joints = len(annotations["categories"][0]["keypoints"])
    results = []
    for image_id, persons in by_image.items():
        for _ in range(int(rng.choice([0, 1, 2, 3, most_per_image], p=[0.15, 0.2, 0.25, 0.3, 0.1]))):
            pose = _pose(rng, persons, joints, noise_px)
            score = round(int(rng.integers(1, score_steps + 1)) / score_steps, 3)
            entry = {
                "image_id": image_id,
                "category_id": 1,
                "keypoints": pose.ravel().tolist(),
                "score": score,
            }
            results.extend([entry] * int(rng.choice([1, 2], p=[0.9, 0.1])))
    order = rng.permutation(len(results))
    return [results[index] for index in order]


def _pose(
    rng: np.random.Generator, persons: list[np.ndarray], joints: int, noise_px: tuple[float, ...]
) -> np.ndarray:
    if not persons or rng.random() < 0.1:
        return np.concatenate([rng.uniform(0, 640, (joints, 2)), np.ones((joints, 1))], axis=1)
    pose = persons[int(rng.integers(len(persons)))].copy()
    pose[:, :2] += rng.normal(0, 1, (joints, 2)) * rng.choice(noise_px)
    return pose
