"""A lost file of people's rows stops what needs these very rows, and nothing that people said is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.answers import answer, everybody
from support.corrections import models_rows
from support.standing import Standing, persons_in, picture

from pipeline.output.human_log import HumanImport
from pipeline.output.schema import MODEL, ImageResult
from pipeline.review.corrections import import_reviews, undo_reviews
from pipeline.review.labels import ReviewedImage
from pipeline.review.queue import read_tasks
from pipeline.review.select import SelectOptions, select_images
from pipeline.storage import Storage
from posrefine.errors import ShardError

PEOPLED = [seed for seed in range(60) if persons_in(picture(seed)) > 0]
DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
}


@dataclass
class Lost:
    """Four images in one group: ann said something of 0 and 1, ben of 1 and 2; one import's file is lost."""

    standing: Standing
    imports: dict[str, HumanImport]
    answers: dict[str, list[ReviewedImage]]

    def lose(self, reviewer: str, how: str = "removed") -> None:
        DAMAGES[how](Path(self.standing.output.tree.human_rows(self.imports[reviewer].digest)))

    def rows(self) -> dict[str, ImageResult]:
        return {image.image_key: image for image in self.standing.output.images()}

    def sources(self) -> dict[str, str]:
        return {key: image.source for key, image in self.rows().items()}

    def again(self, reviewer: str) -> list[str]:
        told = import_reviews(self.standing.output, self.answers[reviewer][::-1], ["again.json"])
        assert told.imports == ()
        return list(told.lines())


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(PEOPLED[number]))
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"), {"min_score": 0.0})
    standing.sync()
    found, imports, answers = models_rows(standing.output), {}, {}
    for reviewer, numbers in (("ann", (0, 1)), ("ben", (1, 2))):
        answers[reviewer] = [
            answer(found[f"{n}.png"], everybody(found[f"{n}.png"])[:1], reviewer) for n in numbers
        ]
        for one in answers[reviewer]:
            one.persons[0].visibility[:3] = (0, 1, 2)
        (imports[reviewer],) = import_reviews(standing.output, answers[reviewer], ["a.json"]).imports
    return Lost(standing, imports, answers)


def same(one: ImageResult, other: ImageResult) -> bool:
    assert one.poses is not None
    assert other.poses is not None
    assert one.labels is not None
    assert other.labels is not None
    return (
        one.source == other.source
        and np.array_equal(one.poses.keypoints, other.poses.keypoints)
        and np.array_equal(one.poses.keypoint_scores, other.poses.keypoint_scores)
        and np.array_equal(one.labels.visibility, other.labels.visibility)
        and np.array_equal(one.labels.boxes_xywh, other.labels.boxes_xywh)
    )


@pytest.mark.parametrize("how", DAMAGES)
def test_a_sync_keeps_rows_whose_file_is_lost_as_the_tables_hold_them_and_says_so(
    lost: Lost, how: str, caplog: pytest.LogCaptureFixture
):
    before = lost.rows()
    lost.lose("ben", how)
    folder = Path(lost.standing.input)
    (folder / "3.png").write_bytes(picture(PEOPLED[30]))  # its group is made anew
    (folder / "1.png").rename(folder / "renamed.png")
    lost.standing.sync()
    now = lost.rows()
    assert lost.sources() == {"0.png": "ann", "2.png": "ben", "3.png": MODEL, "renamed.png": "ben"}
    assert same(now["0.png"], before["0.png"])
    assert same(now["2.png"], before["2.png"])
    assert same(now["renamed.png"], before["1.png"])
    assert f"ben's import {lost.imports['ben'].digest[:12]} (2 images)" in caplog.text


def test_choosing_and_giving_out_go_on_without_the_file_and_remember_who_looked(lost: Lost):
    lost.lose("ann")
    output = lost.standing.output
    queue, _ = select_images(output, SelectOptions(4, control_share=0))
    assert [image.image_key for image in queue.images] == ["3.png"]
    assert len(read_tasks(output)) == 1
    assert output.human_rows().reviewers().keys() == {row.sha256 for row in lost.rows().values()} - {
        lost.rows()["3.png"].sha256
    }


def test_the_network_s_own_rows_are_read_from_its_units_where_the_file_is_lost(lost: Lost):
    before = {key: image.poses for key, image in models_rows(lost.standing.output).items()}
    lost.lose("ann")
    lost.lose("ben", "cut")
    assert {key: image.poses for key, image in models_rows(lost.standing.output).items()} == before


