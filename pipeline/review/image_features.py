"""The features of images that a choice goes by: a few numbers of each, found file by file, kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.inputs.single_image import lies_in_shard
from pipeline.output.files import PersonRows
from pipeline.output.measures import MEASURES, values_by_image
from pipeline.output.stored_poses import stored_poses
from pipeline.review.near_duplicates import SIGNATURE_SIZE, signatures_of
from posrefine.errors import ImageStatus
from posrefine.poses import Poses

__all__ = [
    "COLUMNS",
    "FEATURES",
    "FIELDS",
    "STATUSES",
    "CountedPersons",
    "FeatureFile",
    "content_of",
    "features_of",
]

COLUMNS = ("image_key", "uri", "unit", "width", "height", "sha256", "status")
"""Of images, that features are made from."""
FIELDS = ("score", "keypoints", "keypoint_scores", "spread_px")
"""Of persons, likewise."""
STATUSES = tuple(ImageStatus)

NEAR_FLOOR = 0.05
"""So far around the least score a person's score is near it."""

FEATURES = np.dtype(
    [
        # Where its row is.
        ("file", np.int32),
        ("row", np.int32),
        # Of key and address, by the seed: the order of equals, the draw of the control share, of a sample.
        ("order", np.uint64),
        ("draw", np.uint64),
        ("sample", np.uint64),
        # Of its folder, and of its bytes; 0 for bytes that were never read.
        ("folder", np.uint64),
        ("content", np.uint64),
        ("unit", np.int32),
        ("status", np.int8),
        # Whether people looked at other bytes under its key.
        ("replaced", np.bool_),
        # From here on all is of persons that count; NaN or 0 where there are none, or the image failed.
        ("aspect", np.float32),
        *((name, np.float32) for name in MEASURES),
        ("view_spread", np.float32),
        ("view_spread_px", np.float32),
        ("near_floor", np.float32),
        ("near_persons", np.int32),
        ("least_size", np.float32),
        ("largest_size", np.float32),
        ("pose", np.float32),
        ("differ", np.int32),
        ("other_persons", np.int32),
        ("signature", np.float32, (SIGNATURE_SIZE,)),
    ]
)
"""Of one image: the measures by which drift is told, and what more it takes to choose. `view_spread` is a
share of the person's size, `least_size` and `largest_size` are shares of the image's."""


