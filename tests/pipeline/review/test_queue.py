"""Queues as they are stored, and the tasks that become of them."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.rows import result, some_poses
from support.runs import write_run

from jobs import review
from pipeline.output.review_queue import (
    QueuedImage,
    QueueRecord,
    Reason,
    ReviewQueue,
    list_queues,
    read_queue,
    write_queue,
)
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.queue import read_tasks
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ObjectExists


def queue_of(images: list[ImageResult], queue_id: str = "one") -> ReviewQueue:
    rows = tuple(
        QueuedImage(
            rank=rank,
            image_key=image.image_key,
            image_id=image.image_id,
            uri=image.uri,
            width=image.width,
            height=image.height,
            sha256=image.sha256,
            reason=Reason.CONTROL if rank % 2 else Reason.VIEW_SPREAD,
            value=None if rank % 2 else 0.25,
            words=f"reason {rank}",
            is_control=bool(rank % 2),
            probability=0.5 if rank % 2 else None,
            is_reviewed=False,
        )
        for rank, image in enumerate(images)
    )
    record = QueueRecord(
        queue_id=queue_id, run_id="00ab", generation=None, budget=9, control_share=0.5, per_folder=None,
        seed=3, against=None, images=len(images), images_ok=len(images),
    )  # fmt: skip
    return ReviewQueue(record, rows)


@pytest.fixture
def images() -> list[ImageResult]:
    return [dataclasses.replace(result(n, some_poses(3, n)), sha256=f"{n:064x}") for n in range(5)]


@pytest.fixture
def output(tmp_path: Path, images: list[ImageResult]) -> RunOutput:
    uri = write_run(tmp_path / "run", [images[:2], images[2:]])
    return RunOutput.at(uri, Storage())


def test_a_queue_is_read_as_it_was_written(output: RunOutput, images: list[ImageResult]):
    queue = queue_of([images[3], images[0], images[4]])
    write_queue(output, queue)
    assert list_queues(output) == ["one"]
    assert read_queue(output) == read_queue(output, "one") == queue


def test_a_budget_that_is_not_spent_is_said_to_be_left(images: list[ImageResult]):
    queue = queue_of(images)  # of a budget of nine
    assert "4  of the budget of 9 stay unspent: no other image" in "\n".join(queue.lines())
    spent = dataclasses.replace(queue, record=queue.record.model_copy(update={"budget": 5}))
    assert "budget" not in "\n".join(spent.lines())


def test_a_queue_is_never_replaced_by_another(output: RunOutput, images: list[ImageResult]):
    write_queue(output, queue_of(images))
    write_queue(output, queue_of(images))
    with pytest.raises(ObjectExists):
        write_queue(output, queue_of(images[:2]))


def test_the_last_queue_is_the_last_in_a_copy_too_whatever_its_files_times_are(
    output: RunOutput, images: list[ImageResult], tmp_path: Path
):
    for name in ("b", "c", "a"):
        write_queue(output, queue_of(images, name))
    shutil.copytree(output.uri, tmp_path / "copy")
    copy = RunOutput.at(str(tmp_path / "copy"), Storage())
    for age, path in enumerate(sorted(Path(copy.tree.queues).iterdir())):
        os.utime(path, (10**9 - age, 10**9 - age))
    assert list_queues(copy) == list_queues(output) == ["b", "c", "a"]
    assert read_queue(copy).record.queue_id == "a"
    write_queue(copy, queue_of(images, "0"))
    assert list_queues(copy) == ["b", "c", "a", "0"]


def test_a_queue_that_is_chosen_once_more_is_the_last_again(output: RunOutput, images: list[ImageResult]):
    first = write_queue(output, queue_of(images, "one"))
    write_queue(output, queue_of(images[:2], "two"))
    again = write_queue(output, queue_of(images, "one"))
    assert list_queues(output) == ["two", "one"]
    assert Path(first).read_bytes() == Path(again).read_bytes()
    assert write_queue(output, queue_of(images, "one")) == again
    with pytest.raises(ObjectExists):
        write_queue(output, queue_of(images[:1], "two"))


def test_tasks_are_in_the_order_of_the_queue_with_persons_above_the_floor(
    output: RunOutput, images: list[ImageResult]
):
    write_queue(output, queue_of([images[3], images[0]]))
    tasks = read_tasks(output, "one", min_score=0.5)
    assert [task.image_key for task in tasks] == ["3.jpg", "0.jpg"]
    assert [task.reason for task in tasks] == ["reason 0", "reason 1"]
    for task, image in zip(tasks, (images[3], images[0]), strict=True):
        assert image.poses is not None
        kept = np.flatnonzero(image.poses.scores >= 0.5)
        assert [label.person for label in task.persons] == kept.tolist()
        for label in task.persons:
            assert np.array_equal(label.keypoints, image.poses.keypoints[label.person])
        assert (task.sha256, task.width, task.height) == (image.sha256, 640, 480)


def test_images_that_were_replaced_or_are_gone_are_no_tasks(tmp_path: Path, images: list[ImageResult]):
    now = [dataclasses.replace(images[0], sha256="f" * 64), *images[2:]]
    output = RunOutput.at(write_run(tmp_path / "run", [now]), Storage())
    write_queue(output, queue_of(images))
    tasks = read_tasks(output)
    assert [task.image_key for task in tasks] == ["2.jpg", "3.jpg", "4.jpg"]
    assert tasks.left_out == {"replaced by another image since": 1, "not in the tables any more": 1}


def test_the_same_bytes_under_two_keys_are_one_task(tmp_path: Path, images: list[ImageResult]):
    same = [images[0], dataclasses.replace(images[1], sha256=images[0].sha256), images[2]]
    output = RunOutput.at(write_run(tmp_path / "run", [same]), Storage())
    write_queue(output, queue_of(same))
    tasks = read_tasks(output)
    assert [task.image_key for task in tasks] == ["0.jpg", "2.jpg"]
    assert tasks.left_out == {"the same bytes as another image of the queue": 1}


def test_what_is_no_queue_is_said_with_those_that_are(output: RunOutput, images: list[ImageResult]):
    with pytest.raises(ConfigurationError, match="there is no queue"):
        read_queue(output)
    write_queue(output, queue_of(images))
    with pytest.raises(ConfigurationError, match="no queue two; there are one"):
        read_queue(output, "two")
    output.storage.put(output.tree.queue(9, "bad"), b"nothing of the kind")
    with pytest.raises(ConfigurationError, match="no queue of this version"):
        read_queue(output, "bad")


def test_the_job_lists_queues(
    output: RunOutput, images: list[ImageResult], capsys: pytest.CaptureFixture[str]
):
    write_queue(output, queue_of(images))
    assert review.main(["queues", "--output", output.uri]) == 0
    assert "one: 5 of 5 images" in capsys.readouterr().out
