"""Checks of annotations that can be scored but are probably wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.findings import Finding
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.persons import GroundTruth
from posrefine.metrics.summary import CROWD_SPLITS, crowd_split

__all__ = ["check_ground_truth"]


def check_ground_truth(truth: GroundTruth, rules: OksRules) -> list[Finding]:
    """Repeated or zero annotation ids, swapped image sizes and, for CrowdPose, splits that say nothing."""
    ids, counts = np.unique(truth.person_ids, return_counts=True)
    findings = [
        *Finding.of("duplicate_annotation_ids", ids[counts > 1]),
        *Finding.of("annotation_id_zero", ids[ids == 0]),
        *Finding.of("swapped_sizes", _images_with_swapped_sizes(truth)),
    ]
    if len(truth.person_ids) == 0:
        findings += Finding.of("no_annotations", ["no entry of `annotations` is a person's"])
    if rules.name == "crowdpose":
        findings += _check_splits(truth)
    return findings


def _check_splits(truth: GroundTruth) -> list[Finding]:
    index = truth.crowd_index
    splits = crowd_split(index)[truth.person_image[~truth.ignored]]
    empty = [name for split, name in enumerate(CROWD_SPLITS) if not np.any(splits == split)]
    return [
        *Finding.of("crowd_index_missing", truth.image_ids[np.isnan(index)]),
        *Finding.of("crowd_index_negative", truth.image_ids[index < 0]),
        *Finding.of("crowd_split_empty", empty),
    ]


def _images_with_swapped_sizes(truth: GroundTruth) -> NDArray[np.int64]:
    """Ids of the images whose labelled joints leave the stated size but fit the swapped one."""
    points = np.where(truth.labelled[..., None], truth.keypoints, 0.0)
    extent = np.zeros((len(truth.image_ids), 2))
    np.maximum.at(extent, truth.person_image, points.max(axis=1, initial=0.0))
    stated = (truth.sizes > 0).all(axis=1)
    outside = (extent > truth.sizes).any(axis=1)
    fits_swapped = (extent <= truth.sizes[:, ::-1]).all(axis=1)
    return truth.image_ids[stated & outside & fits_swapped]
