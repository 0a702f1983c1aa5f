"""Findings of the input checks: by code, with counts and examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

__all__ = ["MESSAGES", "Finding", "FindingLog"]

MESSAGES = {
    "duplicate_images": "image ids occur more than once in the annotations; the last entry counts",
    "duplicate_annotation_ids": (
        "annotation ids occur more than once; every entry counts as a person of its own "
        "(reference tools let the last one stand for all)"
    ),
    "annotation_id_zero": (
        "an annotation has id 0: a detection that takes it counts as wrong, as in the reference tools; "
        "number annotations from 1"
    ),
    "annotations_of_unknown_images": "annotations name images that are not listed; left out",
    "annotations_of_other_categories": "annotations are not of the person category; left out",
    "annotations_not_finite": "annotations hold NaN or infinity; ignored, like a crowd",
    "num_keypoints_contradicts_flags": (
        "num_keypoints is 0 where joints are labelled, or the reverse; num_keypoints decides, "
        "as in the reference tools"
    ),
    "swapped_sizes": (
        "width and height look swapped: joints lie outside the stated size but inside the swapped one "
        "(the original CrowdPose files do this); the numbers do not depend on it"
    ),
    "no_annotations": (
        "the annotation file has no person: nothing can be scored, and every number is -1; of a test set "
        "without public annotations, evaluate.py test-dev writes the server's archive"
    ),
    "crowd_index_missing": (
        "images have no crowdIndex and count in none of easy, medium, hard; use the benchmark's own file"
    ),
    "crowd_index_negative": "crowdIndex is below 0 and counts as easy, as in the reference tool",
    "crowd_split_empty": "splits of easy, medium, hard hold no person to be found and score -1",
    "predictions_of_other_categories": "predictions are not of the person category; left out",
    "predictions_wrong_joint_count": "predictions have another number of joints; left out",
    "predictions_not_finite": (
        "predictions hold NaN or infinity in coordinates or score; left out "
        "(reference tools would call them perfect)"
    ),
    "predictions_of_unknown_images": "predictions are in images that the annotations do not list; left out",
    "duplicate_predictions": "images occur more than once in the predictions; the first occurrence counts",
    "images_missing": "annotated images are not in the predictions; their persons count as missed",
    "images_failed": "annotated images failed in the run; their persons count as missed",
    "images_corrected": (
        "images have been corrected by people, and the numbers are those of the corrected rows; "
        "--source model scores the network's own"
    ),
    "images_not_annotated": "images of the run are not in the annotations; left out",
    "sizes_differ": (
        "the run's images have another size than the annotations say: other files, or another frame of "
        "coordinates; the numbers cannot be trusted for them"
    ),
    "exif_rule_applied": (
        "images carry an EXIF rotation that the run applied; COCO's own annotations ignore EXIF, so their "
        "keypoints are in another frame"
    ),
    "poses_mean_nothing": "the run's own files say that no number here means anything",
    "weights_have_a_note": "the weights' file says what these numbers tell about other images",
    "train_overlap": "images were in the model's training set too; the numbers are too good for them",
}
"""What each code means for the numbers, and what to do."""

_EXAMPLES = 5


class Finding(BaseModel):
    """One kind of trouble in the input of an evaluation.

    Attributes:
        code: short name, a key of `MESSAGES`.
        count: how many images, persons or entries are concerned.
        message: what it means for the numbers and what to do.
        examples: the first few concerned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    count: int
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        examples = f" (for example {', '.join(self.examples)})" if self.examples else ""
        return f"{self.code}: {self.count}: {self.message}{examples}"

    @staticmethod
    def of(code: str, concerned: Sequence[object] | NDArray[Any]) -> list[Finding]:
        """A list of one finding about the entries `concerned`, or of none if there are none."""
        if len(concerned) == 0:
            return []
        examples = tuple(str(entry) for entry in concerned[:_EXAMPLES])
        return [Finding(code=code, count=len(concerned), message=MESSAGES[code], examples=examples)]

    @staticmethod
    def merge(findings: Iterable[Finding]) -> list[Finding]:
        """Findings of several parts: those with one code are added up."""
        merged: dict[str, Finding] = {}
        for finding in findings:
            known = merged.get(finding.code)
            if known is None:
                merged[finding.code] = finding
                continue
            update = {
                "count": known.count + finding.count,
                "examples": (known.examples + finding.examples)[:_EXAMPLES],
            }
            merged[finding.code] = known.model_copy(update=update)
        return list(merged.values())


class FindingLog:
    """Counts trouble as it is met, entry by entry."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, code: str, example: object) -> None:
        """Count one entry."""
        self._counts[code] = self._counts.get(code, 0) + 1
        examples = self._examples.setdefault(code, [])
        if len(examples) < _EXAMPLES:
            examples.append(str(example))

    def count(self, code: str) -> int:
        """How often `code` was met."""
        return self._counts.get(code, 0)

    def examples(self, code: str) -> list[str]:
        """The first few entries that `code` was met at."""
        return self._examples.get(code, [])

    def findings(self) -> list[Finding]:
        """All kinds met, in the order of their first occurrence."""
        return [
            Finding(code=code, count=count, message=MESSAGES[code], examples=tuple(self._examples[code]))
            for code, count in self._counts.items()
        ]
