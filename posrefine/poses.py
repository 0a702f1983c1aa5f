"""The result type of the predictor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton

if TYPE_CHECKING:
    import supervision
    from PIL import Image

    from posrefine.photographs import Photograph

__all__ = ["Pose", "Poses"]

_COCO_PERSON = 1
_One = int | np.integer[Any]
_Several = slice | list[int] | NDArray[np.bool_] | NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Pose:
    """One person.

    Attributes:
        keypoints: [K, 2] float32, x then y, image px.
        keypoint_scores: [K] float32, about 0..1.
        score: of the person.
        spread_px: [K] float32, image px, as in `Poses`.
    """

    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    score: float
    spread_px: NDArray[np.float32]

    @property
    def box_xywh(self) -> NDArray[np.float32]:
        """[4] float32, image px: the box around the joints, left, top, width, height."""
        box: NDArray[np.float32] = _boxes_xywh(self.keypoints[np.newaxis])[0]
        return box


@dataclass(frozen=True, eq=False)
class Poses:
    """The persons found in one image, best first: a sequence of `Pose`.

    An index gives a `Pose`; a slice, a list of indices or a mask of [N] bool gives `Poses`.

    Attributes:
        keypoints: [N, K, 2] float32, x then y, image px.
        keypoint_scores: [N, K] float32, about 0..1.
        scores: [N] float32, descending as the predictor returns them; multiplied by or replaced by the
            predicted OKS when a score network is in use.
        spread_px: [N, K] float32, image px: root mean square distance of the single test-time views
            (straight, mirrored, scales) from their mean; NaN where there was one view only.
        skeleton: names the joints; None where nobody has said.

    Raises:
        ValueError: an array has another shape.
    """

    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    scores: NDArray[np.float32]
    spread_px: NDArray[np.float32]
    skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 2:
            raise ValueError(f"keypoints: expected [N, K, 2], got {list(self.keypoints.shape)}")
        persons, joints, _ = self.keypoints.shape
        if joints == 0:
            raise ValueError(f"keypoints: expected one joint at least, got {list(self.keypoints.shape)}")
        for name, array, wanted in (
            ("keypoint_scores", self.keypoint_scores, (persons, joints)),
            ("scores", self.scores, (persons,)),
            ("spread_px", self.spread_px, (persons, joints)),
        ):
            if array.shape != wanted:
                raise ValueError(f"{name}: expected {list(wanted)}, got {list(array.shape)}")
        if self.skeleton is not None and self.skeleton.num_joints != joints:
            raise ValueError(
                f"keypoints: expected [N, {self.skeleton.num_joints}, 2] for the skeleton "
                f"{self.skeleton.name}, got {list(self.keypoints.shape)}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Pose]:
        return (self[person] for person in range(len(self)))

    @overload
    def __getitem__(self, index: _One) -> Pose: ...

    @overload
    def __getitem__(self, index: _Several) -> Poses: ...

    def __getitem__(self, index: _One | _Several) -> Pose | Poses:
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f"person {index} of {len(self)}")
            score = float(self.scores[index])
            return Pose(self.keypoints[index], self.keypoint_scores[index], score, self.spread_px[index])
        chosen = index if isinstance(index, slice) else self._several(index)
        return replace(
            self,
            keypoints=self.keypoints[chosen],
            keypoint_scores=self.keypoint_scores[chosen],
            scores=self.scores[chosen],
            spread_px=self.spread_px[chosen],
        )

    def _several(self, index: object) -> NDArray[np.bool_] | NDArray[np.integer[Any]]:
        """A list of indices or a mask as an array that fits."""
        wanted = f"expected a number, a slice, a list of numbers or a mask of [{len(self)}] bool"
        if not isinstance(index, list | np.ndarray):
            raise TypeError(f"poses[{index!r:.80}]: {wanted}")
        # An empty list is an array of floats to NumPy, which indexes nothing.
        chosen = np.zeros(0, np.intp) if isinstance(index, list) and not index else np.array(index)
        if chosen.ndim != 1 or chosen.dtype.kind not in "bui":
            raise TypeError(f"poses[{index!r:.80}]: {wanted}")
        if chosen.dtype.kind == "b" and len(chosen) != len(self):
            raise IndexError(f"a mask of {len(chosen)} for {len(self)} persons")
        if chosen.dtype.kind != "b":
            for outside in chosen[(chosen < -len(self)) | (chosen >= len(self))]:
                raise IndexError(f"person {outside} of {len(self)}")
        return chosen

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Poses):
            return NotImplemented
        return self.skeleton == other.skeleton and all(
            np.array_equal(mine, theirs, equal_nan=True)
            for mine, theirs in zip(self._arrays(), other._arrays(), strict=True)
        )

    def __repr__(self) -> str:
        persons = "1 person" if len(self) == 1 else f"{len(self)} persons"
        skeleton = "" if self.skeleton is None else f" ({self.skeleton.name})"
        shown = ", ".join(f"{score:.2f}" for score in self.scores[:5])
        scores = f", scores {shown}{', ...' if len(self) > 5 else ''}" if len(self) else ""
        return f"<Poses: {persons} of {self.keypoints.shape[1]} joints{skeleton}{scores}>"

    @property
    def boxes_xywh(self) -> NDArray[np.float32]:
        """[N, 4] float32, image px: the box around each person's joints, left, top, width, height."""
        return _boxes_xywh(self.keypoints)

    def filter(self, *, min_score: float = -math.inf) -> Poses:
        """The persons whose score is at least `min_score`, in the same order.

        Raises:
            ConfigurationError: `min_score` is NaN, which is above and below nothing.
        """
        if math.isnan(min_score):
            raise ConfigurationError(f"min_score is {min_score}, expected a number")
        return self[self.scores >= min_score]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, named as in the tables of a run.

        Returns:
            `skeleton` and `joints` (names; None where nobody has said) and `persons`, each with `score`,
            `bbox` (left, top, width, height), `keypoints` ([x, y] a joint), `keypoint_scores` and `spread_px`
            (None for a joint that a single view has seen). All px are image px.
        """
        persons = [
            {
                "score": score,
                "bbox": box,
                "keypoints": keypoints,
                "keypoint_scores": keypoint_scores,
                "spread_px": [None if math.isnan(px) else px for px in spread],
            }
            for score, box, keypoints, keypoint_scores, spread in zip(
                self.scores.tolist(),
                self.boxes_xywh.tolist(),
                self.keypoints.tolist(),
                self.keypoint_scores.tolist(),
                self.spread_px.tolist(),
                strict=True,
            )
        ]
        skeleton = self.skeleton
        return {
            "skeleton": None if skeleton is None else skeleton.name,
            "joints": None if skeleton is None else list(skeleton.joints),
            "persons": persons,
        }

    def to_coco(self, *, image_id: int | np.integer[Any] | str) -> list[dict[str, Any]]:
        """The persons as entries of a COCO results file, in full precision.

        Args:
            image_id: of the image in the annotation file that these results are to be scored with.

        Returns:
            For each person `image_id`, `category_id` (1), `keypoints` (x, y, score of joint 0, of joint 1,
            ...) and `score`.
        """
        plain_id = int(image_id) if isinstance(image_id, np.integer) else image_id
        triples = np.concatenate([self.keypoints, self.keypoint_scores[:, :, np.newaxis]], axis=2)
        flat = triples.reshape(len(self), 3 * triples.shape[1]).tolist()
        return [
            {"image_id": plain_id, "category_id": _COCO_PERSON, "keypoints": keypoints, "score": score}
            for keypoints, score in zip(flat, self.scores.tolist(), strict=True)
        ]

    def to_supervision(self) -> supervision.KeyPoints:
        """The persons as `supervision.KeyPoints`, for its annotators, trackers and counters.

        Raises:
            ConfigurationError: the package `supervision` is not installed.
        """
        try:
            from supervision import KeyPoints
        except ImportError as error:
            raise ConfigurationError(
                f"to_supervision needs the package supervision ({error}); pip install supervision"
            ) from error
        return KeyPoints(
            xy=self.keypoints.copy(),
            class_id=np.zeros(len(self), np.int64),
            keypoint_confidence=self.keypoint_scores.copy(),
            detection_confidence=self.scores.copy(),
        )

    def draw(
        self,
        image: Photograph,
        *,
        min_score: float = -math.inf,
        min_keypoint_score: float = -math.inf,
        skeleton: Skeleton | None = None,
    ) -> Image.Image:
        """The persons over their photograph: the left side orange, the right side blue, the middle green.

        Args:
            image: what the predictor was given: a path or a Pillow image, turned upright by its EXIF
                orientation, or [H, W, 3] uint8 RGB. It is not changed.
            min_score: persons below this score are left out.
            min_keypoint_score: joints below this score are left out, and the limbs that end in them.
            skeleton: gives limbs and sides; None is the poses' own.

        Raises:
            ConfigurationError: nobody has said whose joints these are.
            ImageError: the image cannot be read.
        """
        from PIL import Image

        from posrefine.drawing import draw_poses
        from posrefine.photographs import pixels_of

        skeleton = skeleton or self.skeleton
        if skeleton is None:
            raise ConfigurationError(
                f"these poses of {self.keypoints.shape[1]} joints know no skeleton, so there are no limbs to "
                "draw; name it: draw(image, skeleton=posrefine.COCO)"
            )
        drawn = draw_poses(
            pixels_of(image), self, skeleton, min_score=min_score, min_keypoint_score=min_keypoint_score
        )
        return Image.fromarray(drawn)

    @staticmethod
    def none(num_joints: int, skeleton: Skeleton | None = None) -> Poses:
        """No persons, for a skeleton of `num_joints` joints."""
        return Poses(
            keypoints=np.zeros((0, num_joints, 2), np.float32),
            keypoint_scores=np.zeros((0, num_joints), np.float32),
            scores=np.zeros((0,), np.float32),
            spread_px=np.zeros((0, num_joints), np.float32),
            skeleton=skeleton,
        )

    def _arrays(self) -> tuple[NDArray[np.float32], ...]:
        return self.keypoints, self.keypoint_scores, self.scores, self.spread_px


def _boxes_xywh(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, K, 2] to [N, 4]."""
    if len(keypoints) == 0:
        return np.zeros((0, 4), np.float32)
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    return np.concatenate([low, high - low], axis=1)
