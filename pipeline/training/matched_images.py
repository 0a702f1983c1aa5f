"""Which image of a folder or of tar shards each record of an annotation file means."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.ground_truth.image_names import NO_IMAGE, ImageNames
from pipeline.inputs.places import ImagePlace, find_images
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError

__all__ = ["match_images"]

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]


def match_images(
    wanted: Sequence[Record], listed: Sequence[Record], images: str, annotations: str, storage: Storage
) -> list[tuple[ImagePlace, Record]]:
    """Every wanted image with its place; whose image a file is, is decided among all `listed` ones."""
    places = list(find_images(images, storage))
    names = ImageNames.of((record["file_name"], record["id"]) for record in listed)
    found: dict[int, ImagePlace] = {}
    for place, image_id in zip(places, names.find([p.key for p in places]).settled().tolist(), strict=True):
        other = found.setdefault(image_id, place)
        if other is not place and image_id != NO_IMAGE:
            raise ConfigurationError(
                f"{images}: {place.key} is there twice, in {other.uri} and in {place.uri}; which of them do "
                "the annotations mean?"
            )
    found.pop(NO_IMAGE, None)
    matched = [(found[record["id"]], record) for record in wanted if record["id"] in found]
    if not matched:
        raise ConfigurationError(
            f"{images}: none of its {len(places)} images is among the {len(wanted)} annotated ones of "
            f"{annotations}: file names must agree"
        )
    if len(matched) < len(wanted):
        logger.warning(
            "%s: %d of %d annotated images are missing", images, len(wanted) - len(matched), len(wanted)
        )
    return matched
