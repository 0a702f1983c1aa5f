"""Training of the rescoring network: it predicts the OKS of the pose network's poses.

Follows DEKR (Geng et al., CVPR 2021): the network's own detections on the training images, each with its best
OKS with any annotated person of its image; squared error, Adam. Beyond DEKR, the network sees a pose's size
and the spread of its views, and every pose is also learnt from mirrored: a mirrored image would have given
the mirrored pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError, TrainingError
from posrefine.metrics import GroundTruth, object_keypoint_similarity
from posrefine.modeling.score_net import ScoreNet, score_features
from posrefine.skeletons import Skeleton

__all__ = ["ScoreExamples", "ScoreRecipe", "best_oks", "train_score_net"]

_SEEDS = 2**64
_FITS = 0.5
"""The lowest OKS at which COCO's evaluation takes a pose for a person's."""


@dataclass(frozen=True)
class ScoreExamples:
    """Detected poses and how good they are.

    Attributes:
        keypoints: [N, K, 2] float32, image px.
        keypoint_scores: [N, K] float32.
        spread_px: [N, K] float32, image px, of the test's views; NaN where there was one.
        short_sides_px: [N] float32, of the poses' images.
        oks: [N] float32, best OKS with any person of the image; 0 where there is none. Poses of which nobody
            can say it are not among these.
    """

    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    spread_px: NDArray[np.float32]
    short_sides_px: NDArray[np.float32]
    oks: NDArray[np.float32]


@dataclass(frozen=True)
class ScoreRecipe:
    """DEKR's numbers: the rate falls to a tenth at half and at three quarters of the run.

    Attributes:
        epochs: times that every pose is seen.
        batch_size: poses of one step.
        learning_rate: the highest one.
        seed: of the first weights and the order of poses, 0 to 2**64 - 1, which Torch takes.

    Raises:
        ConfigurationError: a number that no training can have.
    """

    epochs: int = 20
    batch_size: int = 1024
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give a number above 0")
        if not 0 <= self.seed < _SEEDS:
            raise ConfigurationError(f"seed is {self.seed}: give 0 or a number above it, below 2**64")

    def learning_rate_at(self, epoch: int) -> float:
        """The rate of epoch `epoch`, from 0."""
        return float(self.learning_rate * 0.1 ** sum(epoch >= self.epochs * part for part in (0.5, 0.75)))


def best_oks(
    keypoints: NDArray[np.float64], image_ids: NDArray[np.int64], truth: GroundTruth, skeleton: Skeleton
) -> NDArray[np.float64]:
    """[N] best OKS of every pose with a labelled person of its image that is no crowd; 0 where there is none.

    NaN where nobody can say how good a pose is: it fits no such person, but does fit one whose joints nobody
    labelled, or a crowd. COCO's evaluation leaves the same poses out.

    Args:
        keypoints: [N, K, 2] image px.
        image_ids: [N], of `truth`.
        truth: annotated persons.
        skeleton: gives the joints' tolerances.
    """
    best, unlabelled = (
        _best_oks(keypoints, image_ids, truth, np.flatnonzero(which), skeleton)
        for which in (~truth.ignored, truth.ignored)
    )
    return np.where((best < _FITS) & (unlabelled >= _FITS), np.nan, best)


def _best_oks(
    keypoints: NDArray[np.float64],
    image_ids: NDArray[np.int64],
    truth: GroundTruth,
    persons: NDArray[np.int64],
    skeleton: Skeleton,
) -> NDArray[np.float64]:
    """[N] with any of these persons."""
    of_person = truth.image_ids[truth.person_image[persons]]
    first = np.searchsorted(of_person, image_ids, side="left")
    count = np.searchsorted(of_person, image_ids, side="right") - first
    pose = np.repeat(np.arange(len(image_ids)), count)
    within = np.arange(len(pose)) - np.repeat(np.cumsum(count) - count, count)
    person = persons[np.repeat(first, count) + within]
    similarity = object_keypoint_similarity(
        keypoints[pose],
        truth.keypoints[person],
        truth.labelled[person],
        truth.boxes[person],
        truth.areas[person],
        np.asarray(skeleton.sigmas),
    )
    best = np.zeros(len(image_ids))
    np.maximum.at(best, pose, similarity)
    return best


def train_score_net(
    examples: ScoreExamples, skeleton: Skeleton, recipe: ScoreRecipe = ScoreRecipe()
) -> tuple[ScoreNet, float]:
    """A trained network and its root mean square error on the examples and their mirror images, in OKS.

    Raises:
        TrainingError: there are no examples, no pose is near any person, or the loss is not finite.
    """
    if not np.any(examples.oks > 0):
        raise TrainingError(
            f"{len(examples.oks)} detected poses, and none of them near an annotated person: check that "
            "run and annotations are of the same images"
        )
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = ScoreNet(skeleton)
    features = torch.cat([_features(examples, skeleton), _features(_mirrored(examples, skeleton), skeleton)])
    oks = torch.from_numpy(np.tile(examples.oks, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(epoch)
        for rows in torch.split(torch.randperm(len(oks), generator=generator), recipe.batch_size):
            optimizer.zero_grad()
            loss = F.mse_loss(network(features[rows]), oks[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        error = F.mse_loss(network(features), oks).sqrt().item()
    if not np.isfinite(error):
        raise TrainingError("the rescoring loss is not finite: train with a lower learning rate")
    return network.eval(), error


def _features(examples: ScoreExamples, skeleton: Skeleton) -> torch.Tensor:
    return score_features(
        torch.from_numpy(examples.keypoints),
        torch.from_numpy(examples.keypoint_scores),
        torch.from_numpy(examples.spread_px),
        torch.from_numpy(examples.short_sides_px),
        skeleton,
    )


def _mirrored(examples: ScoreExamples, skeleton: Skeleton) -> ScoreExamples:
    """The poses of the mirrored images, up to a shift in x, which no feature depends on."""
    order = list(skeleton.flip_order)
    keypoints = examples.keypoints[:, order] * np.array([-1, 1], np.float32)
    return replace(
        examples,
        keypoints=keypoints,
        keypoint_scores=examples.keypoint_scores[:, order],
        spread_px=examples.spread_px[:, order],
    )
