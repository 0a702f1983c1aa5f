"""Would a zoom pass do what several test scales do? Crops around small persons again, instead of whole images.

A first pass sees the whole image once. Where it finds a person smaller in its view than the network knows people
best, a window around that person is cut from the image and enlarged until the person has the known size;
persons that another's window holds get none of their own. Poses of one person in both passes are averaged, by
score times trust in their size, as test scales are. Held beside one scale and several, on rendered scenes of
seeds that nothing else uses: AP, and pixels that the network saw, which is what the time goes by.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from machine import machine, store
from numpy.typing import NDArray

from posrefine.build import VARIANTS, build_model
from posrefine.inference.decoding.nms import close_poses, keep_one_per_group
from posrefine.inference.decoding.trust import size_trust
from posrefine.inference.predictor import Predictor
from posrefine.metrics import Detections, match_images, metrics_of, oks_rules
from posrefine.modeling.score_net import ScoreNet
from posrefine.poses import Poses
from posrefine.skeletons import COCO
from posrefine.test_protocols import POSREFINE
from posrefine.training.validation import ValidationSet
from posrefine.weights import load_weights

FIRST_SEED = 9_500_000
MODEL, WEIGHTS, SCORE_WEIGHTS = "posrefine_tiny", "posrefine:tiny_coco", "posrefine:tiny_coco_score"
SCALES = ((1.0, 1.5), (1.0, 2.0), (1.0, 1.5, 2.0, 2.5))
"""The last are those that the weights' figures are made with."""
LARGEST_ZOOM = 5.0
ENLARGED_FROM = (1.2, 1.5, 2.0)
"""Times that a person is smaller than known, from which it gets a window."""
WINDOWS_PX = (192, 256)
"""Side of a window in the network's input."""
MARGIN = 1.3
"""What a window must hold, in units of the person's box."""
EDGE = 0.03
LEAST_SCORE = 0.05
KNOWN_PX = POSREFINE.known_size_px or 150.0


@dataclass(frozen=True)
class Window:
    """A square of an image that is looked at again; image px."""

    x: int
    y: int
    side: int

    def holds(self, box: NDArray[np.float32]) -> bool:
        return bool(
            (box[0] >= (self.x, self.y)).all() and (box[1] <= (self.x + self.side, self.y + self.side)).all()
        )

    def whole(self, poses: Poses) -> NDArray[np.bool_]:
        """Which poses of the window are of people that its border does not cut; a border of the image cuts nobody."""
        inner = EDGE * self.side
        lowest, highest = poses.keypoints.min(axis=1), poses.keypoints.max(axis=1)
        return ((lowest > inner) & (highest < self.side - inner)).all(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=300)
    given = parser.parse_args()
    model, score_net = build_model(MODEL).eval(), ScoreNet(COCO)
    load_weights(model, WEIGHTS)
    load_weights(score_net, SCORE_WEIGHTS)
    scenes = ValidationSet.rendered(given.scenes, FIRST_SEED, COCO)
    images = [scenes.images[image_id] for image_id in scenes.truth.image_ids.tolist()]

    def predictor(size_px: int, scales: Sequence[float] = (1.0,)) -> Predictor:
        return Predictor(model, size_px, scales, score_net=score_net, protocol=POSREFINE)

    once = predictor(VARIANTS[MODEL].input_size)
    first = [found for image in images for found in once([image])]
    rows = [row(scenes, "one scale", first, pixels(once, images))]
    for scales in SCALES:
        whole = predictor(VARIANTS[MODEL].input_size, scales)
        several = [found for image in images for found in whole([image])]
        shown = ", ".join(f"{scale:g}" for scale in scales)
        rows.append(row(scenes, f"scales {shown}", several, pixels(whole, images)))
    for window_px in WINDOWS_PX:
        again = predictor(window_px)
        for enlarged_from in ENLARGED_FROM:
            zoomed = [
                zoom(image, found, once.plan(image.shape[:2]).input_hw[0], again, window_px, enlarged_from)
                for image, found in zip(images, first, strict=True)
            ]
            seen = pixels(once, images) + sum(count for _, count in zoomed)
            name = f"zoom, windows of {window_px} px, persons {enlarged_from:g} times too small"
            rows.append(row(scenes, name, [found for found, _ in zoomed], seen))
    store("zoom_pass", {"machine": machine(), "weights": WEIGHTS, "scenes": given.scenes, "rows": rows})


