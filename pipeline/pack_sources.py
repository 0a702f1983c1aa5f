"""What can be packed: rendered scenes, and a folder of images with its annotation file."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.packing import PackedImage, Record
from pipeline.storage import Storage
from pipeline.uris import join_uri
from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton
from posrefine.synthetic import SceneSpec, coco_annotations, render_scene

__all__ = ["FolderSource", "SceneSource"]

JPEG_QUALITY = 92
ANNOTATIONS_PER_IMAGE = 100
"""Room that every image has in the annotation ids, so that shards number their persons without each other."""


@dataclass(frozen=True)
class SceneSource:
    """`count` rendered scenes of consecutive seeds, the specs taking turns.

    Attributes:
        skeleton: whose joints and whose form the annotations have.
        specs: what the scenes contain.
        count: number of scenes.
        first_seed: of the first scene; image ids are seeds plus 1.
    """

    skeleton: Skeleton
    specs: tuple[SceneSpec, ...]
    count: int
    first_seed: int = 0

    def __len__(self) -> int:
        return self.count

    def images(self, first: int, count: int, storage: Storage) -> Iterator[PackedImage]:
        """Renders the scenes [first, first + count); `storage` is not used."""
        for position in range(first, first + count):
            seed = self.first_seed + position
            scene = render_scene(seed, self.specs[position % len(self.specs)])
            content = coco_annotations([scene], self.skeleton, first_image_id=seed + 1)
            for number, record in enumerate(content["annotations"]):
                record["id"] = (seed + 1) * ANNOTATIONS_PER_IMAGE + number
            file = io.BytesIO()
            Image.fromarray(scene.image).save(file, "JPEG", quality=JPEG_QUALITY)
            yield PackedImage(file.getvalue(), content["images"][0], content["annotations"])

    def head(self) -> Record:
        """Info, licences and the person category."""
        content = coco_annotations([], self.skeleton)
        return {name: content[name] for name in ("info", "licenses", "categories")}


@dataclass(frozen=True)
class FolderSource:
    """Images that lie in a folder, and their COCO or CrowdPose annotation file.

    Attributes:
        folder: address of the folder that the file names are relative to.
        image_records: the file's images, in the order to pack them.
        annotations: the records of each image's persons, by image id.
        rest: everything else in the file.
    """

    folder: str
    image_records: Sequence[Record]
    annotations: Mapping[int, Sequence[Record]]
    rest: Record

    @staticmethod
    def open(folder: str, annotation_uri: str, storage: Storage) -> FolderSource:
        """Read the annotation file.

        Raises:
            ConfigurationError: it is not in COCO's form, or two images would share a key.
        """
        content = _parse(storage.read_bytes(annotation_uri), annotation_uri)
        persons: defaultdict[int, list[Record]] = defaultdict(list)
        for record in content["annotations"]:
            persons[record["image_id"]].append(record)
        _require_own_keys(content["images"], annotation_uri)
        rest = {name: value for name, value in content.items() if name not in ("images", "annotations")}
        return FolderSource(folder, content["images"], dict(persons), rest)

    def __len__(self) -> int:
        return len(self.image_records)

    def images(self, first: int, count: int, storage: Storage) -> Iterator[PackedImage]:
        """Reads the images [first, first + count) as they are, without decoding them."""
        for record in self.image_records[first : first + count]:
            encoded = storage.read_bytes(join_uri(self.folder, record["file_name"]))
            yield PackedImage(encoded, record, self.annotations.get(record["id"], ()))

    def head(self) -> Record:
        """The file's own info, licences and categories."""
        return self.rest


def _parse(data: bytes, uri: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
        _ = [(image["file_name"], image["id"]) for image in content["images"]]
        _ = [record["image_id"] for record in content["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"annotations {uri}: no COCO annotation file ({error!r}); wanted `images` with `file_name` "
            "and `id`, and `annotations` with `image_id`"
        ) from error
    return dict(content)


def _require_own_keys(images: Sequence[Record], uri: str) -> None:
    keys = Counter(image["file_name"].rpartition(".")[0] for image in images)
    shared = [key for key, count in keys.items() if count > 1]
    if shared:
        raise ConfigurationError(
            f"annotations {uri}: {len(shared)} file names differ in nothing but the suffix, such as "
            f"{shared[0]}; rename them, since a shard tells its images apart by the name before the suffix"
        )
