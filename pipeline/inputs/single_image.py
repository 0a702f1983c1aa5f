"""One image by its uri, as a run's row names it: for pictures of a few images out of many."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.images.gate import ExifRule, ImageLimits, decode_image
from pipeline.inputs.access import reaching_input
from pipeline.inputs.parquet_columns import require_image_column
from pipeline.inputs.parquet_rows import read_image_cell
from pipeline.inputs.row_groups import row_groups_of
from pipeline.inputs.tar import iter_members
from pipeline.storage import Storage
from pipeline.storage.object_file import open_parquet
from posrefine.errors import ObjectChanged, ObjectMissing

__all__ = ["ImageReader", "lies_in_shard"]

_BUFFER_BYTES = 16 * 2**20
_IN_SHARD = re.compile(r"(?P<shard>.+\.(?:tar|parquet))#(?P<place>\d+)", re.IGNORECASE | re.DOTALL)
"""Of images that lie in a shard: the offset of the member's header in a tar, the row of a Parquet file."""


def lies_in_shard(uri: str) -> bool:
    """Whether the image lies in a tar or Parquet file."""
    return _IN_SHARD.fullmatch(uri) is not None


@dataclass(frozen=True)
class ImageReader:
    """Reads images by the uris of a run's rows, under the run's rules.

    Attributes:
        storage: where they lie.
        exif: whether pixels are turned upright.
        limits: what is refused.
        image_column: of Parquet files; None finds it by its usual names.
    """

    storage: Storage
    exif: ExifRule = "apply"
    limits: ImageLimits = field(default_factory=ImageLimits)
    image_column: str | None = None

    @staticmethod
    def under(settings: Mapping[str, Any], storage: Storage) -> ImageReader:
        """A reader under the rules by which a run read its images: the `settings` that stand in its files."""
        limits = ImageLimits()
        return ImageReader(
            reaching_input(storage, settings),
            exif=settings.get("exif", "apply"),
            limits=ImageLimits(
                max_encoded_bytes=settings.get("max_image_bytes", limits.max_encoded_bytes),
                max_pixels=settings.get("max_pixels", limits.max_pixels),
            ),
            image_column=settings.get("image_column"),
        )

    def pixels(self, uri: str, sha256: str | None = None) -> NDArray[np.uint8]:
        """[H, W, 3] uint8 RGB; with `sha256`, of the very bytes that have it.

        Raises:
            ImageError: the bytes are no usable image.
            ObjectMissing: there is nothing at the uri.
            ObjectChanged, ShardError: image or shard are not what they were.
            StorageError: the store could not be reached.
        """
        data = self.encoded(uri)
        if sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise ObjectChanged(f"{uri}: has changed since it was annotated")
        return decode_image(data, limits=self.limits, exif=self.exif).pixels

    def encoded(self, uri: str) -> bytes:
        """The bytes of the image's file; errors as of `pixels`, without ImageError."""
        in_shard = _IN_SHARD.fullmatch(uri)
        if in_shard is None:
            return self.storage.read_bytes(uri)
        shard, place = in_shard["shard"], int(in_shard["place"])
        if shard.lower().endswith(".tar"):
            return self._from_tar(shard, place)
        return self._from_parquet(shard, place)

    def _from_tar(self, uri: str, header_byte: int) -> bytes:
        info = self.storage.head(uri)
        source = _Ranges(self.storage, uri, info.size_bytes, info.etag)
        if header_byte >= info.size_bytes:
            raise ObjectChanged(f"{uri}: has {info.size_bytes} bytes, the image was at byte {header_byte}")
        # Only the first is taken: what comes after it is proof for those who read a whole range.
        member = next(iter_members(source, header_byte, header_byte + 1), None)
        if member is None or member.header_byte != header_byte or member.kind != "file" or member.is_cut:
            raise ObjectChanged(f"{uri}: no image begins at byte {header_byte} any more")
        return source.read(member.data_byte, member.data_bytes)

    def _from_parquet(self, uri: str, row: int) -> bytes:
        info = self.storage.head(uri)
        file = open_parquet(self.storage, uri, info.size_bytes, info.etag, buffer_bytes=_BUFFER_BYTES)
        column = require_image_column(file.schema_arrow, self.image_column, uri)
        place = row
        for group in row_groups_of(file.metadata, uri, info.size_bytes):
            if place < group.rows:
                return _bytes_of(read_image_cell(file, group, place, column, uri), f"{uri}#{row}")
            place -= group.rows
        raise ObjectChanged(f"{uri}: has {file.metadata.num_rows} rows, the image was beyond them")


def _bytes_of(cell: dict[str, bytes | None] | bytes | None, uri: str) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None:
        raise ObjectMissing(f"{uri}: the row holds no image bytes")
    return data


@dataclass
class _Ranges:
    """An object as the tar reader wants it, one ranged read a call."""

    storage: Storage
    uri: str
    size_bytes: int
    etag: str

    def read(self, position: int, length: int) -> bytes:
        end = min(position + length, self.size_bytes)
        return self.storage.read_range(self.uri, position, end, self.etag) if position < end else b""
