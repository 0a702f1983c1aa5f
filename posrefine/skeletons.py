"""What a person is made of: joints, limbs, mirror pairs and tolerances of the two data sets.

Sources: COCO keypoints (cocodataset.org, `person_keypoints` categories and pycocotools' sigmas), CrowdPose
(Li et al., CVPR 2019, and its evaluation tool's sigmas), limbs of the rescoring network from HRNet/DEKR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["COCO", "CROWDPOSE", "SKELETONS", "Skeleton"]


@dataclass(frozen=True)
class Skeleton:
    """Joints of one annotation convention, in the order of its files.

    Attributes:
        name: short name, also the evaluation protocol's.
        joints: joint names; their positions are the joint indices used everywhere.
        limbs: pairs of joint indices to draw, and the `skeleton` of COCO categories (there 1-based).
        score_limbs: pairs whose vectors (first minus second joint) the rescoring network reads, in its order.
        score_reference_limbs: positions in `score_limbs` of the two limbs whose mean length is the unit.
        sigmas: per-joint standard deviation of the annotators, the k_i/2 of OKS, in units of sqrt(area).
        nms_close_joints: pose NMS calls two poses one person if more than this many joints are close.
        other_scale_weight: weight of centre scores found at other test scales than 1.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    score_limbs: tuple[tuple[int, int], ...]
    score_reference_limbs: tuple[int, int]
    sigmas: tuple[float, ...]
    nms_close_joints: int
    other_scale_weight: float

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.joints):
            raise ValueError(f"skeleton {self.name}: {len(self.sigmas)} sigmas for {len(self.joints)} joints")
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"skeleton {self.name}: joint names repeat")

    @property
    def num_joints(self) -> int:
        """Number of joints, K in shapes."""
        return len(self.joints)

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
