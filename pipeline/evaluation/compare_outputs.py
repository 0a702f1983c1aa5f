"""Two outputs of the same images beside each other: new weights, other settings, another precision.

Neither is the truth. Images are the same by key and SHA-256, persons by OKS; what both have is measured, what
only one has is counted.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.output_agreement import OutputAgreement, SizeAgreement
from pipeline.output.person_index import INDEX_COLUMNS, PersonIndex, index_rows
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.output.stored_poses import POSE_COLUMNS, RESULT_COLUMNS, image_results, stored_persons
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics.analysis.ratio import Ratio
from posrefine.metrics.oks_rules import OKS_RULES, PERSON_SIZES
from posrefine.metrics.pairing import BOX_AREA_SHARE, pair_persons
from posrefine.poses import Poses

__all__ = ["ComparedOutputs", "DisputedImage", "compare_outputs"]

_KEPT = 24


@dataclass(frozen=True)
class DisputedImage:
    """An image on which the two disagree.

    Attributes:
        image: its row in the one output, with the persons that count.
        other: those of the other one.
        only_a: persons that nobody of the other one is like.
        only_b: likewise.
        lost: how much OKS the pairs lack to being the same, their sum.
    """

    image: ImageResult
    other: Poses
    only_a: int
    only_b: int
    lost: float

    @property
    def weight(self) -> float:
        """Of the disagreement; a person that only one has weighs as one lost for good."""
        return self.only_a + self.only_b + self.lost


@dataclass(frozen=True)
class ComparedOutputs:
    """What came of a comparison.

    Attributes:
        agreement: the numbers.
        disputed: images with the largest disagreements, the largest first.
        rows: of the one output.
    """

    agreement: OutputAgreement
    disputed: tuple[DisputedImage, ...]
    rows: RunRows


def compare_outputs(
    a: str, b: str, storage: Storage, *, min_score: float | None = None, least_oks: float = 0.5
) -> ComparedOutputs:
    """Compare two outputs.

    Args:
        a: the one.
        b: the other one; its joints are kept in a temporary file meanwhile.
        storage: of both.
        min_score: from which persons count; None for each output's own.
        least_oks: from which two persons are the same.

    Raises:
        ConfigurationError: there is no output, or their persons have other joints.
        StorageError: one cannot be read.
    """
    one, other = (RunOutput.rows_at(uri, storage, source="model") for uri in (a, b))
    if one.skeleton != other.skeleton:
        raise ConfigurationError(
            f"{a} has the joints of {one.skeleton.name}, {b} those of {other.skeleton.name}; "
            "compare outputs of one skeleton"
        )
    scores = [rows.min_score if min_score is None else min_score for rows in (one, other)]
    with tempfile.TemporaryFile() as file:
        second = PersonIndex.read(other, file)
        tally = _Tally(one, second, scores[0], scores[1], least_oks)
        for part in one.persons([*RESULT_COLUMNS], POSE_COLUMNS):
            index = index_rows(part.images.select(INDEX_COLUMNS), part.per_image)
            persons = stored_persons(part.persons, one.skeleton.num_joints)
            tally.take(index, image_results(part.images, persons, part.per_image))
        return ComparedOutputs(tally.agreement(other), tally.disputed(), one)


@dataclass
class _Tally:
    """Sums over images; memory does not grow with them."""

    one: RunRows
    second: PersonIndex
    score_one: float
    score_other: float
    least_oks: float
    counts: Counter[str] = field(default_factory=Counter)
    ratios: defaultdict[str, Ratio] = field(default_factory=lambda: defaultdict(Ratio))
    heap: list[tuple[float, int, DisputedImage]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=lambda: count(0, -1))

    def take(self, index: NDArray[Any], images: Iterator[ImageResult]) -> None:
        """Compare the images of a file."""
        seen: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for row, place, image in zip(index, self.second.find(index), images, strict=True):
            there = None if place < 0 else self.second.index[place]
            kind = _kind(row, there)
            self.counts[kind] += 1
            self.counts["in both"] += there is not None
            if kind == "images":
                self._compare(image, self.second.poses(self.second.index[place]), seen)
        for name, values in seen.items():
            sums = np.array(values)
            self.ratios[name] += Ratio.of(sums[:, 0], sums[:, 1])

    def _compare(
        self, image: ImageResult, other: Poses, seen: defaultdict[str, list[tuple[float, float]]]
    ) -> None:
        assert image.poses is not None
        mine, theirs = image.poses.filter(min_score=self.score_one), other.filter(min_score=self.score_other)
        sigmas = OKS_RULES[self.one.skeleton.name].sigmas
        pairs = pair_persons(mine.keypoints, theirs.keypoints, sigmas, self.least_oks)
        identical = (mine.keypoints[pairs.one] == theirs.keypoints[pairs.other]).all(axis=(1, 2))
        self.counts["identical"] += int(identical.sum())
        oks, found = pairs.oks, float(len(pairs.one))
        seen["found_of_a"].append((found, len(mine)))
        seen["found_of_b"].append((found, len(theirs)))
        seen["oks"].append((float(oks.sum()), found))
        for joint, total in zip(self.one.skeleton.joints, pairs.joint_oks.sum(axis=0), strict=True):
            seen[f"joint {joint}"].append((float(total), found))
        areas = [BOX_AREA_SHARE * poses.boxes_xywh[:, 2] * poses.boxes_xywh[:, 3] for poses in (mine, theirs)]
        alone = [np.ones(len(poses), bool) for poses in (mine, theirs)]
        alone[0][pairs.one] = alone[1][pairs.other] = False
        for size in PERSON_SIZES:
            name, low, high = size.name, size.low_px2, size.high_px2
            of_size = (pairs.areas_px2 >= low) & (pairs.areas_px2 < high)
            lost = sum(
                int((lonely & (area >= low) & (area < high)).sum())
                for lonely, area in zip(alone, areas, strict=True)
            )
            matched = 2.0 * int(of_size.sum())
            seen[f"matched {name}"].append((matched, matched + lost))
            seen[f"oks {name}"].append((float(oks[of_size].sum()), float(of_size.sum())))
        self._keep(
            DisputedImage(
                image=replace(image, poses=mine),
                other=theirs,
                only_a=int(alone[0].sum()),
                only_b=int(alone[1].sum()),
                lost=float((1 - oks).sum()),
            )
        )

    def _keep(self, disputed: DisputedImage) -> None:
        if disputed.weight > 0:
            push = heapq.heappush if len(self.heap) < _KEPT else heapq.heappushpop
            push(self.heap, (disputed.weight, next(self.order), disputed))

    def disputed(self) -> tuple[DisputedImage, ...]:
        return tuple(entry[2] for entry in sorted(self.heap, key=lambda entry: entry[:2], reverse=True))

    def agreement(self, other: RunRows) -> OutputAgreement:
        one, counts = self.one, self.counts
        estimates = {name: ratio.estimate() for name, ratio in self.ratios.items()}
        nothing = Ratio().estimate()
        found = {name: estimates.get(name, nothing) for name in ("found_of_a", "found_of_b", "oks")}
        return OutputAgreement(
            a=one.uri,
            b=other.uri,
            model_a=one.model,
            model_b=other.model,
            weights_a=one.weights,
            weights_b=other.weights,
            settings={
                name: (one.settings.get(name), other.settings.get(name))
                for name in sorted({*one.settings, *other.settings})
                if one.settings.get(name) != other.settings.get(name)
            },
            min_score_a=self.score_one,
            min_score_b=self.score_other,
            least_oks=self.least_oks,
            images=counts["images"],
            only_a=counts["only_a"],
            only_b=len(self.second.index) - counts["in both"],
            other_bytes=counts["other_bytes"],
            other_frame=counts["other_frame"],
            failed_a=counts["failed_a"],
            failed_b=counts["failed_b"],
            failed_both=counts["failed_both"],
            persons_a=found["found_of_a"].count,
            persons_b=found["found_of_b"].count,
            pairs=found["oks"].count,
            identical=counts["identical"],
            joints={joint: estimates.get(f"joint {joint}", nothing) for joint in one.skeleton.joints},
            sizes={
                name: SizeAgreement(
                    matched=estimates.get(f"matched {name}", nothing),
                    oks=estimates.get(f"oks {name}", nothing),
                )
                for name in (size.name for size in PERSON_SIZES)
            },
            **found,
        )


def _kind(one: Any, other: Any) -> str:  # noqa: ANN401 - rows of an index
    """What becomes of an image of the one output."""
    if other is None:
        return "only_a"
    if not one["ok"] and not other["ok"]:
        return "failed_both"
    if one["content"] and other["content"] and one["content"] != other["content"]:
        return "other_bytes"
    if not one["ok"] or not other["ok"]:
        return "failed_a" if other["ok"] else "failed_b"
    if not one["content"] or not other["content"]:
        return "other_bytes"
    if (one["width"], one["height"]) != (other["width"], other["height"]):
        return "other_frame"
    return "images"