def pixels(predictor: Predictor, images: Sequence[NDArray[np.uint8]]) -> int:
    """Of all network inputs, without the mirrored views."""
    return sum(
        height * width for image in images for height, width in predictor.plan(image.shape[:2]).input_hw
    )


def zoom(
    image: NDArray[np.uint8],
    found: Poses,
    input_hw: tuple[int, int],
    again: Predictor,
    window_px: int,
    enlarged_from: float,
) -> tuple[Poses, int]:
    """Poses of both passes, and pixels of the second."""
    magnified = min(input_hw) / min(image.shape[:2])
    boxes = np.stack([found.keypoints.min(axis=1), found.keypoints.max(axis=1)], axis=1)
    windows: list[Window] = []
    for box, score in zip(boxes, found.scores, strict=True):
        in_view = float(np.linalg.norm(box[1] - box[0])) * magnified
        if (
            score < LEAST_SCORE
            or in_view * enlarged_from > KNOWN_PX
            or any(window.holds(box) for window in windows)
        ):
            continue
        factor = min(KNOWN_PX / max(in_view, 1.0), LARGEST_ZOOM) * magnified
        side = int(max(window_px / factor, MARGIN * (box[1] - box[0]).max()))
        side = min(side, *image.shape[:2])
        corner = np.clip(
            box.mean(axis=0) - side / 2, 0, (image.shape[1] - side, image.shape[0] - side)
        ).astype(int)
        windows.append(Window(int(corner[0]), int(corner[1]), side))
    crops = [np.ascontiguousarray(image[w.y : w.y + w.side, w.x : w.x + w.side]) for w in windows]
    seen = again(crops) if crops else []
    points, scores = [found.keypoints], [found.scores]
    factors = [np.full(len(found), magnified)]
    for window, everybody in zip(windows, seen, strict=True):
        poses = everybody[window.whole(everybody)]
        points.append(poses.keypoints + np.array([window.x, window.y], np.float32))
        scores.append(poses.scores)
        factors.append(np.full(len(poses), window_px / window.side))
    return merged(found, np.concatenate(points), np.concatenate(scores), np.concatenate(factors)), len(
        crops
    ) * window_px**2


def merged(
    like: Poses, points: NDArray[np.float32], scores: NDArray[np.float32], magnified: NDArray[np.float64]
) -> Poses:
    """One pose for every group that is one person's: the mean of its poses, by score times trust."""
    if not len(points):
        return like
    poses = torch.from_numpy(points)[None].float()
    in_views = poses * torch.from_numpy(magnified)[None, :, None, None].float()
    trust = size_trust(in_views, (1.0,), KNOWN_PX)[..., 0]
    merit = torch.from_numpy(scores)[None].float() * trust
    order = merit[0].argsort(descending=True)
    poses, merit = poses[0, order], merit[0, order]
    groups = close_poses(poses[None], POSREFINE.nms_threshold_multi, COCO.close_joints)[0]
    kept = keep_one_per_group(groups[None], merit[None], torch.ones(1, len(order), dtype=torch.bool))[0]
    weights = (groups * merit)[kept]
    weights = weights / weights.sum(dim=1, keepdim=True)
    mean = torch.einsum("kp,pjc->kjc", weights, poses).numpy()
    mean_scores = (weights * torch.from_numpy(scores)[order]).sum(dim=1).numpy()
    ones = np.ones(mean.shape[:2], np.float32)
    return Poses(mean, ones, mean_scores, 0 * ones)


def row(scenes: ValidationSet, name: str, poses: Sequence[Poses], seen: int) -> dict[str, Any]:
    ids = scenes.truth.image_ids
    detections = Detections(
        image_ids=np.repeat(ids, [len(found) for found in poses]),
        keypoints=np.concatenate([found.keypoints for found in poses]).astype(np.float64),
        scores=np.concatenate([found.scores for found in poses]).astype(np.float64),
    )
    rules = oks_rules(COCO.name)
    found = metrics_of(match_images(scenes.truth, detections, rules), scenes.truth.crowd_index, rules)
    return {
        "way": name,
        "AP": round(found.AP, 4),
        "AR": round(found.AR, 4),
        "input_pixels_per_image": round(seen / len(ids)),
    }


if __name__ == "__main__":
    main()
