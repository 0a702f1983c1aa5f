"""A run, its tables and its results file are evaluated alike, whatever is odd about them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from support.annotated import (
    annotated_people,
    image_rows,
    results_of,
    write_json,
    write_tables,
    write_units,
)
from support.coco_reference import pycocotools_numbers
from support.runs import UNTRAINED, made_up_set, noisy_predictions, write_run
from support.s3 import S3Server
from support.scored import evaluated, in_units, numbers, score, warnings

from pipeline.evaluation.result import CocoEvaluation, CrowdPoseEvaluation, decode_evaluation
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ShardError
from posrefine.metrics import CocoMetrics
from posrefine.skeletons import COCO, CROWDPOSE


def test_unit_files_tables_and_results_file_all_give_pycocotools_numbers(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    units = in_units(image_rows(annotations, results))
    write_units(tmp_path / "run", units, skeleton=COCO)
    write_tables(tmp_path / "finished", units, skeleton=COCO)
    file = write_json(tmp_path / "results.json", results)

    expected = pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)
    for predictions in (tmp_path / "run", tmp_path / "finished", file):
        found = evaluated(tmp_path, annotations, predictions)
        assert numbers(found) == expected
        assert found.warnings == ()
        assert (found.images, found.detections) == (40, len(results))


def test_tasks_on_ray_give_the_same_evaluation_as_this_process(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    write_units(tmp_path / "run", in_units(image_rows(annotations, results), 1), skeleton=COCO)
    write_units(tmp_path / "crowd", [image_rows(annotations, [])], skeleton=CROWDPOSE)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        alone, together = (
            evaluated(
                tmp_path, annotations, tmp_path / "run", diagnosis=True, draws=20, distributed=distributed
            )
            for distributed in (False, True)
        )
        with pytest.raises(ConfigurationError, match="skeleton is crowdpose"):
            evaluated(tmp_path, annotations, tmp_path / "crowd", distributed=True)
    finally:
        ray.shutdown()

    timing = {"seconds", "evaluated_at"}
    assert together.model_dump(exclude=timing) == alone.model_dump(exclude=timing)


def test_predictions_and_annotations_are_read_from_s3(
    tmp_path: Path,
    annotations: dict[str, Any],
    results: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_units(tmp_path / "run", in_units(image_rows(annotations, results)), skeleton=COCO)
    write_json(tmp_path / "annotations.json", annotations)
    with S3Server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        root, storage = f"s3://{server.make_bucket().name}", Storage()
        for path in [tmp_path / "annotations.json", *(tmp_path / "run").rglob("*.parquet")]:
            storage.put(f"{root}/{path.relative_to(tmp_path)}", path.read_bytes())
        found = score(f"{root}/run", f"{root}/annotations.json", diagnosis=False).evaluation

    assert numbers(found) == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)


@pytest.mark.parametrize(
    ("note", "code"),
    [(UNTRAINED, "poses_mean_nothing"), ("learnt from rendered people alone", "weights_have_a_note")],
)
def test_what_must_be_known_about_the_weights_stands_beside_the_numbers(
    tmp_path: Path, annotations: dict[str, Any], note: str, code: str
) -> None:
    rows = image_rows(annotations, [])
    write_units(tmp_path / "run", [rows], skeleton=COCO, note=note)

    (finding,) = evaluated(tmp_path, annotations, tmp_path / "run").warnings
    assert finding.code == code
    assert note in str(finding)


def test_a_person_at_infinity_is_left_out(tmp_path: Path, annotations: dict[str, Any]) -> None:
    rows = image_rows(annotations, results_of(annotations)[:1])
    row = next(index for index, row in enumerate(rows) if len(row.poses))
    rows[row].poses.keypoints[0, 3, 0] = np.inf
    write_units(tmp_path / "run", [rows], skeleton=COCO)

    found = evaluated(tmp_path, annotations, tmp_path / "run")

    assert (warnings(found), found.detections) == ({"predictions_not_finite": 1}, 0)


def test_no_detections_at_all_score_zero(tmp_path: Path, annotations: dict[str, Any]) -> None:
    found = evaluated(
        tmp_path, annotations, write_json(tmp_path / "results.json", []), diagnosis=True, draws=5
    )

    assert numbers(found)[0] == numbers(found)[5] == 0.0
    assert found.images_without_detections == 40


def test_tables_whose_files_do_not_belong_together_are_refused(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    write_tables(tmp_path / "run", in_units(image_rows(annotations, results)), skeleton=COCO)
    persons = sorted((tmp_path / "run" / "tables" / "persons").iterdir())
    persons[0].write_bytes(persons[1].read_bytes())

    with pytest.raises(ShardError, match="part-g0001-00000"):
        evaluated(tmp_path, annotations, tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, annotations: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="no units"):
        evaluated(tmp_path, annotations, tmp_path / "nothing")


def test_crowdpose_runs_get_the_nine_numbers_and_coco_annotations_are_refused_for_them(
    tmp_path: Path,
) -> None:
    annotations = annotated_people(30, skeleton="crowdpose")
    write_units(tmp_path / "run", [image_rows(annotations, results_of(annotations))], skeleton=CROWDPOSE)

    found = evaluated(tmp_path, annotations, tmp_path / "run", protocol="crowdpose")

    assert isinstance(found, CrowdPoseEvaluation)
    assert {row.numbers["AP"] for row in found.published} == {0.657, 0.670}
    with pytest.raises(ConfigurationError, match="joints"):
        evaluated(tmp_path, annotated_people(5), tmp_path / "run", protocol="crowdpose")


def test_images_of_the_training_set_are_named_and_the_numbers_without_them_given(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    file = write_json(tmp_path / "results.json", results)
    training = annotated_people(20, seed=7)
    persons = [person for person in annotations["annotations"] if person["image_id"] <= 10]
    training["annotations"] += persons
    shared = {person["image_id"] for person in persons}
    by_persons = write_json(tmp_path / "train.json", training)
    by_ids = write_json(tmp_path / "ids.json", [*sorted(shared), 10**9])
    by_keys = write_json(tmp_path / "keys.json", {str(image_id): {"split": "train"} for image_id in shared})

    kept = {**annotations, "images": [i for i in annotations["images"] if i["id"] not in shared]}
    kept["annotations"] = [p for p in annotations["annotations"] if p["image_id"] not in shared]
    left = [entry for entry in results if entry["image_id"] not in shared]
    for overlap in (by_persons, by_ids, by_keys):
        found = evaluated(tmp_path, annotations, file, train_overlap=overlap)
        assert warnings(found) == {"train_overlap": len(shared)}
        clean = found.numbers_without_train_overlap
        assert clean is not None
        assert list(clean.model_dump().values()) == pytest.approx(pycocotools_numbers(kept, left), abs=1e-12)


def test_metrics_json_has_the_numbers_at_its_top_and_comes_back_as_it_was(
    tmp_path: Path, annotations: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    one = write_json(tmp_path / "one.json", results)
    other = write_json(tmp_path / "other.json", results_of(annotations, noise_px=12.0))

    found = evaluated(tmp_path, annotations, one, diagnosis=True, draws=20, other=other)
    back = decode_evaluation(found.encode())

    assert isinstance(back, CocoEvaluation)
    assert back == found
    assert list(found.model_dump())[:10] == list(CocoMetrics.model_fields)
    assert found.comparison is not None
    assert found.comparison.differences["AP"].difference > 0


class CountingStorage(Storage):
    """Tells which objects were read, and listings made."""

    def __init__(self, reads: Counter[str]) -> None:
        super().__init__()
        self.__dict__["reads"] = reads

    def read_bytes(self, uri: str, etag: str | None = None) -> bytes:
        self.reads[uri] += 1
        return super().read_bytes(uri, etag)

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        self.reads[f"{uri} from {start}"] += 1
        return super().read_range(uri, start, end, etag)


@pytest.mark.parametrize("as_tables", [False, True])
def test_every_file_is_read_once_whatever_is_asked_for(tmp_path: Path, as_tables: bool) -> None:
    truth = made_up_set(tmp_path / "images", images=40)
    rows = noisy_predictions(truth, tmp_path / "images")
    run = write_run(tmp_path / "run", in_units(rows, 2), as_tables=as_tables)
    annotations = write_json(tmp_path / "truth.json", truth)
    reads: Counter[str] = Counter()
    storage = CountingStorage(reads)

    found = score(run, annotations, storage=storage, results=tmp_path / "results.json", draws=5)
    found.report(tmp_path / "out")

    stored = {str(path) for path in (tmp_path / "run").rglob("*.parquet")}
    assert {uri for uri in reads if uri.startswith(run) and uri.endswith(".parquet")} == stored
    assert len(stored) == (40 if as_tables else 20)
    own = {uri: count for uri, count in reads.items() if not uri.startswith(str(tmp_path / "images"))}
    assert f"{run}/tables/_SUCCESS.json" in own
    assert {uri for uri, count in own.items() if count > 1} == set()
    assert [uri for uri in reads if "truth.json" in uri] == [f"{annotations} from 0"]
    assert len(json.loads((tmp_path / "results.json").read_text())) == found.evaluation.detections
