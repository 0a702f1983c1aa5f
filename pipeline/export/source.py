"""What every export starts from: the run's images in order, without those that it has no poses of."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from pipeline.inputs.single_image import lies_in_shard
from pipeline.output.rows import RunRows
from pipeline.output.run_output import Source
from pipeline.output.schema import HumanLabels, ImageResult
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from posrefine.errors import ConfigurationError
from posrefine.poses import Poses

__all__ = [
    "ExportOptions",
    "ExportSource",
    "ExportSummary",
    "ExportedImage",
    "PathsInFolder",
    "address_for_tools",
]

_LONGEST_NAME_BYTES = 255
_LONGEST_PATH_BYTES = 768
"""An S3 key has 1,024 with the prefix that an export goes to, which may be a quarter of them."""
_HASH_DIGITS = 16


@dataclass(frozen=True)
class ExportOptions:
    """What to export of a run.

    Attributes:
        min_score: persons below this score are left out; None is the run's own least score, but leaves out
            nobody of what is to be scored.
        min_keypoint_score: joints below this score count as not labelled, where a format can say so; by
            default none does.
        image_root: address of the folder that tools find the images in, put before the image keys; None takes
            the uris of the run.
        max_images: the first so many images alone; None for all.
        as_of: generation of the run; None for its last one.
        source: whose persons: people's where they corrected an image, or the network's alone.
    """

    min_score: float | None = None
    min_keypoint_score: float = -math.inf
    image_root: str | None = None
    max_images: int | None = None
    as_of: int | None = None
    source: Source = "corrected"

    def __post_init__(self) -> None:
        if self.max_images is not None and self.max_images < 1:
            raise ConfigurationError(f"max_images: {self.max_images}, expected 1 or more")


@dataclass(frozen=True)
class ExportSummary:
    """What was exported.

    Attributes:
        format: name of the format.
        images: that are in the export, those without persons too.
        persons: in them.
        persons_below: those left out for their score.
        min_score: the least score; None where everybody is in.
        skipped: images that are not, by reason.
        files: what to give to the other tool.
        note: what must be known about the network's poses, such as that they mean nothing.
    """

    format: str
    images: int
    persons: int
    persons_below: int
    min_score: float | None
    skipped: dict[str, int]
    files: tuple[str, ...]
    note: str | None

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        if self.note is not None:
            yield f"note: {self.note}"
        yield f"{self.format}: {self.images:,} images, {self.persons:,} persons"
        if self.min_score is not None:
            yield f"left out: {self.persons_below:,} persons below score {self.min_score:g}"
        for reason, count in self.skipped.items():
            yield f"left out: {count:,} images ({reason})"
        yield from self.files


@dataclass(frozen=True)
class ExportedImage:
    """An image with poses.

    Attributes:
        key: of the image.
        image_id: as the run has it.
        uri: where it lies.
        width: of the frame of the keypoints, px.
        height: likewise.
        poses: persons with at least the wanted score.
        persons_below: those left out.
        sha256: of the encoded image.
        labels: of whoever corrected the image; None where the persons are the network's.
    """

    key: str
    image_id: int | None
    uri: str
    width: int
    height: int
    poses: Poses
    persons_below: int
    sha256: str | None
    labels: HumanLabels | None = None

    @property
    def boxes_xywh(self) -> NDArray[np.float32]:
        """[N, 4] float32, image px: around each person's joints; as they were corrected where they were."""
        return self.poses.boxes_xywh if self.labels is None else self.labels.boxes_xywh

    def visibility(self, min_keypoint_score: float) -> NDArray[np.int8]:
        """[N, K] int8, COCO's flags: people's own; of the network's joints 2, or 0 below the score."""
        if self.labels is not None:
            return self.labels.visibility
        return np.where(self.poses.keypoint_scores >= min_keypoint_score, 2, 0).astype(np.int8)

    def shown(self, min_keypoint_score: float) -> NDArray[np.int8]:
        """[N, K] int8, `visibility`, and 0 for the joints outside of the frame, where nobody can see any."""
        inside = ((self.poses.keypoints >= 0) & (self.poses.keypoints <= (self.width, self.height))).all(
            axis=2
        )
        return np.where(inside, self.visibility(min_keypoint_score), 0).astype(np.int8)