@pytest.mark.parametrize("how", DAMAGES)
def test_the_same_export_once_more_stores_the_rows_again(lost: Lost, how: str):
    file = Path(lost.standing.output.tree.human_rows(lost.imports["ann"].digest))
    before = lost.standing.output.human_rows().files.table(lost.imports["ann"])
    lost.lose("ann", how)
    assert any("restored" in line and "of ann" in line for line in lost.again("ann"))
    assert file.exists()
    assert lost.standing.output.human_rows().files.table(lost.imports["ann"]).equals(before)
    assert not any("restored" in line for line in lost.again("ann"))
    # Also what was undone before it was damaged.
    undo_reviews(lost.standing.output, reviewer="ann")
    lost.lose("ann", "cut")
    assert import_reviews(lost.standing.output, lost.answers["ann"], ["b.json"]).imports
    assert lost.sources()["0.png"] == "ann"


def test_undo_of_the_lost_import_itself_brings_back_who_counted_before(lost: Lost):
    lost.lose("ben")
    undone = undo_reviews(lost.standing.output, import_id=lost.imports["ben"].digest[:12])
    assert undone.reviewed == 2
    assert lost.sources() == {"0.png": "ann", "1.png": "ann", "2.png": MODEL, "3.png": MODEL}


def test_undo_of_another_import_goes_on_unless_the_lost_one_would_count_instead(lost: Lost):
    lost.lose("ann")
    before, output = lost.rows(), lost.standing.output
    with pytest.raises(ShardError, match=r"ann's import .* import the same export again"):
        undo_reviews(output, reviewer="ben")
    assert output.human_rows().version == 2
    assert lost.sources() == {"0.png": "ann", "1.png": "ben", "2.png": "ben", "3.png": MODEL}
    lost.again("ann")
    lost.lose("ben")
    undo_reviews(output, reviewer="ann")
    assert lost.sources() == {"0.png": MODEL, "1.png": "ben", "2.png": "ben", "3.png": MODEL}
    assert same(lost.rows()["2.png"], before["2.png"])


def test_an_image_that_comes_back_is_never_shown_without_what_people_said_of_it(lost: Lost):
    folder, image = Path(lost.standing.input), picture(PEOPLED[2])
    (folder / "2.png").unlink()
    lost.standing.sync()
    lost.lose("ben")
    (folder / "2.png").write_bytes(image)
    with pytest.raises(ShardError, match=r"needed for 2.png, .* put the file back .* undo --import"):
        lost.standing.sync()
    assert lost.sources() == {"0.png": "ann", "1.png": "ben", "3.png": MODEL}
    undo_reviews(lost.standing.output, reviewer="ben")
    lost.standing.sync()
    import_reviews(lost.standing.output, lost.answers["ben"], ["b.json"])
    assert lost.sources() == {"0.png": "ann", "1.png": "ben", "2.png": "ben", "3.png": MODEL}


def test_another_network_takes_over_though_a_file_is_lost(lost: Lost):
    before = lost.rows()
    lost.lose("ann")
    lost.standing.replace(1)
    now = lost.rows()
    assert lost.sources() == {"0.png": "ann", "1.png": "ben", "2.png": "ben", "3.png": MODEL}
    assert same(now["0.png"], before["0.png"])


def test_logs_that_do_not_say_which_images_they_are_about_are_read_with_their_rows(lost: Lost):
    tree = lost.standing.output.tree
    for number in range(2):
        path = Path(tree.human_entry(number))
        entry = json.loads(path.read_text())
        for one in entry["imports"]:
            del one["keys"]
        path.write_text(json.dumps(entry))
    before = lost.sources()
    (Path(lost.standing.input) / "3.png").write_bytes(picture(PEOPLED[30]))
    lost.standing.sync()
    assert lost.sources() == before
    lost.lose("ann")
    with pytest.raises(ShardError, match="ann's import"):
        undo_reviews(lost.standing.output, reviewer="ben")


def test_corrections_that_unfinished_tables_leave_out_are_missed_aloud(
    lost: Lost, caplog: pytest.LogCaptureFixture
):
    assert set(lost.sources().values()) == {MODEL, "ann", "ben"}
    assert not caplog.records
    Path(lost.standing.output.tree.success).unlink()
    assert set(lost.sources().values()) == {MODEL}
    assert "2 imports of corrections" in caplog.text
    assert "annotate.py finalize --output" in caplog.text
