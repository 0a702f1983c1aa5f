"""DEKR's published test loop, written down plainly: eager PyTorch, float32, one photograph after the other.

One scale and the mirrored image. Follows the test code of "Bottom-Up Human Pose Estimation via Disentangled
Keypoint Regression": whole maps are averaged and enlarged to the size of the input, and poses are compared one by
one. Shares with the product the arithmetic of the input's size alone. Pose NMS keeps the best of every group.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import dekr_reference, hrnet_reference

from posrefine.inference.pixels.resize import plan_resize
from posrefine.skeletons import COCO
from posrefine.test_protocols import OFFICIAL

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
STRIDE, SHIFT, CENTRES, LEAST_HEAT, NMS_SHARE, CLOSE_JOINTS = 4, 3, 30, 0.01, 0.05, 8


@torch.inference_mode()
def poses(weights: dict[str, Tensor], image: NDArray[np.uint8], input_size: int) -> NDArray[np.float32]:
    """[N, 17, 2] keypoints, image px, of the persons of an [H, W, 3] RGB image, the best first."""
    plan = plan_resize(image.shape[:2], input_size, (1.0,), OFFICIAL)
    (height, width), back = plan.input_hw[0], plan.input_to_image[0]
    to_image = np.array([[back.scale_x, 0, back.shift_x], [0, back.scale_y, back.shift_y]])
    warped = cv2.warpAffine(image, to_image, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    pixels = torch.from_numpy((warped.astype(np.float32) / 255 - MEAN) / STD).permute(2, 0, 1)[None]
    mirrored = pixels.flip(-1)
    mirrored = torch.cat([mirrored[..., SHIFT:], mirrored[..., -SHIFT:]], dim=-1)
    heat, positions = _maps(weights, pixels)
    other_heat, other_positions = _maps(weights, mirrored)
    order = list(COCO.flip_order)
    heat = (heat + other_heat[[*order, len(order)]].flip(-1)) / 2
    other_positions = other_positions[order].flip(-1)
    other_positions[:, 0] = heat.shape[-1] - other_positions[:, 0] - 1
    positions = (positions + other_positions) / 2
    found = _proposals(heat[-1], positions)
    joints = _enlarged(heat[:-1], (height, width))
    y = found[..., 1].floor().long().clamp(0, height - 1)
    x = found[..., 0].floor().long().clamp(0, width - 1)
    merit = joints[torch.arange(len(joints)), y, x].mean(dim=1)
    kept = _best_of_groups(found.numpy(), merit.numpy())
    best = sorted(kept, key=lambda index: -float(merit[index]))
    in_image = found.numpy()[best] @ to_image[:, :2].T + to_image[:, 2]
    return in_image.astype(np.float32)


def _maps(weights: dict[str, Tensor], pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps [18, h, w], and where every cell's person has its joints, in cells: [17, 2, h, w]."""
    heat, offsets = dekr_reference.heatmaps_and_offsets(weights, hrnet_reference.features(weights, pixels))
    height, width = heat.shape[-2:]
    cells = torch.stack(
        torch.meshgrid(torch.arange(width).float(), torch.arange(height).float(), indexing="xy")
    )
    return heat[0], cells - offsets[0].unflatten(0, (-1, 2))


def _proposals(centre: Tensor, positions: Tensor) -> Tensor:
    """Poses [P, 17, 2], input px, of the highest peaks of the centre map."""
    size = sum(centre.shape) / 2
    kernel = 7 if size > 300 else 5 if size > 200 else 3
    peaks = F.max_pool2d(centre[None, None], kernel, 1, kernel // 2)[0, 0] == centre
    heights, flat = (centre * peaks).flatten().topk(CENTRES)
    chosen = flat[heights > LEAST_HEAT]
    return positions.flatten(2)[:, :, chosen].permute(2, 0, 1) * STRIDE


def _enlarged(maps: Tensor, hw: tuple[int, int]) -> Tensor:
    """[K, h, w] to the size of the input."""
    height, width = (side - STRIDE + 1 for side in hw)
    big = F.interpolate(maps[None], (height, width), mode="bilinear", align_corners=True)
    return F.pad(big, (0, STRIDE - 1, 0, STRIDE - 1), mode="replicate")[0]


def _best_of_groups(found: NDArray[np.float32], merit: NDArray[np.float32]) -> list[int]:
    kept: list[int] = []
    done: set[int] = set()
    for index, pose in enumerate(found):
        if index in done:
            continue
        near = NMS_SHARE * np.linalg.norm(pose.max(axis=0) - pose.min(axis=0))
        close = [
            other
            for other, its in enumerate(found)
            if (np.linalg.norm(its - pose, axis=1) < near).sum() > CLOSE_JOINTS
        ]
        best = max(close, key=lambda other: merit[other], default=index)
        if best not in done:
            kept.append(best)
        done.update(close)
    return kept
