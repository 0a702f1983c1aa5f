"""What every export starts from: the run's images in order, without those that it has no poses of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath

from pipeline.run_rows import RunRows
from pipeline.schema import ImageResult
from pipeline.single_image import lies_in_shard
from pipeline.storage import Storage
from pipeline.uris import join_uri
from posrefine.errors import ConfigurationError
from posrefine.inference.poses import Poses

__all__ = ["ExportOptions", "ExportSource", "ExportSummary", "ExportedImage", "PathsInFolder"]


@dataclass(frozen=True)
class ExportOptions:
    """What to export of a run.

    Attributes:
        min_score: persons below this score are left out; by default nobody is, for scores may be below 0.
        min_keypoint_score: joints below this score count as not labelled, where a format can say so; by
            default none does.
        image_root: address of the folder that tools find the images in, put before the image keys; None takes
            the uris of the run.
        max_images: the first so many images alone; None for all.
    """

    min_score: float = -math.inf
    min_keypoint_score: float = -math.inf
    image_root: str | None = None
    max_images: int | None = None

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
        skipped: images that are not, by reason.
        files: what to give to the other tool.
        note: what must be known about the network's poses, such as that they mean nothing.
    """

    format: str
    images: int
    persons: int
    skipped: dict[str, int]
    files: tuple[str, ...]
    note: str | None

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        if self.note is not None:
            yield f"note: {self.note}"
        yield f"{self.format}: {self.images:,} images, {self.persons:,} persons"
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
        sha256: of the encoded image.
    """

    key: str
    image_id: int | None
    uri: str
    width: int
    height: int
    poses: Poses
    sha256: str | None


@dataclass
class ExportSource:
    """A run on its way into a format; counts what passes.

    Attributes:
        rows: the run.
        storage: of the run and of the output.
        options: what to export.
        applies_exif: whether the other tool turns images by their EXIF orientation. Then images are left out
            that have one which the run ignored, for their keypoints are in another frame.
    """

    rows: RunRows
    storage: Storage
    options: ExportOptions
    applies_exif: bool = True
    image_count: int = 0
    person_count: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def images(self) -> Iterator[ExportedImage]:
        """The images in the order of the run, in bounded memory."""
        for image in islice(self._usable(), self.options.max_images):
            self.image_count += 1
            self.person_count += len(image.poses)
            yield image

    def address(self, image: ExportedImage) -> str:
        """Where the other tool finds the image.

        Raises:
            ConfigurationError: the image lies in a shard, and nothing says where it was unpacked.
        """
        if self.options.image_root is not None:
            return join_uri(self.options.image_root, image.key)
        if lies_in_shard(image.uri):
            raise ConfigurationError(
                f"{image.uri}: this image lies in a shard, which other tools cannot read it from; unpack the "
                "images and set image_root to the folder"
            )
        return image.uri

    def summary(self, name: str, *files: str) -> ExportSummary:
        """After all images have passed."""
        counts = self.image_count, self.person_count, dict(self.skipped)
        return ExportSummary(name, *counts, files, self.rows.note)

    def _usable(self) -> Iterator[ExportedImage]:
        ignored_exif = self.applies_exif and self.rows.settings.get("exif") == "ignore"
        for row in self.rows.images(self.storage):
            if row.poses is None or row.width is None or row.height is None:
                self.skipped[f"failed: {row.status.value}"] += 1
            elif ignored_exif and row.exif_orientation > 1:
                self.skipped["the run ignored their EXIF orientation, which the other tool applies"] += 1
            else:
                yield _exported(row, row.poses, row.width, row.height, self.options.min_score)


def _exported(row: ImageResult, poses: Poses, width: int, height: int, min_score: float) -> ExportedImage:
    kept = poses.scores >= min_score
    if not kept.all():
        poses = replace(
            poses,
            keypoints=poses.keypoints[kept],
            keypoint_scores=poses.keypoint_scores[kept],
            scores=poses.scores[kept],
            spread_px=poses.spread_px[kept],
        )
    return ExportedImage(row.image_key, row.image_id, row.uri, width, height, poses, row.sha256)


class PathsInFolder:
    """Turns image keys into paths below a folder: never outside of it, and never two into one."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._taken: set[int] = set()

    def of(self, key: str) -> str:
        """The path for an image, with the suffix in place of the image's own.

        Raises:
            ConfigurationError: another image has the same path.
        """
        parts = [
            part for part in PurePosixPath(key.replace("\\", "/").replace("\0", "_")).parts if part != "/"
        ]
        parts = [part for part in parts if part != ".."] or ["image"]
        path = str(PurePosixPath(*parts).with_suffix(self._suffix))
        # A million paths would be a hundred megabytes; their hashes are a third of that.
        mark = hash(path)
        if mark in self._taken:
            raise ConfigurationError(
                f"{key}: another image would have the same file {path}; rename images that differ in nothing "
                "but the suffix"
            )
        self._taken.add(mark)
        return path
