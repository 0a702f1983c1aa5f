"""AP of a network in training, by the same predictor and the same metrics that runs are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.inference.predictor import Predictor
from posrefine.metrics import (
    CocoMetrics,
    CrowdPoseMetrics,
    Detections,
    GroundTruth,
    GroundTruthBuilder,
    match_images,
    metrics_of,
    oks_rules,
)
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton
from posrefine.synthetic import coco_annotations, render_scenes
from posrefine.test_protocols import OFFICIAL, TestProtocol

__all__ = ["ValidationSet"]

IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class ValidationSet:
    """Held-out images with their annotations.

    Attributes:
        images: [H, W, 3] uint8 RGB by image id; may decode them when asked.
        truth: the annotated persons.
        skeleton: names the protocol.
    """

    images: Mapping[int, NDArray[np.uint8]]
    truth: GroundTruth
    skeleton: Skeleton

    @staticmethod
    def of(
        images: Mapping[int, NDArray[np.uint8]], annotations: Mapping[str, Any], skeleton: Skeleton
    ) -> ValidationSet:
        """From pixels by image id, and an annotation file's content in COCO's or CrowdPose's form.

        Images of the file without pixels are left out.
        """
        builder = GroundTruthBuilder(oks_rules(skeleton.name))
        builder.add_categories(annotations["categories"])
        builder.add_images([record for record in annotations["images"] if record["id"] in images])
        builder.add_persons([record for record in annotations["annotations"] if record["image_id"] in images])
        truth = builder.build()[0]
        return ValidationSet(images, truth, skeleton)

    @staticmethod
    def rendered(count: int, first_seed: int, skeleton: Skeleton) -> ValidationSet:
        """Scenes of consecutive seeds, easy, medium and hard ones in turn; image ids count from 1."""
        scenes = list(render_scenes(count, first_seed))
        frames = {image_id: scene.image for image_id, scene in enumerate(scenes, start=1)}
        return ValidationSet.of(frames, coco_annotations(scenes, skeleton), skeleton)

    def metrics(
        self,
        model: PoseNetwork,
        input_size_px: int,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        protocol: TestProtocol = OFFICIAL,
        score_net: ScoreNet | None = None,
    ) -> CocoMetrics | CrowdPoseMetrics:
        """Evaluate `model` on these images; the arguments are `Predictor`'s."""
        device = next(model.parameters()).device
        predictor = Predictor(
            model,
            input_size=input_size_px,
            scales=scales,
            flip=flip,
            score_net=score_net,
            device=device,
            protocol=protocol,
        )
        judged_by = oks_rules(self.skeleton.name)
        table = match_images(self.truth, self.detections(predictor), judged_by)
        return metrics_of(table, self.truth.crowd_index, judged_by)

    def detections(self, predictor: Predictor) -> Detections:
        """All persons that it finds in these images."""
        ids = self.truth.image_ids.tolist()
        poses: list[Poses] = []
        for start in range(0, len(ids), IMAGES_AT_ONCE):
            poses += predictor([self.images[image_id] for image_id in ids[start : start + IMAGES_AT_ONCE]])
        return Detections(
            image_ids=np.repeat(self.truth.image_ids, [len(found) for found in poses]),
            keypoints=np.concatenate([found.keypoints for found in poses]).astype(np.float64),
            scores=np.concatenate([found.scores for found in poses]).astype(np.float64),
        )
