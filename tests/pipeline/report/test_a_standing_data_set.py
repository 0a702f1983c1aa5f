"""The report of a standing data set: its generations over time, and what of them drifted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.html_page import Page, parse_page
from support.standing import Standing, picture

from pipeline.report import report_run
from pipeline.storage import Storage

NIGHTS = 3


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    """Three nights: 30 images, 20 more of which one leaves, 12 more of which all are broken."""
    folder = tmp_path_factory.mktemp("standing")
    standing = Standing(Storage(), f"{folder}/in", f"{folder}/out")
    photographs = Path(standing.input)
    photographs.mkdir()
    for night, images in enumerate((30, 20, 12)):
        for number in range(images):
            seed = -1 - number if night == 2 else 100 * night + number
            (photographs / f"{night}-{number:02d}.png").write_bytes(picture(seed))
        if night == 1:
            (photographs / "0-00.png").unlink()
        standing.sync()
    return standing


def page_of(standing: Standing, folder: Path, **options: int) -> tuple[Page, str]:
    html = Path(report_run(standing.output_uri, str(folder), Storage(), **options)).read_text()
    return parse_page(html), html


def test_generations_are_shown_over_time_with_what_drifted(standing: Standing, tmp_path: Path):
    page, html = page_of(standing, tmp_path)
    rows = {row[0]: row for row in page.rows if row and row[0] in ("1", "2", "3")}
    assert [row[2:7] for row in rows.values()] == [
        ["12", "0", "0", "12", "12"],
        ["20", "0", "1", "20", "0"],
        ["30", "0", "0", "30", "0"],
    ]
    assert list(rows) == ["3", "2", "1"]
    assert "images by generation, annotated and failed: 1: 30 and 0, 2: 20 and 0, 3: 0 and 12" in html
    assert re.search(r"failed images by generation: 1: 0, 2: 0, 3: 1 \(unlike those before\)", html)
    assert html.count('class="marked"') == 1
    # All of a small data set is looked at, in however many files it lies.
    assert "spread evenly over the run" not in html


def test_an_older_generation_is_shown_without_those_after_it(standing: Standing, tmp_path: Path):
    page, html = page_of(standing, tmp_path, as_of=2)
    assert "annotated and failed: 1: 30 and 0, 2: 20 and 0" in html
    assert not any(row and row[0] == "3" for row in page.rows)
    assert "marked" not in html.partition("</style>")[2]


def test_a_run_that_no_sync_added_to_has_no_such_part(tmp_path: Path):
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    Path(standing.input).mkdir()
    Path(standing.input, "a.png").write_bytes(picture(1))
    standing.sync()
    assert "over time" not in page_of(standing, tmp_path)[0].text