@dataclass(frozen=True)
class CountedPersons:
    """The persons of some images that count.

    Attributes:
        image: [P] int64, index of each one's image.
        keypoints: [P, K, 2] float64, image px.
        weights: [P, K] float64, how sure the network is of each joint, 0 to 1.
        sizes_px: [P] float64, root of the box's area.
        shares: [P] float64, that as a share of the same of the image.
    """

    image: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    weights: NDArray[np.float64]
    sizes_px: NDArray[np.float64]
    shares: NDArray[np.float64]

    @staticmethod
    def of(rows: PersonRows, poses: Poses, min_score: float) -> CountedPersons:
        """The persons of these images whose score is `min_score` at least; rows have width and height."""
        per_image = rows.per_image
        image = np.repeat(np.arange(len(per_image)), per_image)
        counted = poses.scores >= np.float32(min_score)
        boxes = poses.boxes_xywh.astype(np.float64)
        sizes_px = np.sqrt(np.maximum(boxes[:, 2] * boxes[:, 3], 1.0))
        weights = np.clip(poses.keypoint_scores.astype(np.float64), 0.0, 1.0)
        width, height = _frames(rows.images)
        image_px = np.sqrt(np.maximum(width * height, 1.0))
        return CountedPersons(
            image[counted],
            poses.keypoints[counted].astype(np.float64),
            weights[counted],
            sizes_px[counted],
            (sizes_px / image_px[image])[counted],
        )

    def some(self, which: NDArray[Any]) -> CountedPersons:
        """The persons that a mask or indices name."""
        return CountedPersons(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def together(parts: Sequence[CountedPersons]) -> CountedPersons:
        """All persons of the parts, of which there is one at least."""
        return CountedPersons(
            *(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(CountedPersons))
        )


def content_of(sha256: str | None) -> int:
    """64 bits that stand for an image's bytes; 0 where they were never read."""
    return int(sha256[:16], 16) or 1 if sha256 else 0


def features_of(
    rows: PersonRows,
    file: int,
    joints: int,
    min_score: float,
    seed: int,
    reviewed: Mapping[str, str],
) -> tuple[NDArray[Any], CountedPersons]:
    """The features of the images of a file.

    Args:
        rows: with `COLUMNS` and `FIELDS`.
        file: its number.
        joints: of a person.
        min_score: from which persons count.
        seed: of all that is drawn.
        reviewed: the sha256 that each key had when people looked at it last.

    Returns:
        [N] of `FEATURES`, without `pose`, `differ` and `other_persons`, and the persons that count.
    """
    images, count = rows.images, rows.images.num_rows
    features = np.zeros(count, FEATURES)
    features["file"], features["row"] = file, np.arange(count)
    _identify(features, images, seed, reviewed)
    poses = stored_poses(rows.persons, joints)
    people = CountedPersons.of(rows, poses, min_score)
    width, height = _frames(images)
    with np.errstate(divide="ignore", invalid="ignore"):
        features["aspect"] = np.where(height > 0, width / height, np.nan)
    counted = poses.scores >= np.float32(min_score)
    scores = poses.scores.astype(np.float64)
    spread_px = poses.spread_px[counted].astype(np.float64).mean(axis=1)
    shares = spread_px / people.sizes_px
    ok = features["status"] == STATUSES.index(ImageStatus.OK)
    values = values_by_image(ok, (width, height), people.image, scores[counted], people.sizes_px, spread_px)
    for name, found in values.items():
        features[name] = found
    _most_disputed(features, people.image, spread_px, shares)
    _near_floor(features, rows.per_image, scores, min_score)
    for name, find in (("least_size", np.fmin), ("largest_size", np.fmax)):
        extreme = np.full(count, np.nan)
        find.at(extreme, people.image, people.shares)
        features[name] = extreme
    features["pose"] = np.nan
    features["differ"] = features["other_persons"] = -1
    above = scores[counted] - min_score
    features["signature"] = signatures_of(people.image, people.keypoints, above, width, height)
    return features, people


def _frames(images: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N] widths and heights, image px; 0 where they are not known."""
    width, height = (np.asarray(pc.fill_null(images[name], 0), np.float64) for name in ("width", "height"))
    return width, height


def _identify(features: NDArray[Any], images: pa.Table, seed: int, reviewed: Mapping[str, str]) -> None:
    keys, uris, units, digests, statuses = (
        images[name].to_pylist() for name in ("image_key", "uri", "unit", "sha256", "status")
    )
    salt = seed.to_bytes(16, "big", signed=True)
    found = b"".join(
        hashlib.blake2b(f"{key}\0{uri}".encode(errors="surrogatepass"), digest_size=24, key=salt).digest()
        for key, uri in zip(keys, uris, strict=True)
    )
    drawn = np.frombuffer(found, ">u8").reshape(-1, 3)
    for column, name in enumerate(("order", "draw", "sample")):
        features[name] = drawn[:, column]
    folders: dict[str, int] = {}
    for row, (key, uri) in enumerate(zip(keys, uris, strict=True)):
        folder = _folder(key, uri)
        if folder not in folders:
            whole = hashlib.blake2b(folder.encode(errors="surrogatepass"), digest_size=8).digest()
            folders[folder] = int.from_bytes(whole, "big")
        features["folder"][row] = folders[folder]
    features["content"] = np.fromiter(map(content_of, digests), np.uint64, len(digests))
    if reviewed:
        features["replaced"] = [
            key in reviewed and sha256 is not None and reviewed[key] != sha256
            for key, sha256 in zip(keys, digests, strict=True)
        ]
    numbers = {unit: int(unit.lstrip("u") or 0) for unit in set(units)}
    features["unit"] = [numbers[unit] for unit in units]
    codes = {status.value: code for code, status in enumerate(STATUSES)}
    features["status"] = [codes[status] for status in statuses]


def _folder(key: str, uri: str) -> str:
    """Of an image in a shard: the folder in the shard."""
    if lies_in_shard(uri):
        return f"{uri.rpartition('#')[0]}#{key.rpartition('/')[0]}"
    return uri.rpartition("/")[0]


def _most_disputed(
    features: NDArray[Any],
    image: NDArray[np.int64],
    spread_px: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> None:
    """The spread of the person whose test-time views disagree most, of each image."""
    known = np.flatnonzero(np.isfinite(shares))
    by_image = known[np.lexsort((-spread_px[known], shares[known], image[known]))]
    last = np.flatnonzero(np.diff(image[by_image], append=-1))
    features["view_spread"] = features["view_spread_px"] = np.nan
    worst = by_image[last]
    features["view_spread"][image[worst]] = shares[worst]
    features["view_spread_px"][image[worst]] = spread_px[worst]


def _near_floor(
    features: NDArray[Any], per_image: NDArray[np.int64], scores: NDArray[np.float64], min_score: float
) -> None:
    """Persons whom a small move of the least score adds or drops, the nearer the more."""
    image = np.repeat(np.arange(len(per_image)), per_image)
    closeness = 1.0 - np.abs(scores - min_score) / NEAR_FLOOR
    near = closeness > 0
    features["near_floor"] = np.bincount(image[near], closeness[near], len(per_image))
    features["near_persons"] = np.bincount(image[near], minlength=len(per_image))


class FeatureFile:
    """The numbers of all images, in a temporary file: memory holds the part that is looked at.

    Args:
        file: to keep them in, opened for reading and writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._count = file, 0

    def append(self, features: NDArray[Any]) -> None:
        """Add the images of a file."""
        self._file.write(features.tobytes())
        self._count += len(features)

    def __len__(self) -> int:
        return self._count

    def rows(self) -> NDArray[Any]:
        """[N] of `FEATURES`, of which what is written goes to the file."""
        if not self._count:
            return np.zeros(0, FEATURES)
        self._file.flush()
        return np.asarray(np.memmap(self._file, FEATURES, "r+", shape=(self._count,)))
