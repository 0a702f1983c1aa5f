"""Two outputs of the same images: what both have is measured, what one alone has is counted and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.annotated import annotated_people, image_rows, results_of, write_tables, write_units
from support.html_page import parse_page
from support.rows import some_poses

from jobs.evaluate import main
from pipeline.evaluation.compare_outputs import ComparedOutputs, compare_outputs
from pipeline.output.schema import ImageResult
from pipeline.report import report_agreement
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics.analysis.ratio import Ratio
from posrefine.metrics.oks_rules import OKS_RULES
from posrefine.metrics.pairing import pair_persons
from posrefine.poses import Poses
from posrefine.skeletons import COCO, CROWDPOSE

SIGMAS = OKS_RULES["coco"].sigmas
PEOPLE = annotated_people(30, seed=1)


def rows_of(noise_px: float, seed: int, miss: float = 0.0) -> list[ImageResult]:
    """Each image with bytes of its own; every score counts."""
    results = results_of(PEOPLE, noise_px=noise_px, seed=seed, miss=miss)
    rows = image_rows(PEOPLE, [entry | {"score": 0.5 + entry["score"] / 2} for entry in results])
    return [row.__class__(**vars(row) | {"sha256": f"{number:064x}"}) for number, row in enumerate(rows)]


def changed(row: ImageResult, **changes: object) -> ImageResult:
    return row.__class__(**vars(row) | changes)


def compare(folder: Path, one: list[ImageResult], other: list[ImageResult]) -> ComparedOutputs:
    """The other one in another order, as tables."""
    write_units(folder / "a", [one[:20], one[20:]], skeleton=COCO)
    write_tables(folder / "b", [other[::-1]], skeleton=COCO)
    return compare_outputs(str(folder / "a"), str(folder / "b"), Storage())


def test_an_output_agrees_with_itself_to_the_last_bit(tmp_path: Path):
    rows = rows_of(0, 0)
    found = compare(tmp_path, rows, rows)
    agreement = found.agreement
    persons = len(PEOPLE["annotations"])
    assert (agreement.images, agreement.persons_a, agreement.pairs) == (30, persons, persons)
    assert agreement.identical == persons
    assert agreement.oks.value == agreement.found_of_a.value == agreement.found_of_b.value == 1
    # Thirty images that agree do not prove that all do.
    assert 0.8 < agreement.found_of_a.low < 0.95  # type: ignore[operator]
    assert not found.disputed


def test_images_are_the_same_by_key_and_bytes_and_what_is_left_out_is_counted(tmp_path: Path):
    one = rows_of(0, 0)
    other = [*one]
    other[0] = changed(one[0], sha256="f" * 64)
    other[1] = changed(one[1], image_key="renamed.jpg")
    other[2] = changed(one[2], status=ImageStatus.CORRUPT, poses=None, error="cut")
    one[3] = changed(one[3], status=ImageStatus.TIMEOUT, poses=None, error="slow", sha256=None)
    one[4] = other[4] = changed(one[4], status=ImageStatus.MISSING, poses=None, sha256=None)
    other[5] = changed(one[5], width=480, height=640)
    del other[6]
    agreement = compare(tmp_path, one, other).agreement
    assert (agreement.only_a, agreement.only_b, agreement.other_bytes) == (2, 1, 1)
    assert (agreement.failed_a, agreement.failed_b, agreement.failed_both) == (1, 1, 1)
    assert (agreement.other_frame, agreement.images) == (1, 23)


def test_persons_that_one_alone_has_and_the_image_with_most_of_them_come_first(tmp_path: Path):
    one, other = rows_of(0, 0), rows_of(0, 0)
    crowded = max(range(30), key=lambda number: len(one[number].poses or ()))
    persons = len(one[crowded].poses or ())
    other[crowded] = changed(other[crowded], poses=Poses.none(17))
    found = compare(tmp_path, one, other)
    agreement = found.agreement
    assert agreement.persons_a - agreement.persons_b == persons
    assert agreement.found_of_b.value == 1
    assert agreement.found_of_a.value == pytest.approx(1 - persons / agreement.persons_a)
    (disputed,) = found.disputed
    assert (disputed.image.image_key, disputed.only_a) == (one[crowded].image_key, persons)


def test_a_joint_that_moved_is_the_one_that_is_named(tmp_path: Path):
    one, other = rows_of(0, 0), rows_of(0, 0)
    for number, row in enumerate(other):
        assert row.poses is not None
        keypoints = row.poses.keypoints.copy()
        keypoints[:, COCO.joints.index("left_wrist")] += 15
        other[number] = changed(row, poses=Poses(keypoints, *list(vars(row.poses).values())[1:]))
    joints = compare(tmp_path, one, other).agreement.joints
    assert joints.pop("left_wrist").value < 0.8  # type: ignore[operator]
    # The box of the person, and with it the scale, may have moved as well.
    assert all(estimate.value == 1 for estimate in joints.values())


def test_persons_below_the_least_score_are_nobody(tmp_path: Path):
    one = rows_of(0, 0)
    doubtful = [changed(row, poses=Poses(
        row.poses.keypoints, row.poses.keypoint_scores, row.poses.scores * 0.1, row.poses.spread_px
    )) for row in one if row.poses is not None]  # fmt: skip
    agreement = compare(tmp_path, one, doubtful).agreement
    assert (agreement.persons_b, agreement.pairs) == (0, 0)
    assert agreement.found_of_b.value is None


def test_outputs_of_other_joints_are_refused_by_name(tmp_path: Path):
    crowd = annotated_people(2, skeleton="crowdpose")
    write_units(tmp_path / "a", [rows_of(0, 0)], skeleton=COCO)
    write_units(tmp_path / "b", [image_rows(crowd, results_of(crowd))], skeleton=CROWDPOSE)
    with pytest.raises(ConfigurationError, match=r"joints of coco.*those of crowdpose"):
        compare_outputs(str(tmp_path / "a"), str(tmp_path / "b"), Storage())


def test_an_output_whose_units_hold_no_image_is_refused_by_name(tmp_path: Path):
    # A tar without any is such a unit.
    write_units(tmp_path / "some", [rows_of(0.0, 1)], skeleton=COCO)
    write_units(tmp_path / "none", [[]], skeleton=COCO)
    with pytest.raises(ConfigurationError, match="none: holds no image"):
        compare_outputs(str(tmp_path / "some"), str(tmp_path / "none"), Storage())


def test_the_command_writes_numbers_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_units(tmp_path / "a", [rows_of(1, 1)], skeleton=COCO)
    write_units(tmp_path / "b", [rows_of(4, 2, miss=0.2)], skeleton=COCO, exif="ignore")
    places = ["--a", f"{tmp_path}/a", "--b", f"{tmp_path}/b", "--output", f"{tmp_path}/out", "--report"]
    assert main(["agree", *places]) == 0
    said = capsys.readouterr().out
    numbers = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert "differ    exif: 'apply' and 'ignore'" in said
    assert f"{numbers['oks']['value']:.3f} ({numbers['oks']['low']:.3f} to" in said
    page = parse_page((tmp_path / "out" / "report" / "index.html").read_text())
    assert f"{numbers['pairs']:,}" in page.text
    assert "that only a has" in page.text
    assert [row[0] for row in page.rows if row[0].startswith("left ankle")] == ["left ankle"]


def test_pictures_show_both_and_a_missing_image_is_a_note(tmp_path: Path):
    one, other = rows_of(0, 0), rows_of(3, 5)
    found = compare(tmp_path, one, other)
    html = Path(report_agreement(found, f"{tmp_path}/out")).read_text()
    assert html.count('class="absent"') == len(found.disputed) > 0


@given(persons=st.lists(st.integers(0, 999), max_size=5, unique=True), seed=st.integers(0, 99))
def test_pairs_do_not_depend_on_who_comes_first_nor_on_the_order_of_persons(persons: list[int], seed: int):
    chance = np.random.default_rng(seed)
    one = np.concatenate([np.zeros((0, 17, 2)), *(some_poses(1, number).keypoints for number in persons)])
    other = chance.permutation(one + chance.normal(0, 4, one.shape)) if len(one) else one
    there, back = pair_persons(one, other, SIGMAS, 0.5), pair_persons(other, one, SIGMAS, 0.5)
    pairs = sorted(zip(there.one.tolist(), there.other.tolist(), strict=True))
    assert pairs == sorted(zip(back.other.tolist(), back.one.tolist(), strict=True))
    assert sorted(there.oks) == pytest.approx(sorted(back.oks))
    assert len({pair[0] for pair in pairs}) == len(pairs) == len(persons)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.5, 0.98), alike=st.booleans())
def test_intervals_hold_the_truth_as_often_as_they_say(seed: int, share: float, alike: bool):
    chance, hits = np.random.default_rng(seed), 0
    for _ in range(100):
        persons = chance.integers(1, 6, 150).astype(float)
        # Either every person has luck of its own, or those of an image share theirs.
        found = (
            persons * (chance.random(150) < share) if alike else chance.binomial(persons.astype(int), share)
        )
        half = Ratio.of(found[:70].astype(float), persons[:70])
        estimate = (half + Ratio.of(found[70:].astype(float), persons[70:])).estimate()
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= share <= estimate.high
    assert hits >= 85
