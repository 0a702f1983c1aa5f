"""What people did with their tasks, whichever tool they used: `read_reviews`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator

import numpy as np

from pipeline.review.formats.answer import Answer
from pipeline.review.formats.answer_files import AnswerFile, Tool, iter_answer_files
from pipeline.review.formats.coco import read_coco
from pipeline.review.formats.cvat import read_cvat
from pipeline.review.formats.fiftyone import read_fiftyone
from pipeline.review.formats.label_studio import read_label_studio
from pipeline.review.labels import ReviewedImage
from pipeline.storage import Storage
from posrefine.skeletons import Skeleton

__all__ = ["read_reviews"]

logger = logging.getLogger(__name__)


def read_reviews(
    storage: Storage,
    uri: str,
    skeleton: Skeleton,
    tool: Tool | None = None,
    *,
    reviewer: str | None = None,
    may_be_empty: bool = False,
) -> Iterator[ReviewedImage]:
    """The answers at an address: a file, a zip or a folder of them, of one tool or of several.

    Joints are matched by their names and persons by the numbers of their pre-labels, so no order matters.
    Images come as they are read; whoever stores them waits for the end, for a refusal may come last.

    Args:
        storage: of the files.
        uri: of a file, an archive or a folder.
        skeleton: of the run.
        tool: whose files they must be; None for any, told by their content.
        reviewer: who looked, whatever the files say; None for the one that a task was for, then the one that
            the tool names, then the name of the file.
        may_be_empty: whether nobody may be left in a file whose tasks showed persons. Tools write such files
            by mistake.

    Raises:
        ConfigurationError: no export is there, or something in one does not fit; with the place in the file,
            what stands there, and what was wanted.
        StorageError: the store could not be reached.
    """
    seen: dict[tuple[str, str], tuple[bytes, str]] = {}
    lost = 0
    for file in iter_answer_files(storage, uri):
        if tool is not None and file.tool != tool:
            raise file.place.refusal(f"is an export of {file.tool}, wanted one of {tool}")
        for answer in _not_emptied(_answers(file, skeleton), file, may_be_empty):
            image = _image(answer, file, reviewer)
            lost += answer.image_key is None and answer.sha256 is None
            name = (image.reviewer, image.sha256 or f"key {image.image_key}")
            if _is_new(image, seen.get(name), answer):
                seen[name] = _digest(image), image.place
                yield image
    if lost:
        logger.warning(
            "%s: of %d images the tool kept neither sha256 nor key; their file names are taken for keys",
            uri,
            lost,
        )


def _answers(file: AnswerFile, skeleton: Skeleton) -> Iterator[Answer]:
    if file.tool == "cvat":
        return read_cvat(file.open(), file.place, skeleton)
    if file.tool == "coco":
        return read_coco(file.records(), file.place, skeleton)
    if file.tool == "label-studio":
        return read_label_studio((task for _, task in file.records()), file.place, skeleton)
    return read_fiftyone(file.samples(), file.place, skeleton, file.order)


def _not_emptied(answers: Iterator[Answer], file: AnswerFile, may_be_empty: bool) -> Iterator[Answer]:
    """The answers; refuses a file at its end that has lost everybody."""
    persons, shown, images = 0, 0, 0
    for answer in answers:
        images += 1
        persons += len(answer.persons)
        shown += 1 if answer.pre_labels is None else len(answer.pre_labels)
        yield answer
    if images and shown and not persons and not may_be_empty:
        raise file.place.refusal(
            f"of {images} images not one has a person, and their tasks showed some, wanted persons: tools "
            "write such files when they lose them. If nobody is in any of them, say that files may be empty"
        )


def _image(answer: Answer, file: AnswerFile, reviewer: str | None) -> ReviewedImage:
    key = answer.image_key
    if key is None and answer.sha256 is None:
        key = answer.file_name
        if key is None:
            raise answer.place.refusal(
                "has neither sha256 nor image_key, wanted one of those that the task had"
            )
    return ReviewedImage(
        image_key=key,
        sha256=answer.sha256,
        reviewer=(reviewer or answer.reviewer or file.stem).strip(),
        width=answer.frame.width,
        height=answer.frame.height,
        persons=answer.persons,
        place=str(answer.place),
        pre_labels=answer.pre_labels,
        is_marked=answer.is_marked,
    )


def _is_new(image: ReviewedImage, before: tuple[bytes, str] | None, answer: Answer) -> bool:
    """Whether an image is the first of its reviewer; False for the same once more."""
    if before is None:
        return True
    if before[0] == _digest(image):
        return False
    raise answer.place.refusal(
        f"{image.reviewer} has another answer about this image at {before[1]}, wanted one; leave out "
        "the older file"
    )


def _digest(image: ReviewedImage) -> bytes:
    """Of the persons, in whatever order."""
    persons = sorted(
        person.keypoints.tobytes() + person.visibility.tobytes() + str(person.person).encode()
        for person in image.persons
    )
    size = np.array([image.width, image.height]).tobytes()
    return hashlib.sha256(size + b"".join(persons)).digest()
