"""The report as text: every number, warning and reason is there, and nothing else can get in."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.annotated import annotated_people, image_rows, results_of, write_json
from support.html_page import Page, parse_page
from support.runs import UNTRAINED, made_up_set, metadata_of, noisy_predictions, write_run
from support.scored import ScoredPredictions, score

from pipeline.evaluation.result import Evaluation
from pipeline.output.run_output import RunOutput
from pipeline.report import report_run
from pipeline.review.select import SelectOptions, select_images
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics.analysis.published import published_rows
from posrefine.skeletons import CROWDPOSE


def evaluated(predictions: str, annotations: str, **changes: Any) -> ScoredPredictions:
    return score(predictions, annotations, **({"draws": 20} | changes))


def page_of(uri: str) -> Page:
    return parse_page(Path(uri).read_text())


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A run over twelve images, one of which failed, and its annotations."""
    folder = tmp_path_factory.mktemp("small")
    annotations = made_up_set(folder / "images")
    rows = noisy_predictions(annotations, folder / "images")
    rows[2] = replace(rows[2], status=ImageStatus.TRUNCATED, error="ends after 100 bytes", poses=None)
    return write_run(folder / "run", [rows[:6], rows[6:]]), write_json(folder / "truth.json", annotations)


@pytest.fixture(scope="module")
def small(small_run: tuple[str, str]) -> ScoredPredictions:
    return evaluated(*small_run)


@pytest.fixture(scope="module")
def evaluation(small: ScoredPredictions) -> Evaluation:
    return small.evaluation


