"""The report as a reader meets it: in a real browser, on a desk and on a phone, by day and by night."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.annotated import write_json
from support.browser import Site, read_dom, serving_pages, take_picture
from support.runs import made_up_set, noisy_predictions, write_run
from support.scored import score
from support.shared import shared_path

_PROBE = b"""<!doctype html><iframe src="/index.html" style="width:375px;height:4000px;border:0"></iframe>
<p id="width">?</p><p id="hint">?</p><script>
document.querySelector("iframe").onload = event => {
  const shown = event.target.contentWindow, table = shown.document.querySelector(".scroll");
  document.getElementById("hint").textContent = shown.getComputedStyle(table, "::before").content;
  document.getElementById("width").textContent = event.target.contentDocument.documentElement.scrollWidth;
};
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    annotations = made_up_set(folder / "images")
    run = write_run(folder / "run", [noisy_predictions(annotations, folder / "images")])
    found = score(run, write_json(folder / "truth.json", annotations), draws=20)
    uri = found.report(folder, gallery_images=3)
    with serving_pages({"/index.html": Path(uri).read_bytes(), "/probe.html": _PROBE}) as site:
        yield site


def test_the_browser_shows_the_page_and_asks_for_nothing_else(site: Site):
    site.asked.clear()
    dom = read_dom(site, "/index.html")
    assert site.asked == ["/index.html"]
    assert "COCO AP, this run" in dom
    assert len(re.findall("<figure", dom)) == 9
    assert len(re.findall("<svg", dom)) == 5


def test_nothing_sticks_out_of_a_phone(site: Site):
    width = re.search(r'<p id="width">(\d+)</p>', read_dom(site, "/probe.html"))
    assert width is not None
    assert int(width[1]) <= 375


def test_on_a_phone_wide_tables_say_that_they_scroll(site: Site):
    assert "Scroll sideways for more" in read_dom(site, "/probe.html")


def test_the_page_follows_the_readers_light_or_dark(site: Site, tmp_path: Path):
    light = take_picture(site, "/index.html", tmp_path, width_px=1280, height_px=900)
    dark = take_picture(site, "/index.html", tmp_path, width_px=1280, height_px=900, dark=True)
    assert light.shape == dark.shape == (900, 1280, 3)
    assert np.median(light) > 200
    assert np.median(dark) < 60
    # Text and marks, not a blank page.
    assert light.std() > 15
    assert dark.std() > 15


def test_photographs_with_their_skeletons_are_on_the_page(tmp_path: Path):
    truth = shared_path("data", "coco67")
    annotations = json.loads((truth / "person_keypoints.json").read_text())
    run = write_run(tmp_path / "run", [noisy_predictions(annotations, truth / "images", noise=0.06)])
    found = score(run, truth / "person_keypoints.json", draws=20)
    uri = found.report(tmp_path)
    with serving_pages({"/index.html": Path(uri).read_bytes()}) as site:
        dom = read_dom(site, "/index.html")
    assert f"{found.evaluation.AP:.3f}" in dom
    assert dom.count("data:image/jpeg;base64,") == 18
    assert "Lowest mean OKS" in dom
