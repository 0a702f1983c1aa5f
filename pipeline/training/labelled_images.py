"""Images of a folder or of tar shards, each with its annotations: what training and validation read.

The images are those that the annotate job reads, but one at a time and in any order, because every epoch
needs an order of its own: a folder's objects by one get, a tar's members by one ranged get.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.ground_truth.image_names import NO_IMAGE, ImageNames
from pipeline.ground_truth.swapped_sizes import are_swapped
from pipeline.images.gate import ExifRule, ImageLimits, decode_image
from pipeline.inputs.places import ImagePlace
from pipeline.storage import Storage
from pipeline.training.annotation_file import read_persons
from pipeline.training.matched_images import match_images
from posrefine.errors import ConfigurationError, ImageError, TrainingError
from posrefine.skeletons import Skeleton
from posrefine.training.labels import label_image
from posrefine.training.samples import LabelledImage

__all__ = [
    "Frames",
    "LabelledImages",
]

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]

BAD_IMAGES_IN_A_ROW = 20

_ROUNDING = 1.5
"""Pixels by which a side of a picture made smaller may be off."""


@dataclass(frozen=True)
class LabelledImages:
    """Annotated images by position.

    Attributes:
        places: where each image is.
        records: each image's record of the annotation file.
        annotations: each image's annotations.
        skeleton: whose joints they name.
        exif: the rule that gives the frame of the annotations; COCO's were made on the pixels as stored.
        categories: of the annotation file.
        storage: reads the images.
        annotations_sha256: hex digest of the annotation file's bytes.
        joints: names of the annotations' keypoints; None: the skeleton's.
        resize: whether a picture of another size than its record's is brought to that; else it is refused.
    """

    places: Sequence[ImagePlace]
    records: Sequence[Record]
    annotations: Sequence[Sequence[Record]]
    skeleton: Skeleton
    exif: ExifRule
    categories: Sequence[Record]
    storage: Storage
    annotations_sha256: str
    joints: tuple[str, ...] | None = None
    resize: bool = False

    @staticmethod
    def open(
        images: str,
        annotation_uri: str,
        skeleton: Skeleton,
        storage: Storage,
        *,
        exif: ExifRule = "ignore",
        limit: int | None = None,
        only_with_persons: bool = True,
        resize: bool = False,
    ) -> LabelledImages:
        """Find the images of an annotation file.

        Args:
            images: folder of images or tars, or a tar.
            annotation_uri: COCO or CrowdPose annotation file.
            skeleton: whose joints it names.
            storage: reads both.
            exif: the rule that gives the frame of the annotations.
            limit: take so many of the file's images, the first ones.
            only_with_persons: leave out images without any annotation.
            resize: whether pictures of another size than their records', but of the same shape, will do.

        Raises:
            ConfigurationError: the file is not in COCO's form, or none of its images is there.
            TrainingError: there is no labelled person in any image.
        """
        content = read_persons(annotation_uri, skeleton, storage)
        wanted = [
            image for image in content.images if content.persons.get(image["id"]) or not only_with_persons
        ]
        matched = match_images(wanted[:limit], content.images, images, annotation_uri, storage)
        labels = [content.persons.get(record["id"], []) for _, record in matched]
        if not any(any((entry.get("keypoints") or ())[2::3]) for entries in labels for entry in entries):
            raise TrainingError(
                f"annotations {annotation_uri}: no person has labelled keypoints; check the file"
            )
        places, records = [place for place, _ in matched], [record for _, record in matched]
        return LabelledImages(
            places,
            records,
            labels,
            skeleton,
            exif,
            content.categories,
            storage,
            content.sha256,
            content.joints,
            resize,
        )

    def parted(self, share: float, names: frozenset[str]) -> tuple[LabelledImages, LabelledImages]:
        """The images to learn from, and those kept apart from them.

        An image's name alone decides, so the same ones are kept apart whatever the seed or the other images,
        and a larger share keeps those of a smaller one.

        Args:
            share: of the images that is kept apart.
            names: file names that are kept apart whatever the share, found as images find theirs.

        Raises:
            ConfigurationError: an image's name ends like several of these, and is none of them.
        """
        files = [record["file_name"] for record in self.records]
        named = ImageNames.of((name, number) for number, name in enumerate(sorted(names))).find(files).ids
        apart = np.array([_fraction(name) < share for name in files], bool) | (named != NO_IMAGE)
        positions = np.arange(len(self))
        return self._taken(positions[~apart]), self._taken(positions[apart])

    @staticmethod
    def joined(sets: Sequence[LabelledImages], limit: int) -> LabelledImages:
        """Images of several sets as one, `limit` at most, of every set in proportion.

        Images and annotations are numbered anew, since sets may use the same ids.
        """
        first = sets[0]
        places: list[ImagePlace] = []
        records: list[Record] = []
        annotations: list[Sequence[Record]] = []
        count, total = 0, sum(map(len, sets))
        for images in sets:
            for position in range(min(len(images), max(1, limit * len(images) // total))):
                image_id = len(records) + 1
                places.append(images.places[position])
                records.append({**images.records[position], "id": image_id})
                mine = images.annotations[position]
                annotations.append(
                    [{**entry, "id": count + n, "image_id": image_id} for n, entry in enumerate(mine, 1)]
                )
                count += len(mine)
        return replace(first, places=places, records=records, annotations=annotations)

    def _taken(self, positions: NDArray[np.int64]) -> LabelledImages:
        chosen = positions.tolist()
        return replace(
            self,
            places=[self.places[position] for position in chosen],
            records=[self.records[position] for position in chosen],
            annotations=[self.annotations[position] for position in chosen],
        )

    def annotation_file(self) -> Record:
        """The annotations as a file's content, without the segments of labelled persons."""
        annotations = [record for records in self.annotations for record in records]
        return {"images": self.records, "annotations": annotations, "categories": self.categories}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: int) -> LabelledImage:
        """The image at `position`; where it cannot be used, the next one that can, with a warning.

        Raises:
            TrainingError: many images in a row cannot be used.
            StorageError: the store could not be reached.
        """
        for step in range(BAD_IMAGES_IN_A_ROW):
            candidate = (position + step) % len(self)
            try:
                pixels = self.pixels(candidate)
                return label_image(pixels, self.annotations[candidate], self.skeleton, self.joints)
            except ImageError as error:
                reason = f"{self.places[candidate].key}: {error.status} ({error})"
                logger.warning("%s; the next image takes its place", reason)
        raise TrainingError(
            f"{BAD_IMAGES_IN_A_ROW} images in a row cannot be used, the last of them {reason}: "
            "run the annotate job over the input to find all bad images"
        )

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """[H, W, 3] uint8 RGB of the image at `position`, in the frame of its annotations.

        Raises:
            ImageError: the image cannot be decoded.
            ConfigurationError: it is not of the size that its record says.
        """
        place, record = self.places[position], self.records[position]
        decoded = decode_image(self._bytes(place), limits=ImageLimits(), exif=self.exif)
        pixels = decoded.pixels
        height, width = pixels.shape[:2]
        wanted = int(record.get("width", width)), int(record.get("height", height))
        if (width, height) != wanted:
            found, stated = np.array([[width, height]]), np.array([wanted])
            if are_swapped(found, stated, turned=np.array([decoded.exif_orientation >= 5])).all():
                _say_swapped(self.annotations_sha256)
                return pixels
            if self.resize and _same_shape((width, height), wanted):
                return np.asarray(Image.fromarray(pixels).resize(wanted, Image.Resampling.BILINEAR))
            raise ConfigurationError(
                f"{place.key}: {width}x{height} px, but its annotations are for {record['width']}x"
                f"{record['height']} px: they belong to other images, or to another --exif rule than "
                f"'{self.exif}'"
                + ("" if self.resize else ", or say --other-sizes resize for smaller or larger copies")
            )
        return pixels

    def _bytes(self, place: ImagePlace) -> bytes:
        if place.start_byte is None or place.size_bytes is None:
            return self.storage.read_bytes(place.uri, place.etag)
        end = place.start_byte + place.size_bytes
        return self.storage.read_range(place.uri, place.start_byte, end, place.etag)