@pytest.fixture(scope="module")
def html(small: ScoredPredictions, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = small.report(tmp_path_factory.mktemp("out"))
    assert uri.endswith("/report/index.html")
    return Path(uri).read_text()


def row_of(page: Page, name: str) -> list[str]:
    return next(row for row in page.rows if row and re.match(rf"{name}( |$)", row[0]))


def test_every_number_stands_beside_its_interval_and_the_published_ones(html: str, evaluation: Evaluation):
    page = parse_page(html)
    assert evaluation.diagnosis is not None
    for name, interval in evaluation.diagnosis.intervals.items():
        row = row_of(page, name)
        value = getattr(evaluation, name)
        assert row[1] == (f"{value:.3f}" if value >= 0 else "–")
        assert row[2] == (f"{interval.low:.3f}–{interval.high:.3f}" if value >= 0 else "–")
        for cell, published in zip(row[3:], published_rows("dekr_w32", "coco"), strict=True):
            assert cell == (f"{published.numbers[name]:.3f}" if name in published.numbers else "")


def test_published_numbers_are_never_shown_as_this_runs(html: str):
    page = parse_page(html)
    heads = next(row for row in page.rows if "this run" in row)
    assert heads == ["", "this run", "published by others for dekr_w32"]
    columns = next(row for row in page.rows if row and row[0] == "number")
    for head, published in zip(columns[3:], published_rows("dekr_w32", "coco"), strict=True):
        assert published.source in head
        assert published.split in head
        assert published.scales in head


def test_all_breakdowns_error_kinds_and_calibration_are_there(html: str, evaluation: Evaluation):
    page, diagnosis = parse_page(html), evaluation.diagnosis
    assert diagnosis is not None
    for part in (*diagnosis.by_joints, *diagnosis.by_size, *diagnosis.by_people):
        shown = f"{part.AP:.3f}" if part.AP >= 0 else "–"
        wanted = [part.name, str(part.images), str(part.persons), shown]
        assert any(row[:4] == wanted for row in page.rows), part
    for joint in diagnosis.joints:
        row = row_of(page, joint.joint.replace("_", " "))
        assert row[-1] == str(joint.labelled)
        assert row[2] == f"{100 * joint.good / joint.labelled:.1f}%"
    assert f"{diagnosis.persons.missed} missed" in page.text
    assert f"{diagnosis.calibration.expected_calibration_error:.3f}" in page.text


def test_failed_images_are_listed_with_their_reasons_and_warned_of(html: str):
    page = parse_page(html)
    assert ["000000000003.jpg", "truncated", "ends after 100 bytes"] in page.rows
    assert "Images failed: 1" in page.text
    assert page.text.index("Images failed: 1") < page.text.index("COCO AP")


def test_best_worst_and_disputed_images_are_drawn(html: str):
    page = parse_page(html)
    for title in ("Worst images", "Best images", "Test-time views disagree most"):
        assert title in page.text
    pictures = page.all("img")
    assert len(pictures) == 3 * 6
    assert all(picture.attributes["src"].startswith("data:image/jpeg;base64,") for picture in pictures)
    assert all("drawn skeleton" in picture.attributes["alt"] for picture in pictures)


def test_the_page_is_sound_html_and_refers_to_nothing_outside(html: str):
    page = parse_page(html)
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("src", "href"):
            target = element.attributes.get(name, "#")
            assert target.startswith(("#", "data:")), f"{element.tag} {name}={target[:80]}"
            assert not target.startswith("#") or target in ("#", *(f"#{i}" for i in ids))
    assert not page.all("script")
    assert "url(" not in html
    assert "@import" not in html
    assert all(svg.attributes["aria-label"] for svg in page.all("svg"))


def test_the_same_skeleton_without_known_figures_says_so(small_run: tuple[str, str], tmp_path: Path):
    uri = evaluated(*small_run, model="our_own").report(tmp_path)
    assert "No published numbers are known for our_own" in page_of(uri).text


def test_a_results_file_gives_a_page_without_images_that_says_why(small_run: tuple[str, str], tmp_path: Path):
    truth = json.loads(Path(small_run[1]).read_text())
    results = write_json(tmp_path / "results.json", results_of(truth))
    found = evaluated(results, small_run[1], other=small_run[0])
    page = page_of(found.report(tmp_path))
    assert not page.all("img")
    assert "the predictions are a results file" in page.text
    assert found.evaluation.comparison is not None
    difference = f"{found.evaluation.comparison.differences['AP'].difference:+.3f}"
    assert any(row[0] == "AP" and difference in row for row in page.rows if row)


def test_numbers_alone_make_a_page_too(small_run: tuple[str, str], tmp_path: Path):
    found = evaluated(*small_run, diagnosis=False)
    page = page_of(found.report(tmp_path))
    assert row_of(page, "AP50")[1] == f"{found.evaluation.AP50:.3f}"
    assert "95% interval" not in page.text


def test_annotations_with_nobody_to_be_found_make_a_page_of_dashes(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=3)
    rows = noisy_predictions(truth, tmp_path / "images")
    for person in truth["annotations"]:
        person["iscrowd"] = 1
    run = write_run(tmp_path / "run", [rows], metadata_of(model="unheard_of"))
    page = page_of(evaluated(run, write_json(tmp_path / "t.json", truth)).report(tmp_path))
    assert row_of(page, "AP")[1:] == ["–", "–"]


def test_crowdpose_has_its_splits_and_its_crowd_index(tmp_path: Path):
    truth = annotated_people(20, skeleton="crowdpose")
    rows = image_rows(truth, results_of(truth))
    run = write_run(tmp_path / "run", [rows], metadata_of(CROWDPOSE))
    found = evaluated(run, write_json(tmp_path / "truth.json", truth), protocol="crowdpose")
    page = page_of(found.report(tmp_path, gallery_images=0))
    for name in ("AP_easy", "AP_medium", "AP_hard"):
        assert row_of(page, name)[1] == f"{getattr(found.evaluation, name):.3f}"
    assert "By crowd index" in page.text
    assert "No images were asked for" in page.text
    assert any(row[:1] == ["0.8+"] for row in page.rows)


def test_images_that_are_gone_are_notes_and_the_rest_is_whole(tmp_path: Path):
    truth = made_up_set(tmp_path / "images")
    rows = noisy_predictions(truth, tmp_path / "images")
    for image in truth["images"][:8]:
        (tmp_path / "images" / image["file_name"]).unlink()
    rows[9] = replace(rows[9], sha256="0" * 64)
    run = write_run(tmp_path / "run", [rows])
    page = page_of(report_run(run, str(tmp_path), Storage(), gallery_images=12))
    assert "The image is not there any more" in page.text
    assert "has changed since it was annotated" in page.text
    assert page.all("img")


def test_a_run_without_ground_truth_shows_counts_scores_and_images(
    small_run: tuple[str, str], tmp_path: Path
):
    page = page_of(report_run(small_run[0], str(tmp_path), Storage()))
    assert ["ok", "11", "91.67%"] in page.rows
    assert ["truncated", "1", "8.33%"] in page.rows
    for title in ("Drawn at random", "Least sure", "Test-time views disagree most"):
        assert title in page.text
    assert "The run is not complete" in page.text
    assert "AP" not in {row[0] for row in page.rows if row}


def test_the_last_queue_for_review_is_shown_with_the_reason_of_each_image(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=30)
    for image in truth["images"]:
        with (tmp_path / "images" / image["file_name"]).open("ab") as file:
            file.write(image["file_name"].encode())  # or they would all be one image
    rows = [
        replace(row, sha256=hashlib.sha256(Path(row.uri).read_bytes()).hexdigest())
        for row in noisy_predictions(truth, tmp_path / "images")
    ]
    run = write_run(tmp_path / "run", [rows[:20], rows[20:]])
    assert "Queue for review" not in page_of(report_run(run, str(tmp_path / "before"), Storage())).text
    queue, _ = select_images(RunOutput.at(run, Storage()), SelectOptions(12, control_share=0.25))
    found = evaluated(run, write_json(tmp_path / "truth.json", truth))
    for uri in (
        report_run(run, str(tmp_path / "a"), Storage(), gallery_images=12),
        found.report(tmp_path / "b", gallery_images=12),
    ):
        page = page_of(uri)
        assert "12 images that people should look at, chosen out of 30" in page.text
        assert "3 of them were drawn at random from 30" in page.text
        for image in queue.images:
            mark = " (control)" if image.is_control else ""
            assert [str(image.rank + 1), image.image_key, image.words + mark] in page.rows
        pictures = [image.attributes["alt"] for image in page.all("img")]
        assert all(any(image.words in text for text in pictures) for image in queue.images)


def test_an_untrained_networks_page_says_first_that_its_poses_mean_nothing(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=3)
    run = write_run(
        tmp_path / "run", [noisy_predictions(truth, tmp_path / "images")], metadata_of(note=UNTRAINED)
    )
    found = evaluated(run, write_json(tmp_path / "truth.json", truth))
    for uri in (
        report_run(run, str(tmp_path / "a"), Storage()),
        found.report(tmp_path / "b"),
    ):
        text = page_of(uri).text
        assert text.index("The poses of this run mean nothing") < text.index("Network and settings")


def test_what_the_weights_know_is_said_without_taking_their_numbers_away(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=3)
    note = "learnt from rendered people alone"
    run = write_run(tmp_path / "run", [noisy_predictions(truth, tmp_path / "images")], metadata_of(note=note))
    found = evaluated(run, write_json(tmp_path / "truth.json", truth))
    text = page_of(found.report(tmp_path / "report")).text
    assert text.count("Learnt from rendered people alone.") == 1
    assert "mean nothing" not in text


def test_a_leak_is_warned_of_and_the_clean_numbers_stand_beside(small_run: tuple[str, str], tmp_path: Path):
    overlap = write_json(tmp_path / "train.json", [1, 2])
    found = evaluated(*small_run, train_overlap=overlap)
    assert found.evaluation.numbers_without_train_overlap is not None
    page = page_of(found.report(tmp_path))
    assert "Train overlap: 2" in page.text
    assert row_of(page, "AP")[3] == f"{found.evaluation.numbers_without_train_overlap.AP:.3f}"


def test_names_and_reasons_cannot_bring_their_own_markup(tmp_path: Path):
    truth = made_up_set(tmp_path / "images", images=4)
    rows = noisy_predictions(truth, tmp_path / "images")
    hostile = '"><script>alert(1)</script><img src=http://example.com/x onerror=1>'
    rows[0] = replace(rows[0], image_key=hostile, status=ImageStatus.CORRUPT, error=hostile, poses=None)
    rows[1] = replace(rows[1], image_key=hostile + "2")
    uri = report_run(write_run(tmp_path / "run", [rows]), str(tmp_path), Storage())
    page = page_of(uri)
    assert hostile in page.text
    assert not page.all("script")
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))


def test_a_missing_template_engine_is_named_with_the_command_that_installs_it(
    small_run: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install jinja2")):
        report_run(small_run[0], str(tmp_path), Storage())
