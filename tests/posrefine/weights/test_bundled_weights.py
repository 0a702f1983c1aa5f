"""The weights that come with the package need no network, are small, and as good as is said of them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from torch import nn
from weights_table import PAGE, with_figures

from posrefine import build_model, load_weights
from posrefine.build import VARIANTS
from posrefine.modeling.score_net import ScoreNet
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import COCO
from posrefine.test_protocols import TEST_PROTOCOLS
from posrefine.training.validation import ValidationSet
from posrefine.weights import ZOO, ZooEntry
from posrefine.weights.download import cache_directory

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "posrefine" / "weights" / "bundled"
LARGEST_BYTES = 12_000_000
FIRST_HELD_OUT_SEED = 8_000_000

SCORE_NET = "score_net"
ENTRIES = [entry for entry in ZOO.values() if entry.bundled]


def network_of(entry: ZooEntry) -> nn.Module:
    return ScoreNet(COCO) if entry.variant == SCORE_NET else build_model(entry.variant)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_bundled_weights_load_by_name_with_an_empty_cache(
    entry: ZooEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POSREFINE_CACHE", str(tmp_path / "cache"))
    info = load_weights(network_of(entry), entry.name)
    assert not cache_directory().exists()
    assert info.sha256.startswith(entry.sha256_prefix)
    assert (info.licence, info.skeleton, info.protocol) == (entry.licence, entry.skeleton, entry.protocol)
    assert info.not_in_file == info.not_used == ()
    assert "rendered people" in str(info.note)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_bundled_weights_are_small_and_have_a_card_with_their_digest_and_command(entry: ZooEntry):
    data = (BUNDLED / entry.file_name).read_bytes()
    assert len(data) <= LARGEST_BYTES
    card = (BUNDLED / entry.file_name).with_suffix(".md").read_text()
    script = "train_score.py" if entry.variant == SCORE_NET else "train.py"
    for words in (hashlib.sha256(data).hexdigest(), f"python jobs/{script} ", "rendered people"):
        assert words in card


def test_rescoring_puts_the_persons_of_held_out_scenes_into_a_better_order():
    stored = json.loads((ROOT / "benchmarks" / "results" / "held_out.json").read_text())
    assert stored["score_weights"] == "posrefine:tiny_coco_score"
    for test in ("flip test", "flip and multi-scale test"):
        plain, rescored = (stored["metrics"][name] for name in (test, f"{test}, rescored"))
        assert rescored["AP"] > plain["AP"]
        # Nobody is lost by it; pose NMS at several scales goes by the scores, and keeps better poses.
        assert rescored["AR50"] > plain["AR50"] - 0.01


def test_the_figure_of_the_zoo_is_the_stored_one_of_photographs_and_high_enough_to_find_people():
    entry = ZOO["posrefine:tiny_coco"]
    stored = json.loads((ROOT / "benchmarks" / "results" / "on_photographs.json").read_text())
    assert (stored["weights"], stored["score_weights"]) == (entry.name, entry.score_weights)
    assert entry.scales == tuple(float(scale) for scale in stored["scales"].split(","))
    assert entry.published_on == f"{stored['photographs']} photographs"
    assert entry.published_ap == pytest.approx(100 * stored["metrics"]["AP"], abs=0.05)
    assert stored["metrics"]["AP"] >= 0.18
    assert stored["metrics"]["AP50"] >= 0.42


def test_of_rendered_scenes_it_still_finds_the_people():
    stored = json.loads((ROOT / "benchmarks" / "results" / "held_out.json").read_text())
    assert (stored["weights"], stored["first_seed"]) == ("posrefine:tiny_coco", FIRST_HELD_OUT_SEED)
    assert stored["metrics"]["flip and multi-scale test, rescored"]["AP"] >= 0.5


def test_scores_mean_alike_in_photographs_and_scenes():
    """The floor is the one that was chosen, and predicted OKS is close to what is reached."""
    stored = json.loads((ROOT / "benchmarks" / "results" / "score_floor.json").read_text())
    assert (stored["weights"], stored["chosen"]) == ("posrefine:tiny_coco", SCORE_FLOOR)
    for ways in stored["reliability"].values():
        for found in ways.values():
            assert found["expected_calibration_error"] < 0.05


def test_the_figures_of_the_page_are_those_that_are_stored():
    assert with_figures(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/weights.md"])
def test_pages_quote_the_ap_of_the_zoo(page: str):
    figure = ZOO["posrefine:tiny_coco"].published_ap
    assert figure is not None
    assert {f"{figure / 100:.3f}", f"{figure:.1f}"} & set(re.findall(r"\d+\.\d+", (ROOT / page).read_text()))


@pytest.mark.slow
def test_bundled_weights_find_people_on_scenes_that_they_have_not_met():
    entry = ZOO["posrefine:tiny_coco"]
    stored = json.loads((ROOT / "benchmarks" / "results" / "held_out.json").read_text())
    model = build_model(entry.variant)
    load_weights(model, entry.name)
    scenes = ValidationSet.rendered(60, FIRST_HELD_OUT_SEED, COCO)
    protocol = TEST_PROTOCOLS[entry.protocol]
    found = scenes.metrics(model.eval(), VARIANTS[entry.variant].input_size, flip=True, protocol=protocol)
    assert 0.75 * stored["metrics"]["flip test"]["AP"] < found.AP
