"""The result of an evaluation: one typed model, which is `metrics.json`."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, TypeAdapter

from posrefine.metrics import CocoMetrics, CrowdPoseMetrics, Finding
from posrefine.metrics.analysis.breakdown import PartScore
from posrefine.metrics.analysis.diagnosis import Calibration, JointErrors, PersonErrors
from posrefine.metrics.analysis.published import PublishedRow
from posrefine.metrics.analysis.resampling import Difference, Interval

__all__ = [
    "CocoEvaluation",
    "Comparison",
    "CrowdPoseEvaluation",
    "Diagnosis",
    "Evaluation",
    "PrecisionRecall",
    "decode_evaluation",
]


class PrecisionRecall(BaseModel):
    """Interpolated precision over persons of all sizes.

    Attributes:
        oks_thresholds: T.
        recalls: R.
        precision: T rows of R; -1 where there is nobody to be found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    oks_thresholds: tuple[float, ...]
    recalls: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]


class Diagnosis(BaseModel):
    """What lies behind the numbers.

    Attributes:
        intervals: 95% bootstrap intervals over images, by the names of the numbers.
        by_size: AP and AR by size of the person.
        by_people: by number of persons in the image.
        by_crowd_index: by crowdedness of the image; empty where the annotations do not say.
        by_joints: by groups of joints, scored on these alone.
        persons: found, missed and invented.
        joints: kinds of errors by joint, on persons that were found.
        calibration: of the scores.
        precision_recall: the curves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intervals: dict[str, Interval]
    by_size: tuple[PartScore, ...]
    by_people: tuple[PartScore, ...]
    by_crowd_index: tuple[PartScore, ...]
    by_joints: tuple[PartScore, ...]
    persons: PersonErrors
    joints: tuple[JointErrors, ...]
    calibration: Calibration
    precision_recall: PrecisionRecall


class Comparison(BaseModel):
    """This run against another on the same images.

    Attributes:
        other: predictions of the other run.
        differences: paired bootstrap, by the names of the numbers.
        warnings: of the checks of the other run's predictions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    other: str
    differences: dict[str, Difference]
    warnings: tuple[Finding, ...]


class _Details(BaseModel):
    """All of an evaluation but its numbers.

    Attributes:
        protocol: `coco` or `crowdpose`.
        predictions: what was evaluated.
        annotations: against what.
        model: name of the network, where the predictions or the user tell.
        weights: what they were called, where the predictions tell.
        images: annotated images, all of them scored.
        persons: to be found in them.
        detections: that were matched, the best 20 of an image at most.
        images_without_detections: of `images`.
        warnings: of all input checks; empty means that nothing was odd.
        numbers_without_train_overlap: on the images that the training set does not have; None where it shares
            none, or is not known.
        diagnosis: None where it was not asked for.
        published: figures that others published for the network; never measured here.
        comparison: None where none was asked for.
        seconds: that the evaluation took.
        code_version: of this project.
        evaluated_at: when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    predictions: str
    annotations: str
    model: str | None
    weights: str | None
    images: int
    persons: int
    detections: int
    images_without_detections: int
    warnings: tuple[Finding, ...]
    numbers_without_train_overlap: CocoMetrics | CrowdPoseMetrics | None
    diagnosis: Diagnosis | None
    published: tuple[PublishedRow, ...]
    comparison: Comparison | None
    seconds: float
    code_version: str
    evaluated_at: datetime

    def encode(self) -> bytes:
        """As `metrics.json`; the benchmark's numbers come first, at the top level, in full precision."""
        return self.model_dump_json(indent=2).encode()


class CocoEvaluation(_Details, CocoMetrics):
    """An evaluation by COCO's protocol; `str` gives the table of its numbers."""


class CrowdPoseEvaluation(_Details, CrowdPoseMetrics):
    """An evaluation by CrowdPose's protocol; `str` gives the table of its numbers."""


Evaluation = CocoEvaluation | CrowdPoseEvaluation


def decode_evaluation(data: bytes) -> Evaluation:
    """The evaluation in a `metrics.json`; pydantic's ValidationError if it is none."""
    adapter: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
    return adapter.validate_json(data)
