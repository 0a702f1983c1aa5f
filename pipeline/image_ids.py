"""Which image id an image key stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from posrefine.errors import ConfigurationError

__all__ = ["ImageIds"]

_MAX_DIGITS = 18  # fits int64


@dataclass(frozen=True)
class ImageIds:
    """Image ids by file name from an annotation file, or by numeric file names where there is none.

    `by_name` is None without an annotation file; with one, an image that it does not list has no id, even
    where its name is a number.
    """

    by_name: Mapping[str, int] | None = None

    @staticmethod
    def parse(data: bytes, uri: str) -> ImageIds:
        """From the `images` of the COCO annotation file `uri`.

        Raises:
            ConfigurationError: it is none.
        """
        try:
            images = json.loads(data)["images"]
            return ImageIds({image["file_name"]: int(image["id"]) for image in images})
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"annotations {uri}: no COCO file ({error!r}); wanted `images` with `file_name` and `id`"
            ) from error

    def of(self, image_key: str) -> int | None:
        """The id of an image; its whole key is looked up first, then the last part of it."""
        path = PurePosixPath(image_key)
        if self.by_name is not None:
            return self.by_name.get(image_key, self.by_name.get(path.name))
        stem = path.stem
        return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= _MAX_DIGITS else None
