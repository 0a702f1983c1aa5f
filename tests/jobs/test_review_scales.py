"""One network at two sets of test scales: two runs, and the people that one of them alone has found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.queues import chosen_by
from support.ray_cluster import started_cluster

from jobs.annotate import main as annotate
from jobs.review import main as review
from pipeline.output.review_queue import Reason, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage
from posrefine.metrics.pairing import pair_persons
from posrefine.skeletons import COCO
from posrefine.synthetic import EASY, render_scenes

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

NETWORK = [
    "--model", "posrefine_tiny", "--weights", "posrefine:tiny_coco", "--input-size", "128", "--no-flip",
    "--precision", "float32",
]  # fmt: skip


def persons_of(uri: str) -> dict[str, np.ndarray]:
    """Of each image the persons that count, [N, 17, 2]."""
    rows = RunOutput.rows_at(uri, Storage())
    return {
        image.image_key: image.poses.keypoints[image.poses.scores >= rows.min_score]
        for image in rows.images()
        if image.poses is not None
    }


def test_a_second_run_at_other_scales_brings_the_images_before_people_where_the_two_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "in").mkdir()
    for number, scene in enumerate(render_scenes(4, 9_700_000, specs=(EASY,))):
        Image.fromarray(np.asarray(scene.image)).save(tmp_path / "in" / f"scene{number}.png")
    for number in range(2):
        Image.new("RGB", (320, 320), (60 * number, 90, 30)).save(tmp_path / "in" / f"nobody{number}.png")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    with started_cluster({}):
        for output, scales in ((one, "1"), (two, "1,2")):
            given = ["--input", str(tmp_path / "in"), "--output", output, "--scales", scales]
            assert annotate(["run", *given, *NETWORK]) == 0
    runs = [RunOutput.rows_at(uri, Storage()) for uri in (one, two)]
    assert runs[0].weights_sha256 == runs[1].weights_sha256
    assert [run.settings["scales"] for run in runs] == [[1.0], [1.0, 2.0]]

    ours, theirs = persons_of(one), persons_of(two)
    sigmas = np.array(COCO.sigmas)
    alone = {
        key: len(ours[key])
        + len(theirs[key])
        - 2 * len(pair_persons(ours[key], theirs[key], sigmas, 0.5).one)
        for key in ours
    }
    differ = {key for key, count in alone.items() if count}
    assert set() < differ < set(ours)

    words = ["select", "--output", one, "--budget", "6", "--control-share", "0"]
    assert review([*words, "--against", two]) == 0
    queue = read_queue(RunOutput.at(one, Storage()))
    found = chosen_by(queue, Reason.PEOPLE_DIFFER)
    assert found[0].image_key in [key for key in differ if alone[key] == max(alone.values())]
    for entry in found:
        assert entry.value == alone[entry.image_key] > 0
        assert f"{len(ours[entry.image_key])} in this one, {len(theirs[entry.image_key])} in the other" in (
            entry.words
        )
    assert differ <= {entry.image_key for entry in queue.images}
    # Without the other run nothing of this is known.
    capsys.readouterr()
    assert review(words) == 0
    assert "two runs disagree" not in capsys.readouterr().out