@dataclass
class ExportSource:
    """A run on its way into a format; counts what passes.

    Attributes:
        rows: the run.
        storage: of the run and of the output.
        options: what to export.
        applies_exif: whether the other tool turns images by their EXIF orientation. Then images are left out
            that have one which the run ignored, for their keypoints are in another frame.
        is_scored: whether the other tool scores the persons, and so wants all of them.
    """

    rows: RunRows
    storage: Storage
    options: ExportOptions
    applies_exif: bool = True
    is_scored: bool = False
    image_count: int = 0
    person_count: int = 0
    below_count: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def images(self) -> Iterator[ExportedImage]:
        """The images in the order of the run, in bounded memory."""
        for image in islice(self._usable(), self.options.max_images):
            self.image_count += 1
            self.person_count += len(image.poses)
            self.below_count += image.persons_below
            yield image

    def address(self, image: ExportedImage) -> str:
        """Where the other tool finds the image: `address_for_tools` of it."""
        return address_for_tools(image, self.options.image_root)

    @property
    def min_score(self) -> float | None:
        """Persons below this score are left out; None for nobody."""
        wanted = self.options.min_score
        return self.rows.min_score if wanted is None and not self.is_scored else wanted

    def summary(self, name: str, *files: str) -> ExportSummary:
        """After all images have passed."""
        return ExportSummary(
            name,
            self.image_count,
            self.person_count,
            self.below_count,
            self.min_score,
            dict(self.skipped),
            files,
            self.rows.note,
        )

    def _usable(self) -> Iterator[ExportedImage]:
        ignored_exif = self.applies_exif and self.rows.settings.get("exif") == "ignore"
        for row in self.rows.images():
            if row.poses is None or row.width is None or row.height is None:
                self.skipped[f"failed: {row.status.value}"] += 1
            elif ignored_exif and row.exif_orientation > 1:
                self.skipped["the run ignored their EXIF orientation, which the other tool applies"] += 1
            else:
                yield _exported(row, row.poses, row.width, row.height, self.min_score)


def _exported(
    row: ImageResult, poses: Poses, width: int, height: int, min_score: float | None
) -> ExportedImage:
    kept = slice(None) if min_score is None else poses.scores >= min_score
    labels = None if row.labels is None else row.labels.select(kept)
    poses, persons = poses[kept], len(poses)
    below = persons - len(poses)
    return ExportedImage(
        row.image_key, row.image_id, row.uri, width, height, poses, below, row.sha256, labels
    )


def address_for_tools(image: ExportedImage, image_root: str | None) -> str:
    """Where another tool finds an image; below a web address the key is percent-encoded.

    Args:
        image: that it shall find.
        image_root: the folder that it finds the images in; None for the image's own uri.

    Raises:
        ConfigurationError: the image lies in a shard, and nothing says where it was unpacked.
    """
    if image_root is not None:
        is_web = image_root.lower().startswith(("https://", "http://"))
        return join_uri(image_root, quote(image.key) if is_web else image.key)
    if lies_in_shard(image.uri):
        raise ConfigurationError(
            f"{image.uri}: this image lies in a shard, which other tools cannot read it from; unpack the "
            "images and name the folder by --image-root"
        )
    return image.uri


class PathsInFolder:
    """Turns image keys into paths below a folder: never outside of it, and never two into one."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._taken: set[int] = set()

    def of(self, key: str) -> str:
        """The path for an image, with the suffix in place of the image's own.

        Names that are too long are cut, and of too long paths the folders that are too many left out; a hash
        of the whole tells them apart.

        Raises:
            ConfigurationError: another image has the same path.
        """
        # A backslash is a character like others: the image's own file has it in its name.
        parts = [
            part for part in PurePosixPath(key.replace("\0", "_")).parts if part not in ("/", "//", "..")
        ]
        parts = parts or ["image"]
        whole = PurePosixPath(*parts)
        path = self._shortened(PurePosixPath(*map(_cut, whole.parts[:-1]), _cut(whole.stem, self._suffix)))
        # A million paths would be a hundred megabytes; their hashes are a third of that.
        mark = hash(path)
        if mark in self._taken:
            raise ConfigurationError(
                f"{key}: another image would have the same file {path}; rename images that differ in nothing "
                "but the suffix"
            )
        self._taken.add(mark)
        return path

    def _shortened(self, path: PurePosixPath) -> str:
        encoded = str(path).encode(errors="surrogatepass")
        if len(encoded) <= _LONGEST_PATH_BYTES:
            return str(path)
        mark = f"-{hashlib.sha256(encoded).hexdigest()[:_HASH_DIGITS]}{self._suffix}"
        kept, room = list[str](), _LONGEST_PATH_BYTES - _LONGEST_NAME_BYTES
        for folder in path.parts[:-1]:
            room -= len(folder.encode(errors="surrogatepass")) + 1
            if room < 0:
                break
            kept.append(folder)
        return "/".join([*kept, _start_of(path.stem, _LONGEST_NAME_BYTES - len(mark)) + mark])


def _cut(name: str, suffix: str = "") -> str:
    """The name with its suffix, no longer than file systems take; what is cut leaves a hash."""
    whole = name + suffix
    encoded = whole.encode(errors="surrogatepass")
    if len(encoded) <= _LONGEST_NAME_BYTES:
        return whole
    mark = f"-{hashlib.sha256(encoded).hexdigest()[:_HASH_DIGITS]}{suffix}"
    return _start_of(name, _LONGEST_NAME_BYTES - len(mark)) + mark


def _start_of(text: str, longest_bytes: int) -> str:
    """As much of it as its first bytes are, in whole characters."""
    return text.encode(errors="surrogatepass")[:longest_bytes].decode(errors="ignore")
