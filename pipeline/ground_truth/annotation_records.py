"""An annotation file read whole, and what its readers go by checked: ids, file names, categories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from posrefine.errors import ConfigurationError
from posrefine.metrics.records import int64_of

__all__ = ["Record", "parse_annotations"]

Record = Mapping[str, Any]


def parse_annotations(data: bytes, uri: str, *lists: str) -> dict[str, Any]:
    """The members of a file in COCO's form; whole numbers that were written as floats are integers again.

    Args:
        data: of the file.
        uri: what to call it in messages.
        lists: those of `images`, `annotations` and `categories` that the caller needs; they are checked, and
            nothing else is.

    Raises:
        ConfigurationError: the file has no such list, or an image without an integer id or a file name, a
            person without an integer `image_id`, or a category with joints that are no names; or two images
            of different names share an id, so that nobody knows whose the persons are.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_coco(uri, f"no JSON ({error})") from error
    if not isinstance(content, dict):
        raise _no_coco(uri, f"holds a {type(content).__name__}, wanted an object")
    checks = {"images": _images, "annotations": _persons, "categories": _categories}
    return {**content, **{name: list(checks[name](_records(content, name, uri), uri)) for name in lists}}


def _records(content: Record, name: str, uri: str) -> Iterator[Record]:
    if name not in content:
        raise _no_coco(uri, f"there is no `{name}`")
    # Some tools write null for an empty list of categories.
    listed = [] if name == "categories" and content[name] is None else content[name]
    if not isinstance(listed, list):
        raise _no_coco(uri, f"`{name}` is a {type(listed).__name__}, wanted a list")
    for record in listed:
        if not isinstance(record, dict):
            raise _no_coco(uri, f"among `{name}` stands {record!r:.80}, wanted an object")
        yield record


def _images(records: Iterator[Record], uri: str) -> Iterator[Record]:
    names: dict[int, str] = {}
    for record in records:
        name = record.get("file_name")
        if not isinstance(name, str) or not _is_text(name):
            raise _no_coco(uri, f"an image has the file_name {name!r:.80}, wanted a path")
        checked = _with_integer(record, "id", f"image {name}", uri)
        other = names.setdefault(checked["id"], name)
        if other != name:
            raise ConfigurationError(
                f"annotations {uri}: {other} and {name} both have the id {checked['id']}; give every image "
                "its own, since persons are given to images by it"
            )
        yield checked


def _persons(records: Iterator[Record], uri: str) -> Iterator[Record]:
    for record in records:
        yield _with_integer(record, "image_id", f"annotation {record.get('id')!r:.80}", uri)


def _categories(records: Iterator[Record], uri: str) -> Iterator[Record]:
    for record in records:
        joints = record.get("keypoints")
        if joints is not None and not (isinstance(joints, list) and all(isinstance(j, str) for j in joints)):
            raise _no_coco(uri, f"a category has the keypoints {joints!r:.80}, wanted a list of names")
        yield record


def _with_integer(record: Record, name: str, whose: str, uri: str) -> Record:
    value = int64_of(record.get(name), f"annotations {uri}: no COCO annotation file: `{name}` of {whose}")
    return record if type(record[name]) is int else {**record, name: value}


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name != "" and "\0" not in name


def _no_coco(uri: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"annotations {uri}: no COCO annotation file: {reason}; wanted `images` with `id` and `file_name`, "
        "`annotations` with `image_id`, and `categories`"
    )
