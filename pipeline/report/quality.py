"""How well each image of a run was annotated, where there is ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ground_truth.annotations import Annotations
from pipeline.ground_truth.image_names import NO_IMAGE
from pipeline.output.schema import ImageResult
from posrefine.metrics import Detections, OksRules
from posrefine.metrics.analysis.error_table import judge_joints

__all__ = ["JudgedImage", "judged_images"]

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class JudgedImage:
    """An image with its annotated persons.

    Attributes:
        image: its row in the run.
        persons: annotated persons, crowds and unlabelled ones left out.
        mean_oks: of the persons with the detection that took each, 0 for those that none took.
        keypoints: [G, K, 2] float64, image px, of those persons.
        labelled: [G, K] bool.
    """

    image: ImageResult
    persons: int
    mean_oks: float
    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]


def judged_images(
    images: Iterable[ImageResult], annotations: Annotations, rules: OksRules
) -> Iterator[JudgedImage]:
    """The annotated images among `images` that did not fail and in which there are persons to be found."""
    usable = (image for image in images if image.poses is not None)
    for some in _batches(usable, _IMAGES_AT_ONCE):
        yield from _judge(some, annotations, rules)


def _batches(images: Iterable[ImageResult], size: int) -> Iterator[list[ImageResult]]:
    batch: list[ImageResult] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _judge(images: Sequence[ImageResult], annotations: Annotations, rules: OksRules) -> Iterator[JudgedImage]:
    by_id = {image_id: image for image, image_id in zip(images, _ids(images, annotations), strict=True)}
    by_id.pop(NO_IMAGE, None)
    everyone = annotations.truth
    peopled = everyone.image_ids[np.unique(everyone.person_image[~everyone.ignored])]
    chosen = np.intersect1d(np.array(list(by_id), np.int64), peopled)
    if len(chosen) == 0:
        return
    truth = everyone.select(np.searchsorted(everyone.image_ids, chosen))
    errors = judge_joints(truth, _detections(by_id, rules), rules)
    owner = np.repeat(np.arange(len(chosen)), errors.detections_per_image)
    oks = np.bincount(owner, np.nan_to_num(errors.oks), len(chosen))
    for position, image_id in enumerate(chosen.tolist()):
        counted = (truth.person_image == position) & ~truth.ignored
        persons = int(counted.sum())
        yield JudgedImage(
            image=by_id[image_id],
            persons=persons,
            mean_oks=float(oks[position]) / persons,
            keypoints=truth.keypoints[counted],
            labelled=truth.labelled[counted],
        )


def _ids(images: Sequence[ImageResult], annotations: Annotations) -> list[int]:
    """The evaluation's rule."""
    stated = np.array([NO_IMAGE if image.image_id is None else image.image_id for image in images], np.int64)
    ids: list[int] = annotations.find([image.image_key for image in images], stated).settled().tolist()
    return ids


def _detections(by_id: dict[int, ImageResult], rules: OksRules) -> Detections:
    found = [(image_id, image.poses) for image_id, image in by_id.items() if image.poses is not None]
    nothing = Detections.none(rules.skeleton.num_joints)
    return Detections(
        image_ids=np.concatenate([nothing.image_ids, *(np.full(len(p), i) for i, p in found)]).astype(
            np.int64
        ),
        keypoints=np.concatenate([nothing.keypoints, *(p.keypoints for _, p in found)]),
        scores=np.concatenate([nothing.scores, *(p.scores for _, p in found)]),
    )
