"""The review job from a queue to ground truth: select, export, correct, import, agree, undo."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from support.standing import Standing, persons_in

from jobs import review
from pipeline.output.schema import MODEL
from pipeline.output.status import read_status
from pipeline.output.status_text import status_lines
from pipeline.storage import Storage


def picture(seed: int) -> bytes:
    """Large enough for the joints that the network which does nothing finds."""
    file = io.BytesIO()
    Image.new("RGB", (512, 512), (seed, 7, 7)).save(file, "PNG")
    return file.getvalue()


PEOPLED = [seed for seed in range(40) if persons_in(picture(seed)) > 0]


def test_corrections_come_back_are_told_count_and_can_be_undone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(PEOPLED[number]))
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"), {"min_score": 0.0})
    standing.sync()
    output = ["--output", standing.output_uri]

    def done(*arguments: str) -> str:
        assert review.main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert done("imports", *output) == "nothing was imported\n"
    done("select", *output, "--budget", "4", "--control-share", "0.5")
    tasks = tmp_path / "tasks"
    done("export", *output, "--tool", "coco", "--to", str(tasks), "--reviewers", "ann")
    (archive,) = tasks.rglob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        content = json.loads(opened.read(opened.namelist()[0]))
    file = tmp_path / "corrected.json"
    content["annotations"][0]["keypoints"][0] = 3.5
    file.write_text(json.dumps(content))

    taken = ["import", str(file), *output, "--reviewer", "ann", "--unchanged-is-reviewed"]
    told = done(*taken)
    assert "4 reviewed" in told
    assert "1 moved" in told
    assert "3 images, as" in told
    assert {image.source for image in standing.output.images()} == {MODEL, "ann"}
    assert "imported before" in done(*taken)
    assert done("imports", *output).count("ann: 4 images") == 1
    (rows,) = Path(standing.output.tree.imports).iterdir()
    rows.unlink()
    assert "ann: 4 images" in (listed := done("imports", *output))
    assert "its rows are lost" in listed
    assert "restored" in done(*taken)
    assert "lost" not in done("imports", *output)
    # What has come back is not asked for again, but by a second reviewer.
    export = ["export", *output, "--tool", "coco", "--to", str(tmp_path / "more")]
    told = done(*export)
    assert "left out: 4 images (reviewed since; `undo` gives them out again)" in told
    assert "coco: 0 tasks" in told
    told = done(*export, "--reviewers", "ann,ben", "--overlap", "1")
    assert ("ann: 0 images" in told, "ben: 4 images" in told, "reviewed since" in told) == (True, True, False)
    status = read_status(standing.output)
    assert status.summary(datetime.now(UTC)).reviewed == 4
    assert "reviewed  4 images are as people corrected them" in status_lines(status, datetime.now(UTC))
    assert sum(status.images.values()) == 5
    agreed = json.loads(done("agreement", *output, "--json", "--draws", "20"))
    assert agreed["control"]["images"] == 2
    assert "control share" in done("agreement", *output, "--draws", "20")
    done("ground-truth", *output, "--to", str(tmp_path / "truth.json"))
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert len(truth["images"]) == 4
    # Who was looked at is no task of the next queue.
    again = done("select", *output, "--budget", "4", "--control-share", "0")
    assert "0 of 5" not in again
    assert ": 1 of 5 images" in again
    done("undo", *output, "--reviewer", "ann")
    assert {image.source for image in standing.output.images()} == {MODEL}
    assert read_status(standing.output).reviewed == 0
    assert "coco: 4 tasks" in done(*export, "--queue", agreed["queue_id"])

    content["images"][0]["width"] = 77
    file.write_text(json.dumps(content))
    assert review.main(["import", str(file), *output]) == 2
    assert file.name in capsys.readouterr().err
