"""YOLO-pose: a text file an image, and a YAML file that describes the data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.export.source import ExportedImage, ExportSource, ExportSummary, PathsInFolder
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from pipeline.storage.uris import join_uri
from posrefine.skeletons import Skeleton

__all__ = ["export_yolo"]

_PUTS_AT_ONCE = 16


def export_yolo(source: ExportSource, output: str) -> ExportSummary:
    """Write `labels/<key>.txt` and `data.yaml`; the images belong into `images/<key>` beside them.

    A line a person: `0 xc yc w h (x y v)*K`, in shares of the frame after EXIF rotation. Joints outside the
    frame or below the wanted score are `0 0 0`: a position moved to the border would teach a wrong one. Boxes
    are cut off at the frame, and persons of whom nothing is left have no line.

    Raises:
        ConfigurationError: two images would share a file.
    """
    paths = PathsInFolder(".txt")
    files = (
        (join_uri(output, "labels", paths.of(image.key)), _lines(image, source.options.min_keypoint_score))
        for image in source.images()
    )
    for _ in map_in_order(partial(_put, source.storage), files, _PUTS_AT_ONCE):
        pass
    description = join_uri(output, "data.yaml")
    source.storage.put(description, _description(source.rows.skeleton))
    return source.summary("yolo", description)


def _put(storage: Storage, file: tuple[str, str]) -> None:
    storage.put(file[0], file[1].encode())


def _description(skeleton: Skeleton) -> bytes:
    # Without `path`, trainers take the folder of this very file, wherever it was copied to.
    content = {
        "train": "images",
        "val": "images",
        "names": {0: "person"},
        "kpt_shape": [skeleton.num_joints, 3],
        "flip_idx": list(skeleton.flip_order),
        "kpt_names": {0: list(skeleton.joints)},
    }
    return yaml.safe_dump(content, sort_keys=False).encode()


def _lines(image: ExportedImage, min_keypoint_score: float) -> str:
    size = np.array([image.width, image.height], float)
    return "".join(
        " ".join(["0", *(f"{value:.6f}" for value in box), *joints]) + "\n"
        for box, joints in _persons(image, size, min_keypoint_score)
    )


def _persons(
    image: ExportedImage, size: NDArray[np.float64], min_keypoint_score: float
) -> Iterator[tuple[list[float], list[str]]]:
    poses = image.poses
    low = np.clip(image.boxes_xywh[:, :2] / size, 0, 1)
    high = np.clip((image.boxes_xywh[:, :2] + image.boxes_xywh[:, 2:]) / size, 0, 1)
    points = poses.keypoints / size
    visibility = image.shown(min_keypoint_score)
    for person in np.flatnonzero((high - low > 0).all(axis=1)):
        box = [*((low[person] + high[person]) / 2).tolist(), *(high[person] - low[person]).tolist()]
        joints = [
            f"{x:.6f} {y:.6f} {flag}" if flag else "0 0 0"
            for (x, y), flag in zip(points[person].tolist(), visibility[person].tolist(), strict=True)
        ]
        yield box, joints
