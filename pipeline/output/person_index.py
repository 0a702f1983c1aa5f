"""The persons of a run, to be found by image: an index in memory, joints in a temporary file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.output.rows import RunRows
from pipeline.output.stored_poses import POSE_COLUMNS, stored_poses
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.poses import Poses

__all__ = ["INDEX_COLUMNS", "IndexedImage", "PersonIndex", "index_rows"]

INDEX_COLUMNS = ("image_key", "sha256", "status", "width", "height")
_ROW = np.dtype(
    [
        ("key", np.uint64),
        ("content", np.uint64),
        ("ok", np.bool_),
        ("width", np.int32),
        ("height", np.int32),
        ("start", np.int64),
        ("persons", np.int32),
    ]
)

IndexedImage = np.void
"""One image of the index."""


def index_rows(images: pa.Table, per_image: NDArray[np.int64]) -> NDArray[Any]:
    """[N] of what images are known by; `start` counts the persons from the first image on.

    Args:
        images: with `INDEX_COLUMNS`.
        per_image: [N] persons of each.
    """
    index = np.zeros(images.num_rows, _ROW)
    index["key"] = [_number(key) for key in images["image_key"].to_pylist()]
    # 0 for bytes that were never read.
    index["content"] = [_number(digest) if digest else 0 for digest in images["sha256"].to_pylist()]
    index["ok"] = np.asarray(pc.equal(images["status"], ImageStatus.OK.value))
    for side in ("width", "height"):
        index[side] = np.asarray(pc.fill_null(images[side], 0))
    index["persons"] = per_image
    index["start"] = np.cumsum(per_image) - per_image
    return index


@dataclass(frozen=True)
class PersonIndex:
    """All images of a run, and where their persons are.

    Attributes:
        index: [N], by key.
        numbers: [P, 3 K + 1] float32: keypoints, their scores, and the person's score.
        joints: of a person.
    """

    index: NDArray[Any]
    numbers: NDArray[np.float32]
    joints: int

    @staticmethod
    def read(rows: RunRows, file: IO[bytes]) -> PersonIndex:
        """Read all of a run; `file` takes its joints, and is open for reading and writing.

        Raises:
            ConfigurationError: it holds no image.
            StorageError: it cannot be read.
        """
        joints, parts, count = rows.skeleton.num_joints, list[NDArray[Any]](), 0
        for part in rows.persons(INDEX_COLUMNS, POSE_COLUMNS):
            poses = stored_poses(part.persons, joints)
            index = index_rows(part.images, part.per_image)
            index["start"] += count
            parts.append(index)
            flat = [poses.keypoints.reshape(-1, 2 * joints), poses.keypoint_scores, poses.scores[:, None]]
            file.write(np.concatenate(flat, axis=1).astype(np.float32).tobytes())
            count += len(poses)
        file.flush()
        shape = (count, 3 * joints + 1)
        numbers = np.memmap(file, np.float32, "r", shape=shape) if count else np.zeros(shape, np.float32)
        whole = np.concatenate(parts)
        if not len(whole):
            raise ConfigurationError(
                f"{rows.uri}: holds no image, as yet or at all; nothing compares with it"
            )
        return PersonIndex(whole[np.argsort(whole["key"], kind="stable")], numbers, joints)

    def find(self, wanted: NDArray[Any]) -> NDArray[np.int64]:
        """[N] places in the index of the images with these keys; -1 for those that it lacks."""
        places = np.minimum(np.searchsorted(self.index["key"], wanted["key"]), len(self.index) - 1)
        return np.where(self.index["key"][places] == wanted["key"], places, -1)

    def poses(self, row: IndexedImage) -> Poses:
        """The persons of an image; how far its views lay apart is not kept."""
        start, count, joints = int(row["start"]), int(row["persons"]), self.joints
        numbers = np.array(self.numbers[start : start + count])
        return Poses(
            keypoints=numbers[:, : 2 * joints].reshape(count, joints, 2),
            keypoint_scores=numbers[:, 2 * joints : -1],
            scores=numbers[:, -1],
            spread_px=np.full((count, joints), np.nan, np.float32),
        )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
