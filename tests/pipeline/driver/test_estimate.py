"""What a run would take: hours and cost of what is known, and no number of what nobody counted."""

from __future__ import annotations

from pathlib import Path

from support.images import encode, gradient
from support.shards import make_tar

from pipeline.driver.estimate import estimate_run
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage

PHOTO = encode(gradient(64, 48))


def estimated(given: Path) -> str:
    settings = RunSettings(input=str(given), output=f"{given}-out", model="dekr_w32", weights="untrained")
    return "\n".join(estimate_run(settings, Storage()).lines(0.001, 3.0))


def test_tars_alone_cost_what_nobody_knows_and_not_nothing(tmp_path: Path):
    (tmp_path / "shard.tar").write_bytes(make_tar({"a.png": PHOTO, "b.png": PHOTO}))
    said = estimated(tmp_path)
    assert "images    0, and those of 1 tar units" in said
    assert "time      unknown: nobody counted the images in the tars yet" in said
    assert "cost" not in said


def test_beside_photographs_of_a_folder_time_and_cost_are_said_to_be_of_these(tmp_path: Path):
    (tmp_path / "shard.tar").write_bytes(make_tar({"a.png": PHOTO}))
    (tmp_path / "b.png").write_bytes(PHOTO)
    said = estimated(tmp_path)
    assert "time      0.28 device hours for the images known" in said
    assert "cost      0.83 for the images known, at 3 an hour" in said
