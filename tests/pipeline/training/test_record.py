"""What is recorded of a training when it begins, and what of it may be another one when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings.sources import load_settings
from pipeline.settings.training import MAY_CHANGE, TrainSettings
from pipeline.storage import Storage
from pipeline.training.record import begin_or_resume, require_same_settings
from posrefine.errors import ConfigurationError, FingerprintMismatch

CONTENTS = {"images_of_sources": [4, 10], "annotations_sha256": ["ab"], "weights_sha256": None}


def settings(output: Path, **changes: object) -> TrainSettings:
    given = {"images": "photographs", "annotations": "a.json", "synthetic": 10, "val_share": 0.1}
    return load_settings(TrainSettings, {"output": str(output), **given, **changes})


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    begin_or_resume(settings(tmp_path), CONTENTS, Storage())
    return tmp_path


def test_the_record_is_plain_data_beside_the_output_and_stays_as_it_was(begun: Path):
    before = (begun / "training.json").read_bytes()
    record = json.loads(before)
    assert record["settings"]["images"] == [str(Path("photographs").absolute())]
    assert record["settings"]["learning_rate"] == 1e-3
    assert record["contents"] == CONTENTS
    begin_or_resume(settings(begun), CONTENTS, Storage())
    assert (begun / "training.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.5}, "learning_rate: 0.001 there, 0.5 now"),
        ({"images": "others"}, "images: "),
        ({"image_shares": 0.4, "synthetic_shares": 0.6}, "image_shares: [] there, [0.4] now"),
        ({"synthetic_seed": 3}, "synthetic_seed: 10000000 there, 3 now"),
        ({"max_rotation_deg": 10}, "max_rotation_deg: 30.0 there, 10.0 now"),
        ({"colour": 0.5}, "colour: 0.0 there, 0.5 now"),
        ({"paste": 0.5}, "paste: 0.0 there, 0.5 now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"val_share": 0.2}, "val_share: 0.1 there, 0.2 now"),
        ({"skeleton": "crowdpose"}, "skeleton: 'coco' there, 'crowdpose' now"),
    ],
)
def test_whatever_else_would_decide_the_weights_is_refused_by_its_name(
    begun: Path, changes: dict[str, Any], words: str
):
    other = settings(begun, **changes)
    for refuse in (require_same_settings, lambda s, storage: begin_or_resume(s, CONTENTS, storage)):
        with pytest.raises(FingerprintMismatch) as refusal:
            refuse(other, Storage())
        assert words in str(refusal.value)
        assert "choose another --output" in str(refusal.value)


def test_where_and_how_it_computes_may_be_another_place_and_so_may_what_is_said_of_the_end(begun: Path):
    changes: dict[str, object] = {
        "config": None,
        "scene_cache": "scenes",
        "workers": 3,
        "device": "cpu",
        "worker_cpus": 0.5,
        "max_failures": 9,
        "checkpoint_steps": 7,
        "log_steps": 3,
        "publish": "best",
        "stored_as": "float16",
        "licence": "CC0-1.0",
        "note": "words",
    }
    assert changes.keys() | {"output"} == MAY_CHANGE
    changes.pop("config")
    begin_or_resume(settings(begun, **changes), CONTENTS, Storage())


def test_a_file_is_the_same_wherever_it_lies_and_another_one_when_it_holds_something_else(begun: Path):
    moved = settings(begun, annotations="elsewhere/a.json")
    begin_or_resume(moved, CONTENTS, Storage())
    with pytest.raises(FingerprintMismatch, match=r"annotations_sha256: \['ab'\] there, \['cd'\] now"):
        begin_or_resume(moved, CONTENTS | {"annotations_sha256": ["cd"]}, Storage())


def test_what_is_no_record_is_refused_with_its_place(tmp_path: Path):
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"training\.json: no training record of this version"):
        require_same_settings(settings(tmp_path), Storage())
