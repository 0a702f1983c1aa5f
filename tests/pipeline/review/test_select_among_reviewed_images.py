"""What people said about images, and another network did, as it bears on which are chosen next."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.corrections import corrected, import_into, models_rows, undo_in
from support.images import encode, gradient
from support.queues import chosen_by
from support.standing import Standing, picture

from pipeline.output.review_queue import Reason, ReviewQueue
from pipeline.output.run_output import RunOutput
from pipeline.review.queue import read_tasks
from pipeline.review.select import SelectOptions, select_images
from pipeline.storage import Storage


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Twelve images of some persons, six of which somebody has looked at."""
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    Path(standing.input).mkdir()
    for number in range(12):
        Path(standing.input, f"{number:02d}.png").write_bytes(picture(number))
    standing.sync()
    rows = models_rows(standing.output)
    import_into(standing, [("ann", [corrected(rows[f"{number:02d}.png"], 1, number) for number in range(6)])])
    return standing


def keys_of(queue: ReviewQueue) -> set[str]:
    return {entry.image_key for entry in queue.images}


def test_what_people_looked_at_is_chosen_again_only_where_its_bytes_are_others(standing: Standing):
    queue, _ = select_images(standing.output, SelectOptions(12, control_share=0.0))
    assert queue.images
    assert min(keys_of(queue)) >= "06.png"
    Path(standing.input, "03.png").write_bytes(picture(99))
    standing.sync()
    again, _ = select_images(standing.output, SelectOptions(12, control_share=0.0))
    assert keys_of(again) - keys_of(queue) == {"03.png"}
    assert (again.images[0].image_key, again.images[0].reason) == ("03.png", Reason.REPLACED)


def test_what_people_say_changes_no_signal(standing: Standing):
    """Those of the network's rows: pre-labels are the network's too."""
    queue, _ = select_images(standing.output, SelectOptions(18, control_share=1.0))
    undo_in(standing, standing.output.human_rows().log.active())
    before, _ = select_images(standing.output, SelectOptions(24, control_share=1.0))
    reasons, expected = (
        {entry.image_key: entry.words for entry in one.images if entry.image_key >= "06.png"}
        for one in (queue, before)
    )
    assert len(reasons) == 6
    assert reasons == expected
    found = models_rows(standing.output)
    for task in read_tasks(standing.output, before.record.queue_id, min_score=0.0):
        poses = found[task.image_key].poses
        assert poses is not None
        assert len(task.persons) == len(poses)


def test_the_draw_takes_reviewed_images_too_and_they_cost_nothing_of_the_budget(standing: Standing):
    queue, _ = select_images(standing.output, SelectOptions(8, control_share=0.75))
    old = [entry for entry in queue.images if entry.is_reviewed]
    assert old
    assert max(entry.image_key for entry in old) < "06.png"
    assert all(entry.is_control for entry in old)
    tasks = read_tasks(standing.output)
    assert len(tasks) == len(queue.images) - len(old) <= 8
    assert tasks.left_out == {"reviewed before it was drawn": len(old)}
    undo_in(standing, standing.output.human_rows().log.active())
    fresh, _ = select_images(standing.output, SelectOptions(8, control_share=0.75))
    assert {e.image_key for e in queue.images if e.is_control} == {
        e.image_key for e in fresh.images if e.is_control
    }


def test_what_a_generation_has_more_of_than_those_before_is_a_reason(tmp_path: Path):
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    photographs = Path(standing.input)
    photographs.mkdir()
    for number in range(30):
        (photographs / f"{number:02d}.png").write_bytes(picture(number))
    standing.sync()
    for number in range(30):
        (photographs / f"b{number}.png").write_bytes(encode(gradient(200 + number, 100), "PNG"))
    standing.sync()
    queue, _ = select_images(standing.output, SelectOptions(40, control_share=0.0))
    found = chosen_by(queue, Reason.DRIFT)
    assert found
    assert {entry.image_key[0] for entry in found} == {"b"}
    assert all("drift: longer side, px 2" in entry.words for entry in found)
    assert queue.record.generation == 2
    before, _ = select_images(RunOutput.at(standing.output_uri, standing.storage, 1), SelectOptions(40))
    assert before.record.generation == 1
    assert not chosen_by(before, Reason.DRIFT)
    assert not [entry for entry in before.images if entry.image_key[0] == "b"]
