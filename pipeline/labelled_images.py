"""Images of a folder or of tar shards, each with its annotations: what training and validation read.

The images are those that the annotate job reads, but one at a time and in any order, because every epoch
needs an order of its own: a folder's objects by one get, a tar's members by one ranged get.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.image_gate import ExifRule, ImageLimits, decode_image
from pipeline.manifest import IMAGE_SUFFIXES
from pipeline.read_ahead import ReadAhead
from pipeline.storage import ObjectInfo, Storage
from pipeline.tar import iter_members
from pipeline.uris import suffix_of
from posrefine.errors import ConfigurationError, ImageError, TrainingError
from posrefine.skeletons import Skeleton
from posrefine.training.labels import label_image
from posrefine.training.samples import LabelledImage

__all__ = ["Frames", "ImagePlace", "LabelledImages", "find_images"]

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]

INDEX_THREADS = 16
BAD_IMAGES_IN_A_ROW = 20


@dataclass(frozen=True)
class ImagePlace:
    """Where the bytes of one image are.

    `start_byte` and `size_bytes` say which part of a tar; both None for an object of its own.
    """

    key: str
    uri: str
    etag: str | None
    start_byte: int | None = None
    size_bytes: int | None = None


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
    """

    places: Sequence[ImagePlace]
    records: Sequence[Record]
    annotations: Sequence[Sequence[Record]]
    skeleton: Skeleton
    exif: ExifRule
    categories: Sequence[Record]
    storage: Storage

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

        Raises:
            ConfigurationError: the file is not in COCO's form, or none of its images is there.
            TrainingError: there is no labelled person in any image.
        """
        content = _read_annotations(annotation_uri, storage)
        persons: defaultdict[int, list[Record]] = defaultdict(list)
        for record in content["annotations"]:
            persons[record["image_id"]].append(_slim(record))
        wanted = [image for image in content["images"] if persons.get(image["id"]) or not only_with_persons]
        matched = _match(wanted[:limit], images, annotation_uri, storage)
        labels = [persons[record["id"]] for _, record in matched]
        if not any(any(entry.get("keypoints", ())[2::3]) for entries in labels for entry in entries):
            raise TrainingError(
                f"annotations {annotation_uri}: no person has labelled keypoints; check the file"
            )
        places, records = [place for place, _ in matched], [record for _, record in matched]
        return LabelledImages(places, records, labels, skeleton, exif, content["categories"], storage)

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
                return label_image(self.pixels(candidate), self.annotations[candidate], self.skeleton)
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
        pixels = decode_image(self._bytes(place), limits=ImageLimits(), exif=self.exif).pixels
        height, width = pixels.shape[:2]
        if (width, height) != (record.get("width", width), record.get("height", height)):
            raise ConfigurationError(
                f"{place.key}: {width}x{height} px, but its annotations are for {record['width']}x"
                f"{record['height']} px: they belong to other images, or to another --exif rule than "
                f"'{self.exif}'"
            )
        return pixels

    def _bytes(self, place: ImagePlace) -> bytes:
        if place.start_byte is None or place.size_bytes is None:
            return self.storage.read_bytes(place.uri, place.etag)
        end = place.start_byte + place.size_bytes
        return self.storage.read_range(place.uri, place.start_byte, end, place.etag)


def find_images(uri: str, storage: Storage) -> Iterator[ImagePlace]:
    """Every image below a folder, the members of its tars included; `uri` may be a tar itself.

    Raises:
        ConfigurationError: there are Parquet files, whose images cannot be read one at a time.
        ShardError: a tar is broken.
    """
    entries = [storage.head(uri)] if suffix_of(uri) == ".tar" else list(storage.list(uri))
    if any(suffix_of(entry.uri) == ".parquet" for entry in entries):
        raise ConfigurationError(
            f"{uri}: training reads single images in any order, which Parquet does not allow: pack them into "
            "tar shards with jobs/pack.py"
        )
    for entry in entries:
        if suffix_of(entry.uri) in IMAGE_SUFFIXES:
            yield ImagePlace(entry.uri.removeprefix(uri).lstrip("/"), entry.uri, entry.etag)
    tars = [entry for entry in entries if suffix_of(entry.uri) == ".tar"]
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        for places in pool.map(lambda entry: _members(entry, storage), tars):
            yield from places


def _members(entry: ObjectInfo, storage: Storage) -> list[ImagePlace]:
    with ReadAhead(storage, entry.uri, entry.etag, entry.size_bytes, 0, entry.size_bytes) as source:
        return [
            ImagePlace(member.name, entry.uri, entry.etag, member.data_byte, member.data_bytes)
            for member in iter_members(source, 0, entry.size_bytes)
            if member.kind == "file" and suffix_of(member.name) in IMAGE_SUFFIXES
        ]


def _read_annotations(uri: str, storage: Storage) -> Record:
    try:
        content = json.loads(storage.read_bytes(uri))
        _ = [(record["id"], record["file_name"]) for record in content["images"]]
        _ = [(record["image_id"], record["bbox"]) for record in content["annotations"]]
        _ = content["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"annotations {uri}: no COCO annotation file ({error!r}); wanted `categories`, `images` with "
            "`id` and `file_name`, and `annotations` with `image_id`, `bbox` and `keypoints`"
        ) from error
    return dict(content)


def _slim(record: Record) -> Record:
    """Without the segments of labelled persons, which are most of the file and are never used."""
    if record.get("iscrowd") or not any(record.get("keypoints", [])[2::3]):
        return record
    return {name: value for name, value in record.items() if name != "segmentation"}


def _match(
    wanted: Sequence[Record], images: str, annotations: str, storage: Storage
) -> list[tuple[ImagePlace, Record]]:
    """Every annotated image with its place, by the whole file name or else by the last part of it."""
    found = {place.key: place for place in find_images(images, storage)}
    by_name = {PurePosixPath(key).name: place for key, place in found.items()}
    matched = []
    for record in wanted:
        name = record["file_name"]
        place = found.get(name) or by_name.get(PurePosixPath(name).name)
        if place is not None:
            matched.append((place, record))
    if not matched:
        raise ConfigurationError(
            f"{images}: none of its {len(found)} images is among the {len(wanted)} annotated ones of "
            f"{annotations}: file names must agree"
        )
    if len(matched) < len(wanted):
        logger.warning(
            "%s: %d of %d annotated images are missing", images, len(wanted) - len(matched), len(wanted)
        )
    return matched


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
