"""How far the network and people agree, and people among each other.

The control share of a queue was drawn at random, so what its images say holds for the whole data set.
The rest of the queue was chosen where the network was doubtful: it is told beside that, to show what the
choice is worth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipeline.output.review_queue import list_queues, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.review.matched_images import network_rows
from pipeline.review.matched_persons import MatchedPersons, ReviewerView, match_persons
from pipeline.review.reviewer_agreement import Errors, PersonAgreement, ReviewerAgreement, Share
from pipeline.review.same_persons import box_areas_px2
from posrefine.errors import ConfigurationError
from posrefine.metrics import OKS_RULES, Detections, GroundTruth, match_images, metrics_of
from posrefine.metrics.analysis.ratio import Estimate, Ratio
from posrefine.metrics.analysis.resampling import Interval, bootstrap_intervals
from posrefine.metrics.oks_rules import PERSON_SIZES
from posrefine.poses import Poses
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["agreement_of"]

_DRAWS = 1000
_Z = 1.959963984540054


def agreement_of(
    output: RunOutput, queue_id: str | None = None, *, draws: int = _DRAWS, seed: int = 0
) -> ReviewerAgreement:
    """Hold the network against people, and people against each other, on the images of a queue.

    Of the images that several people looked at, the network is held against who counts in the tables.
    Everything comes from the imports and the queue; the tables are not read.

    Args:
        output: of the run.
        queue_id: of the queue; None for the last one of which any image was reviewed.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigurationError: there is no queue, or nothing of it was reviewed.
        ShardError: an import's file is damaged.
    """
    record = output.require_record()
    skeleton = SKELETONS[record.fingerprint.skeleton]
    views = _views(output, skeleton.num_joints)
    name, asked = _queue(output, queue_id, views)
    context = _Context(skeleton, record.min_score, draws, seed)
    control = [sha256 for sha256, is_control in asked if is_control]
    chosen = [sha256 for sha256, is_control in asked if not is_control]
    reviewers: dict[str, int] = defaultdict(int)
    for ones in views.values():
        for reviewer in ones:
            reviewers[reviewer] += 1
    return ReviewerAgreement(
        queue_id=name,
        reviewers=dict(sorted(reviewers.items())),
        control=context.share(control, views),
        queue=context.share([sha256 for sha256, _ in asked], views),
        chosen=context.share(chosen, views),
    )


_Views = Mapping[str, Mapping[str, ReviewerView]]
"""By sha256 and reviewer: the last one of each, who counts in the tables at the end."""


def _views(output: RunOutput, joints: int) -> _Views:
    human = output.human_rows()
    found: dict[str, dict[str, ReviewerView]] = defaultdict(dict)
    for one in human.log.active():
        table = human.files.table(one)
        for row, sha256 in enumerate(table["sha256"].to_pylist()):
            found[sha256].pop(one.reviewer, None)
            found[sha256][one.reviewer] = ReviewerView.of(table, row, one.reviewer, joints)
    return _as_found_now(output, dict(found))


def _as_found_now(output: RunOutput, views: _Views) -> _Views:
    """The views with the persons of the output's own network, where another one was there at the import."""
    human = output.human_rows()
    run_id = output.require_record().run_id
    old = [one for one in human.log.active() if human.files.run_id_of(one) != run_id]
    stale = {sha256 for one in old for sha256 in human.files.table(one)["sha256"].to_pylist()}
    if not stale:
        return views
    nobody = Poses.none(SKELETONS[output.require_record().fingerprint.skeleton].num_joints)
    now = {
        image.sha256: nobody if image.poses is None else image.poses
        for image, _ in network_rows(output, stale, set())
    }
    return {
        sha256: {
            reviewer: replace(view, found=now.get(sha256, view.found)) for reviewer, view in ones.items()
        }
        for sha256, ones in views.items()
        if sha256 in now or sha256 not in stale
    }


def _queue(output: RunOutput, queue_id: str | None, views: _Views) -> tuple[str, list[tuple[str, bool]]]:
    """The queue's name, and of each of its images the sha256 and whether it is of the control share.

    Bytes that were drawn under several keys stand there as often: they are so much of the data set.
    """
    known = list_queues(output) if queue_id is None else [queue_id]
    for name in reversed(known):
        asked = [
            (image.sha256, image.is_control)
            for image in read_queue(output, name).images
            if image.sha256 is not None
        ]
        if any(sha256 in views for sha256, _ in asked):
            return name, asked
    raise ConfigurationError(
        f"{output.uri}: nothing of {queue_id or 'any queue'} was reviewed; `review.py export` gives its "
        "images out, and `review.py import` takes the answers in"
    )


