"""What a person is made of: joints, limbs, mirror pairs and tolerances of the two data sets.

Sources: COCO keypoints (cocodataset.org, `person_keypoints` categories and pycocotools' sigmas), CrowdPose
(Li et al., CVPR 2019, and its evaluation tool's sigmas), limbs of the rescoring network from HRNet/DEKR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from posrefine.errors import ConfigurationError

__all__ = ["COCO", "CROWDPOSE", "SKELETONS", "Skeleton"]


@dataclass(frozen=True)
class Skeleton:
    """Joints of one annotation convention, in the order of its files.

    COCO's and CrowdPose's stand below; anybody may make another one:
    `Skeleton(name="hand", joints=("wrist", "thumb_tip", ...), sigmas=(0.05,) * 21, limbs=((0, 1), ...))`.
    Left and right are told by names alone: a joint `left_x` changes places with `right_x` when an image is
    mirrored, and has that side's colour; every other joint is its own mirror image. Nothing else is read from
    names but how far an offset to a body's joint typically errs, which has a default.

    Attributes:
        name: short name, also the evaluation protocol's.
        joints: joint names; their positions are the joint indices used everywhere.
        sigmas: per-joint standard deviation of the annotators, the k_i/2 of OKS, in units of sqrt(area).
        limbs: pairs of joint indices to draw, and the `skeleton` of COCO categories (there 1-based).
        score_limbs: pairs whose vectors (first minus second joint) the rescoring network reads, in its order;
            without any there can be no rescoring network.
        score_reference_limbs: positions in `score_limbs` of the two limbs whose mean length is the unit.
        nms_close_joints: pose NMS calls two poses one person if more than this many joints are close; None is
            half of the joints, as of COCO's and CrowdPose's.
        other_scale_weight: weight of centre scores found at other test scales than 1.

    Raises:
        ConfigurationError: the parts do not fit each other.
    """

    name: str
    joints: tuple[str, ...]
    sigmas: tuple[float, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    score_limbs: tuple[tuple[int, int], ...] = ()
    score_reference_limbs: tuple[int, int] | None = None
    nms_close_joints: int | None = None
    other_scale_weight: float = 0.9

    def __post_init__(self) -> None:
        for complaint in self._complaints():
            raise ConfigurationError(f"skeleton {self.name}: {complaint}")

    def _complaints(self) -> Iterator[str]:
        """What does not fit, each in words that follow the skeleton's name."""
        if len(self.joints) < 2:
            yield f"joints are {self.joints}, wanted two or more: poses are compared in units of their extent"
        if len(set(self.joints)) != len(self.joints):
            yield "joint names repeat; give every joint its own"
        if len(self.sigmas) != len(self.joints):
            yield f"{len(self.sigmas)} sigmas for {len(self.joints)} joints; give one each"
        if not all(math.isfinite(sigma) and sigma > 0 for sigma in self.sigmas):
            yield f"sigmas are {self.sigmas}, wanted numbers above 0"
        for joint in self.joints:
            if _mirror_name(joint) not in self.joints:
                yield (
                    f"joint {joint} has no {_mirror_name(joint)} to change places with in mirrored images; "
                    "name both, or neither side"
                )
        for what, limbs in (("limb", self.limbs), ("score limb", self.score_limbs)):
            for limb in limbs:
                if not all(0 <= joint < len(self.joints) for joint in limb) or len(set(limb)) != 2:
                    yield f"{what} {limb} is no pair of different joints, wanted 0 to {len(self.joints) - 1}"
        units = self.score_reference_limbs
        if bool(self.score_limbs) != (units is not None):
            yield "score_limbs and score_reference_limbs go together; give both or neither"
        elif units is not None and not all(0 <= limb < len(self.score_limbs) for limb in units):
            yield f"score_reference_limbs are {units}, wanted positions in score_limbs"
        if self.nms_close_joints is not None and not 0 <= self.nms_close_joints < len(self.joints):
            yield f"nms_close_joints is {self.nms_close_joints}, wanted 0 to {len(self.joints) - 1}"

    @property
    def num_joints(self) -> int:
        """Number of joints, K in shapes."""
        return len(self.joints)

    def coco_category(self, name: str = "person") -> dict[str, Any]:
        """The category of COCO-form files, of id 1: the joints' names, and the limbs counted from 1."""
        return {
            "id": 1,
            "name": name,
            "supercategory": name,
            "keypoints": list(self.joints),
            "skeleton": [[first + 1, second + 1] for first, second in self.limbs],
        }

    @property
    def close_joints(self) -> int:
        """Two poses are one person if more than this many joints are close."""
        return self.num_joints // 2 if self.nms_close_joints is None else self.nms_close_joints

    @property
    def score_features(self) -> int:
        """How many numbers a rescoring network's first layer reads: x, y, length of limbs; scores."""
        return 3 * len(self.score_limbs) + self.num_joints

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """For every joint the index of its mirror image (itself on the middle line)."""
        position = {name: index for index, name in enumerate(self.joints)}
        return tuple(position[_mirror_name(name)] for name in self.joints)


def _mirror_name(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


_COCO_LIMBS = (
    (0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (5, 11),
    (6, 8), (6, 12), (7, 9), (8, 10), (11, 12), (11, 13), (12, 14), (13, 15), (14, 16),
)  # fmt: skip

_CROWDPOSE_LIMBS = (
    (12, 13), (13, 0), (13, 1), (0, 2), (1, 3), (2, 4), (3, 5), (0, 6), (1, 7), (6, 8),
    (7, 9), (8, 10), (9, 11), (6, 7), (0, 1),
)  # fmt: skip

COCO = Skeleton(
    name="coco",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    # COCO's own category limbs, made 0-based.
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    score_limbs=_COCO_LIMBS,
    score_reference_limbs=(9, 11),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
        0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
    nms_close_joints=8,
    other_scale_weight=0.9,
)  # fmt: skip

CROWDPOSE = Skeleton(
    name="crowdpose",
    joints=(
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
    ),
    limbs=_CROWDPOSE_LIMBS,
    score_limbs=_CROWDPOSE_LIMBS,
    score_reference_limbs=(9, 11),
    sigmas=(
        0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079,
    ),
    nms_close_joints=7,
    other_scale_weight=0.8,
)  # fmt: skip

SKELETONS: dict[str, Skeleton] = {skeleton.name: skeleton for skeleton in (COCO, CROWDPOSE)}
