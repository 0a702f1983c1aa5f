"""What can be packed: rendered scenes, and a folder of images with its annotation file."""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.ground_truth.annotation_records import parse_annotations
from pipeline.ground_truth.image_names import NO_IMAGE, ImageNames
from pipeline.packing.pack import PackedImage, Record
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri, normalise_uri
from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton
from posrefine.synthetic import SceneSpec, coco_annotations, render_scene

__all__ = ["FolderSource", "SceneSource", "shard_name"]

logger = logging.getLogger(__name__)

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
        places: address of each image, by image id.
        image_records: the file's images, in the order to pack them.
        annotations: the records of each image's persons, by image id.
        rest: everything else in the file.
    """

    places: Mapping[int, str]
    image_records: Sequence[Record]
    annotations: Mapping[int, Sequence[Record]]
    rest: Record

    @staticmethod
    def open(folder: str, annotation_uri: str, storage: Storage) -> FolderSource:
        """Read the annotation file.

        Raises:
            ConfigurationError: it is not in COCO's form, two images would share a key, one has no suffix, or
                a file name and the folder's files do not tell which is which.
        """
        data = storage.read_bytes(annotation_uri)
        content = parse_annotations(data, annotation_uri, "images", "annotations")
        persons: defaultdict[int, list[Record]] = defaultdict(list)
        for record in content["annotations"]:
            persons[record["image_id"]].append(record)
        _warn_of_unlisted(content["images"], persons, annotation_uri)
        _require_own_keys(content["images"], annotation_uri)
        rest = {name: value for name, value in content.items() if name not in ("images", "annotations")}
        return FolderSource(
            _places(folder, content["images"], storage), content["images"], dict(persons), rest
        )

    def __len__(self) -> int:
        return len(self.image_records)

    def images(self, first: int, count: int, storage: Storage) -> Iterator[PackedImage]:
        """Reads the images [first, first + count) as they are, without decoding them."""
        for record in self.image_records[first : first + count]:
            encoded = storage.read_bytes(self.places[record["id"]])
            packed = {**record, "file_name": shard_name(record["file_name"])}
            yield PackedImage(encoded, packed, self.annotations.get(record["id"], ()))

    def head(self) -> Record:
        """The file's own info, licences and categories."""
        return self.rest


def _warn_of_unlisted(images: Sequence[Record], persons: Mapping[int, Sequence[Record]], uri: str) -> None:
    """Say which persons go into no shard, since the file does not list their images."""
    listed = {image["id"] for image in images}
    unlisted = [
        record for image_id, records in persons.items() if image_id not in listed for record in records
    ]
    if unlisted:
        logger.warning(
            "annotations %s: %d annotations are of images that the file does not list, such as annotation "
            "%s of image %s, and are left out",
            *(uri, len(unlisted), unlisted[0].get("id"), unlisted[0]["image_id"]),
        )


def _places(folder: str, images: Sequence[Record], storage: Storage) -> dict[int, str]:
    """Where each image is; one that is not there gets the address of its name, for the store to refuse."""
    root = normalise_uri(folder)
    uris = [info.uri for info in storage.list(root)]
    names = ImageNames.of((image["file_name"], image["id"]) for image in images)
    ids = names.find([uri.removeprefix(root).lstrip("/") for uri in uris]).settled()
    found = {image_id: uri for image_id, uri in zip(ids.tolist(), uris, strict=True) if image_id != NO_IMAGE}
    return {image["id"]: join_uri(root, image["file_name"]) for image in images} | found


def shard_name(file_name: str) -> str:
    """The name in a shard: a path below it, with no dot but that before the suffix.

    WebDataset's keys end at the first dot.

    Dots in front of the suffix become `%2E` and percent signs `%25` (`urllib.parse.unquote` gives them
    back), so `clip.0001.jpg` and `clip.0002.jpg` stay two samples. Folders keep their dots: they are no part
    of the rule.
    """
    parts = (part for part in file_name.split("/") if part not in ("", "."))
    folder, slash, name = "/".join(parts).rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return f"{folder}{slash}{stem.replace('%', '%25').replace('.', '%2E')}{dot}{suffix}"


def _require_own_keys(images: Sequence[Record], uri: str) -> None:
    for image in images:
        if ".." in image["file_name"].split("/"):
            raise ConfigurationError(
                f"annotations {uri}: {image['file_name']!r} leads out of its folder; give the path below it, "
                "since whoever unpacks the shard would write there"
            )
        stem, _, suffix = image["file_name"].rpartition("/")[2].rpartition(".")
        if not stem.strip(".") or not suffix:
            raise ConfigurationError(
                f"annotations {uri}: {image['file_name']!r} has no name and suffix, such as NAME.jpg: "
                "rename it, since a shard knows images by them"
            )
        if suffix.lower() == "json":
            raise ConfigurationError(
                f"annotations {uri}: {image['file_name']!r} has the suffix of the labels beside it; rename it"
            )
    keys = Counter(shard_name(image["file_name"]).rpartition(".")[0] for image in images)
    shared = [key for key, count in keys.items() if count > 1]
    if shared:
        raise ConfigurationError(
            f"annotations {uri}: {len(shared)} file names differ in nothing but the suffix, such as "
            f"{shared[0]}; rename them, since a shard tells its images apart by the name before the suffix"
        )