@dataclass(frozen=True)
class _Context:
    skeleton: Skeleton
    min_score: float
    draws: int
    seed: int

    def share(self, asked: Sequence[str], views: _Views) -> Share:
        """What the answered ones of these images say."""
        looked = [list(views[sha256].values()) for sha256 in asked if sha256 in views]
        answered, several = [ones[-1] for ones in looked], [ones for ones in looked if len(ones) > 1]
        if not answered:
            return Share(asked=len(asked), images=0, persons=0)
        matched = [
            match_persons(view.found.keypoints[view.found.scores >= self.min_score], view, self.skeleton)
            for view in answered
        ]
        ap, intervals = self._ap(answered)
        return Share(
            asked=len(asked),
            images=len(answered),
            persons=sum(len(view.keypoints) for view in answered),
            model=_person_agreement(matched, [view.generation for view in answered], self.skeleton),
            errors=_errors(np.array([one.errors for one in matched])),
            ap=ap,
            ap_intervals=intervals,
            people=self._among_people(several) if several else None,
            people_images=len(several),
        )

    def _among_people(self, images: Sequence[Sequence[ReviewerView]]) -> PersonAgreement:
        """Every two reviewers of an image, each held against the other; one image is one, however many looked
        at it."""
        matched = [
            MatchedPersons.together(
                [
                    match_persons(one.keypoints, other, self.skeleton, one.visibility)
                    for one, other in permutations(views, 2)
                ]
            )
            for views in images
        ]
        return _person_agreement(matched, [views[-1].generation for views in images], self.skeleton)

    def _ap(self, views: Sequence[ReviewerView]) -> tuple[dict[str, float], dict[str, Interval]]:
        """By the rules of the skeleton's benchmark; a person's area is 0.53 of the box's."""
        rules = OKS_RULES[self.skeleton.name]
        truth, detections = _columns(views, self.skeleton.num_joints)
        table = match_images(truth, detections, rules)
        numbers = metrics_of(table, truth.crowd_index, rules).model_dump()
        return numbers, bootstrap_intervals(table, truth.crowd_index, rules, draws=self.draws, seed=self.seed)


def _errors(errors: NDArray[np.int64]) -> Errors:
    """Of images with so many errors each.

    The interval is Byar's of a Poisson count, widened by as much as images scatter more than such counts: it
    says what is not known where there are few images, or none with an error.
    """
    images, count = len(errors), float(errors.sum())
    scatter = max(1.0, float(errors.var(ddof=1)) / (count / images)) if images > 1 and count else 1.0
    low, high = _poisson_interval(count / scatter)
    per_count = 100 * scatter / images
    return Errors(
        per_hundred_images=100 * count / images,
        interval=Interval(low=low * per_count, high=high * per_count),
        images=Ratio.of((errors > 0).astype(np.float64), np.ones(images)).estimate(),
    )


def _poisson_interval(count: float) -> tuple[float, float]:
    """The 95% interval of the mean that such a count was drawn from."""
    more = count + 1
    low = count * max(0.0, 1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    return low, more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3


def _columns(views: Sequence[ReviewerView], joints: int) -> tuple[GroundTruth, Detections]:
    """People's rows as truth, and the network's as detections, the images being numbered."""
    ids = np.arange(len(views))
    keypoints = np.concatenate([view.keypoints for view in views]).astype(np.float64)
    labelled = np.concatenate([view.visibility for view in views]) > 0
    boxes = np.concatenate([view.boxes_xywh for view in views]).astype(np.float64)
    truth = GroundTruth(
        image_ids=ids,
        crowd_index=np.full(len(views), np.nan),
        sizes=np.array([view.size for view in views], np.int32),
        person_image=np.repeat(ids, [len(view.keypoints) for view in views]),
        person_ids=np.arange(1, len(keypoints) + 1),
        keypoints=keypoints,
        labelled=labelled,
        boxes=boxes,
        areas=box_areas_px2(boxes),
        is_crowd=np.zeros(len(keypoints), bool),
        ignored=np.asarray(~labelled.any(axis=1), bool),
    )
    detections = Detections(
        np.repeat(ids, [len(view.found) for view in views]),
        np.concatenate([view.found.keypoints for view in views]).astype(np.float64).reshape(-1, joints, 2),
        np.concatenate([view.found.scores for view in views]).astype(np.float64),
    )
    return truth, detections


def _person_agreement(
    matched: Sequence[MatchedPersons], generations: Sequence[int], skeleton: Skeleton
) -> PersonAgreement:
    def ratio(values: Sequence[NDArray[np.float64]]) -> Estimate:
        """Of the values of each image; NaN stands for none."""
        known = [value[np.isfinite(value)] for value in values]
        sums, counts = [value.sum() for value in known], [len(value) for value in known]
        return Ratio.of(np.array(sums, np.float64), np.array(counts, np.float64)).estimate()

    oks = [np.where(one.is_found, one.oks, np.nan) for one in matched]
    sizes = {
        name: [
            np.where((one.areas_px2 >= low) & (one.areas_px2 < high), values, np.nan)
            for one, values in zip(matched, oks, strict=True)
        ]
        for name, low, high in ((size.name, size.low_px2, size.high_px2) for size in PERSON_SIZES)
    }
    return PersonAgreement(
        found=ratio([one.is_found.astype(np.float64) for one in matched]),
        oks=ratio(oks),
        joints={
            name: ratio([one.joint_oks[:, joint] for one in matched])
            for joint, name in enumerate(skeleton.joints)
        },
        sizes={name: ratio(values) for name, values in sizes.items()},
        generations={
            str(number): ratio([one for one, own in zip(oks, generations, strict=True) if own == number])
            for number in sorted(set(generations))
        },
    )