@cache
def _say_swapped(_annotations_sha256: str) -> None:
    """Once for each process and file: it is so of all images, or of hardly any."""
    logger.warning(
        "annotations: width and height are swapped, as in CrowdPose's own files; keypoints are taken as they "
        "are"
    )


def _same_shape(size_px: tuple[int, int], wanted_px: tuple[int, int]) -> bool:
    """Whether sides differ by one factor, as of a picture made smaller, but for the rounding of sides."""
    factors = [side / wanted for side, wanted in zip(size_px, wanted_px, strict=True)]
    return abs(factors[0] / factors[1] - 1) <= _ROUNDING / min(*size_px, *wanted_px)


def _fraction(name: str) -> float:
    """From 0 to below 1, evenly over names."""
    digest = hashlib.sha256(PurePosixPath(name).name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Frames(Mapping[int, NDArray[np.uint8]]):
    """Pixels by image id, decoded when asked for."""

    def __init__(self, labelled: LabelledImages) -> None:
        self._labelled = labelled
        self._positions = {int(record["id"]): position for position, record in enumerate(labelled.records)}

    def __getitem__(self, image_id: int) -> NDArray[np.uint8]:
        try:
            return self._labelled.pixels(self._positions[image_id])
        except ImageError as error:
            raise TrainingError(
                f"validation image {image_id} cannot be used: {error.status} ({error}); remove it from the "
                "annotation file"
            ) from error

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)
