"""`review.py export`: a queue's images as tasks, a file each reviewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.rows import result, some_poses
from support.runs import metadata_of, write_run

from jobs.review import main
from pipeline.output.review_queue import QueuedImage, QueueRecord, Reason, ReviewQueue, write_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.read_reviews import read_reviews
from pipeline.storage import Storage
from posrefine.skeletons import COCO


def images(orientation: int = 1) -> list[ImageResult]:
    """Ten; the first has an EXIF orientation."""
    rows = [result(number, some_poses(2, number)) for number in range(10)]
    return [
        replace(row, sha256=f"{number:064x}", exif_orientation=1 if number else orientation)
        for number, row in enumerate(rows)
    ]


def output_with_queue(folder: Path, exif: str = "apply", orientation: int = 1) -> str:
    rows = images(orientation)
    root = write_run(folder / "run", [rows], metadata_of(exif=exif))
    queued = tuple(
        QueuedImage(
            rank=rank,
            image_key=row.image_key,
            image_id=row.image_id,
            uri=row.uri,
            width=row.width,
            height=row.height,
            sha256=row.sha256,
            reason=Reason.VIEW_SPREAD,
            value=0.5,
            words="views disagree",
            is_control=False,
            probability=None,
            is_reviewed=False,
        )
        for rank, row in enumerate(rows)
    )
    record = QueueRecord(
        queue_id="one",
        run_id="00ab",
        generation=None,
        budget=10,
        control_share=0.0,
        per_folder=None,
        seed=0,
        against=None,
        images=10,
        images_ok=10,
    )
    write_queue(RunOutput.at(root, Storage()), ReviewQueue(record, queued))
    return root


@pytest.mark.parametrize("tool", ["cvat", "fiftyone", "coco", "label-studio"])
def test_every_reviewer_gets_a_file_and_the_files_name_what_they_hold(
    tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root, to = output_with_queue(tmp_path), tmp_path / "tasks"
    asked = ["export", "--output", root, "--tool", tool, "--to", str(to)]
    people = ["--reviewers", "ann,ben", "--overlap", "0.2", "--seed", "5"]
    assert main([*asked, *people, "--image-root", "https://x.example", "--min-score", "0"]) == 0
    said = capsys.readouterr().out
    assert "12 tasks, 24 persons" in said
    assert "for two reviewers each: 2 images" in said
    for line in said.splitlines():
        if line.startswith("/"):
            assert Path(line).exists()
    if tool == "label-studio":
        return  # its tasks are no answers before somebody gives them
    found = [
        image
        for name in ("ann", "ben")
        for path in to.glob(f"{name}.*")
        for image in read_reviews(Storage(), str(path), COCO)
    ]
    assert len(found) == 12
    assert {image.reviewer for image in found} == {"ann", "ben"}
    wanted = {row.image_key: row for row in images()}
    for image in found:
        row = wanted[str(image.image_key)]
        assert row.poses is not None
        assert image.sha256 == row.sha256
        assert [person.person for person in image.persons] == [0, 1]
        for person, pose in zip(image.persons, row.poses, strict=True):
            kept = person.visibility > 0
            np.testing.assert_allclose(person.keypoints[kept], pose.keypoints[kept], atol=0.01)


def test_images_that_labelling_tools_would_turn_are_left_out_of_a_run_that_did_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = output_with_queue(tmp_path, exif="ignore", orientation=6)
    assert main(["export", "--output", root, "--tool", "coco", "--to", str(tmp_path / "tasks")]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 images (the run ignored their EXIF orientation" in said
    assert "9 tasks" in said


def test_names_that_cannot_be_files_and_overlaps_of_one_end_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = output_with_queue(tmp_path)
    asked = ["export", "--output", root, "--tool", "coco", "--to", str(tmp_path / "tasks")]
    assert main([*asked, "--reviewers", "a/b"]) == 2
    assert main([*asked, "--reviewers", "ann", "--overlap", "0.5"]) == 2
    assert main([*asked, "--queue", "two"]) == 2
    assert not (tmp_path / "tasks").exists()
    assert "reviewers: 'a/b'" in capsys.readouterr().err
