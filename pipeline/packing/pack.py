"""Images and their annotations into tar shards as WebDataset lays them out, with one annotation file beside.

`<output>/shards/00000.tar` holds `<key>.jpg` and `<key>.json` by turns; `<output>/annotations.json` has all
labels in COCO's or CrowdPose's form. The same source gives the same bytes, so packing again is harmless.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.ray_session import map_in_tasks
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri, normalise_uri

__all__ = ["PackSource", "PackSummary", "PackedImage", "pack", "tar_of"]

Record = dict[str, Any]

ANNOTATIONS_NAME = "annotations.json"
SHARDS_FOLDER = "shards"


@dataclass(frozen=True)
class PackedImage:
    """One image on its way into a shard.

    Attributes:
        encoded: the file's bytes.
        image: its record in the annotation file; the name of the file is `<key>.<suffix>` (`shard_name`).
        annotations: its persons' records.
    """

    encoded: bytes
    image: Record
    annotations: Sequence[Record]


class PackSource(Protocol):
    """Images by position, with the head of their annotation file."""

    def __len__(self) -> int: ...

    def images(self, first: int, count: int, storage: Storage) -> Iterator[PackedImage]:
        """The images [first, first + count)."""

    def head(self) -> Record:
        """The annotation file without images and annotations."""


@dataclass(frozen=True)
class PackSummary:
    """The shards and annotations that were written, and where."""

    images: int
    persons: int
    shards: tuple[str, ...]
    annotations: str


def pack(source: PackSource, output: str, shard_images: int, storage: Storage) -> PackSummary:
    """Write the shards in Ray tasks, then the annotation file.

    Raises:
        StorageError: an image is missing, or the store could not be reached.
    """
    # A relative path would mean another folder to workers that stand elsewhere.
    output = normalise_uri(output)
    shards = tuple(
        join_uri(output, SHARDS_FOLDER, f"{number:05d}.tar")
        for number in range(-(-len(source) // shard_images))
    )
    content = source.head() | {"images": [], "annotations": []}
    for written in map_in_tasks(_write_shard, enumerate(shards), source, shard_images, storage):
        content["images"] += written["images"]
        content["annotations"] += written["annotations"]
    annotations = join_uri(output, ANNOTATIONS_NAME)
    storage.put(annotations, json.dumps(content).encode())
    return PackSummary(len(content["images"]), len(content["annotations"]), shards, annotations)


def _write_shard(shard: tuple[int, str], source: PackSource, count: int, storage: Storage) -> Record:
    number, uri = shard
    first = number * count
    packed = list(source.images(first, min(count, len(source) - first), storage))
    storage.put(uri, tar_of(packed))
    return {
        "images": [image.image for image in packed],
        "annotations": [record for image in packed for record in image.annotations],
    }


def tar_of(images: Sequence[PackedImage]) -> bytes:
    """A tar with an end-of-archive mark; owners, modes and times are the same everywhere."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for image in images:
            name = image.image["file_name"]
            labels = {"image": image.image, "annotations": list(image.annotations)}
            _add(tar, name, image.encoded)
            _add(tar, f"{name.rpartition('.')[0]}.json", json.dumps(labels).encode())
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
