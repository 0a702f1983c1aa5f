"""Tasks with pre-labels for the tools that people work with: `write_tasks`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.export.coco import image_record, people, put_ground_truth
from pipeline.export.fiftyone import encode_skeleton, keypoints, sample
from pipeline.export.files import put_json_lines, put_zipped, spooled, write_array
from pipeline.export.label_studio import labelling_config, regions
from pipeline.export.source import address_for_tools
from pipeline.review.formats.answer_files import Tool
from pipeline.review.formats.checks import PRE_LABELS
from pipeline.review.formats.cvat_tasks import cvat_labels, cvat_pieces, has_name_in_xml
from pipeline.review.formats.pre_labels import TaskFile, about_task, exported
from pipeline.review.given import GIVEN, given_of
from pipeline.review.labels import ReviewTask
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri

__all__ = ["TasksWritten", "write_tasks"]

_NO_XML = "XML cannot hold the control characters in their names"
_ABSENT = {"$numberDouble": "NaN"}
"""How FiftyOne itself writes a coordinate that is not there: NaN is no JSON."""


@dataclass(frozen=True)
class TasksWritten:
    """What was written for whom.

    Attributes:
        tool: that it is for.
        shares: how many images every reviewer has, by name; None for anybody.
        twice: images that two reviewers have.
        persons: pre-labels in all files together.
        blank: persons left out of them all together, because no joint of theirs would be shown.
        left_out: images that are in no file, by reason.
        files: all of them, those that set the tool up first.
    """

    tool: Tool
    shares: Mapping[str | None, int]
    twice: int
    persons: int
    blank: int
    left_out: Mapping[str, int]
    files: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"{self.tool}: {sum(self.shares.values()):,} tasks, {self.persons:,} persons"
        for name, images in self.shares.items():
            if name is not None:
                yield f"{name}: {images:,} images"
        if self.twice:
            yield f"for two reviewers each: {self.twice:,} images"
        for reason, count in self.left_out.items():
            yield f"left out: {count:,} images ({reason})"
        if self.blank:
            yield f"left out: {self.blank:,} persons (none of their joints is shown)"
        yield from self.files


def write_tasks(
    shares: Mapping[str | None, Sequence[ReviewTask]],
    tool: Tool,
    output: str,
    storage: Storage,
    about: TaskFile,
) -> TasksWritten:
    """Write every reviewer's tasks below a folder, in a file each, and what sets the tool up.

    Joints below the wanted score, and those outside of the frame, are shown as not labelled; all others as
    visible, for the network does not know what hides a joint. Persons without a joint to be shown are left
    out, for nobody could take hold of them, or tell them from nobody. What is there under the same names is
    replaced.

    Args:
        shares: tasks by reviewer, as `shared_out` makes them.
        tool: that the files are for.
        output: folder or bucket prefix.
        storage: for the files.
        about: what is asked of all files.

    Raises:
        ConfigurationError: images lie in shards, which the tool cannot read them from, and `image_root` is
            not given.
    """
    named = {
        name: [task for task in tasks if tool != "cvat" or has_name_in_xml(task)]
        for name, tasks in shares.items()
    }
    kept = {name: [_without_blank(task, about) for task in tasks] for name, tasks in named.items()}
    files = list(_SETUP[tool](output, storage, about))
    for name, tasks in kept.items():
        files += _WRITERS[tool](tasks, join_uri(output, name or "tasks"), storage, about)
    without_name = sum(map(len, shares.values())) - sum(map(len, kept.values()))
    images = Counter(task.uri for tasks in kept.values() for task in tasks)
    persons, all_persons = (
        sum(len(task.persons) for tasks in ones.values() for task in tasks) for ones in (kept, named)
    )
    return TasksWritten(
        tool=tool,
        shares={name: len(tasks) for name, tasks in kept.items()},
        twice=sum(count > 1 for count in images.values()),
        persons=persons,
        blank=all_persons - persons,
        left_out={_NO_XML: without_name} if without_name else {},
        files=tuple(files),
    )


def _without_blank(task: ReviewTask, about: TaskFile) -> ReviewTask:
    """The task, of whose persons each has a joint that is shown."""
    shown = exported(task, about.skeleton).shown(about.min_keypoint_score)
    persons = tuple(one for one, flags in zip(task.persons, shown, strict=True) if flags.any())
    return replace(task, persons=persons)


def _put(storage: Storage, uri: str, data: bytes) -> tuple[str]:
    storage.put(uri, data)
    return (uri,)


_SETUP: dict[Tool, Callable[[str, Storage, TaskFile], tuple[str, ...]]] = {
    "cvat": lambda output, storage, about: _put(
        storage, join_uri(output, "labels.json"), cvat_labels(about.skeleton)
    ),
    "label-studio": lambda output, storage, about: _put(
        storage,
        join_uri(output, "label_config.xml"),
        labelling_config(about.skeleton, heading="$reason").encode(),
    ),
    "fiftyone": lambda output, storage, about: _put(
        storage, join_uri(output, "skeleton.json"), encode_skeleton(about.skeleton)
    ),
    "coco": lambda output, storage, about: (),
}


def _cvat(tasks: Sequence[ReviewTask], stem: str, storage: Storage, about: TaskFile) -> Iterator[str]:
    put_zipped(
        storage,
        f"{stem}.zip",
        "annotations.xml",
        cvat_pieces(tasks, about, stem.rpartition("/")[2]),
    )
    yield f"{stem}.zip"


def _label_studio(tasks: Sequence[ReviewTask], stem: str, storage: Storage, about: TaskFile) -> Iterator[str]:
    with spooled(storage, f"{stem}.json") as file:
        write_array(file, (_label_studio_task(task, about) for task in tasks))
    yield f"{stem}.json"


def _label_studio_task(task: ReviewTask, about: TaskFile) -> dict[str, Any]:
    image = exported(task, about.skeleton)
    numbers = [person.person for person in task.persons]
    prediction = {
        "model_version": about.model,
        "score": round(float(image.poses.scores.mean()), 4) if task.persons else 0.0,
        "result": list(regions(image, about.skeleton, about.min_keypoint_score, numbers)),
    }
    size = {"width": task.width, "height": task.height}
    data = {"image": address_for_tools(image, about.image_root)} | about_task(task, about) | size
    return {"data": data, "predictions": [prediction]}


def _fiftyone(tasks: Sequence[ReviewTask], stem: str, storage: Storage, about: TaskFile) -> Iterator[str]:
    put_json_lines(storage, f"{stem}.jsonl", (_fiftyone_sample(task, about) for task in tasks))
    yield f"{stem}.jsonl"


def _fiftyone_sample(task: ReviewTask, about: TaskFile) -> dict[str, Any]:
    image = exported(task, about.skeleton)
    shown, persons = image.shown(about.min_keypoint_score), keypoints(image)
    for index, person in enumerate(persons):
        there, given = shown[index].tolist(), person["points"]
        person["points"] = [
            point if seen else [_ABSENT, _ABSENT] for point, seen in zip(person["points"], there, strict=True)
        ]
        person["visible"] = there
        person["joints"] = list(about.skeleton.joints)
        person["person"] = task.persons[index].person
        points = np.array([point if seen else [0, 0] for point, seen in zip(given, there, strict=True)])
        person[GIVEN] = given_of(points * (task.width, task.height), shown[index] > 0)
    return sample(image, address_for_tools(image, about.image_root), persons) | about_task(task, about)


def _coco(tasks: Sequence[ReviewTask], stem: str, storage: Storage, about: TaskFile) -> Iterator[str]:
    records = (_coco_image(task, number, about) for number, task in enumerate(tasks, start=1))
    put_ground_truth(storage, f"{stem}.zip", about.model, about.skeleton, records)
    yield f"{stem}.zip"


def _coco_image(
    task: ReviewTask, number: int, about: TaskFile
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    image = exported(task, about.skeleton)
    asked = about_task(task, about)
    return image_record(image, number) | asked, _coco_people(task, number, about, asked[PRE_LABELS])


def _coco_people(task: ReviewTask, number: int, about: TaskFile, pre_labels: str) -> Iterator[dict[str, Any]]:
    """Which image they are of stands in every person too: tools keep attributes of persons, not of images."""
    image = exported(task, about.skeleton)
    shown = image.shown(about.min_keypoint_score)
    for person, record, flags in zip(task.persons, people(image, number, shown), shown, strict=True):
        given = given_of(np.reshape(record["keypoints"], (-1, 3))[:, :2], flags > 0)
        kept = {"person": person.person, "sha256": task.sha256, GIVEN: given, PRE_LABELS: pre_labels}
        yield record | {"attributes": record["attributes"] | kept}


_WRITERS: dict[Tool, Callable[[Sequence[ReviewTask], str, Storage, TaskFile], Iterator[str]]] = {
    "cvat": _cvat,
    "label-studio": _label_studio,
    "fiftyone": _fiftyone,
    "coco": _coco,
}
