"""What the rooms of the pipeline hand to each other: units of work and images on their way to the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.images.reduction import WHOLE, Reduction
from posrefine.errors import ImageStatus

__all__ = ["LoadedImage", "ObjectRef", "Reduction", "Unit", "UnitKind"]


class UnitKind(StrEnum):
    """Where the images of a unit lie."""

    OBJECTS = "objects"
    TAR = "tar"
    PARQUET = "parquet"


@dataclass(frozen=True)
class ObjectRef:
    """One object of a unit of kind `objects`, pinned when the manifest was made."""

    uri: str
    key: str
    """Path below the input prefix; becomes the image key."""
    size_bytes: int
    etag: str
    """The store's etag; on local disks a stand-in made of size and modification time."""


@dataclass(frozen=True)
class Unit:
    """The unit of work, of retry and of commit: about 128 images.

    Exactly one of the three groups of fields is filled, according to `kind`: `objects`; `start_byte` and
    `end_byte` (members whose header begins in [start, end) of the tar at `uri`); `row_groups` of the
    Parquet file at `uri`, where there is one with `start_row` and `end_row` its rows [start, end) alone. A
    Parquet file that could not be opened when the units were cut has no row groups: loading says why.
    """

    unit_id: str
    """Safe as a file name; sorting by it is the order of the manifest."""
    kind: UnitKind
    uri: str
    """The shard; for `objects` the input prefix."""
    size_bytes: int
    """Bytes that reading the unit moves, about."""
    image_count: int | None = None
    """Images in the unit where listing told (objects, Parquet), None for tars."""
    etag: str | None = None
    """The shard's pinned etag; None for `objects`, whose entries carry their own."""
    shard_size_bytes: int | None = None
    objects: tuple[ObjectRef, ...] = ()
    start_byte: int | None = None
    end_byte: int | None = None
    row_groups: tuple[int, ...] = ()
    start_row: int | None = None
    end_row: int | None = None


@dataclass(frozen=True)
class LoadedImage:
    """One input image after fetching and decoding; failed images have `pixels` None and say why.

    `uri` is unique over a run: the object's address; `shard.tar#<offset of the member's header in bytes>`;
    `shard.parquet#<row number in the file>`.
    """

    image_key: str
    uri: str
    status: ImageStatus
    error: str | None = None
    pixels: NDArray[np.uint8] | None = None
    """[H, W, 3] uint8 RGB, the EXIF rule applied; of large images decoded smaller, as `reduction` says."""
    width: int | None = None
    height: int | None = None
    """Of the frame the keypoints will be in, image px; known for some failures as well (too_large)."""
    exif_orientation: int = 1
    sha256: str | None = None
    """Hex digest of the encoded bytes; None where they could not be read."""
    encoded_bytes: int = 0
    encoded: bytes | None = None
    """Of an image that is not decoded yet, because those before it fill the memory that a unit may take; it
    has status ok and no size until it is."""
    reduction: Reduction = WHOLE
    """Where the pixels lie in the frame of `width` and `height`."""

    def failed(self, status: ImageStatus, error: str) -> LoadedImage:
        """The same image, of which there are no pixels and will be none, with the reason."""
        return replace(self, status=status, error=error, pixels=None, encoded=None, reduction=WHOLE)
