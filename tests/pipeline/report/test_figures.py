"""Figures are sound SVG and put data where they belong."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.result import PrecisionRecall
from pipeline.report.figures import Measured, histogram, interval_plot, precision_recall, reliability
from pipeline.svg import Axes, text
from posrefine.metrics.analysis.diagnosis import Calibration, CalibrationBin

shares = st.floats(0, 1, allow_nan=False)


def curves(precision: np.ndarray) -> PrecisionRecall:
    rows = tuple(tuple(row) for row in precision.tolist())
    thresholds = tuple(np.linspace(0.5, 0.95, len(rows)).tolist())
    return PrecisionRecall(
        oks_thresholds=thresholds, recalls=tuple(np.linspace(0, 1, precision.shape[1])), precision=rows
    )


def test_axes_put_the_corners_of_the_data_at_the_corners_of_the_plot():
    axes = Axes(200, 100, x=(2, 4), y=(-1, 1), left_px=20, right_px=10, top_px=5, bottom_px=15)
    assert axes.at(2, -1) == (20, 85)
    assert axes.at(4, 1) == (190, 5)
    assert axes.at(3, 0) == (105, 45)


def test_text_is_escaped():
    assert "<b>" not in text(0, 0, "<b>&")


def test_thresholds_without_persons_have_no_line_and_lines_end_where_precision_does():
    precision = np.full((3, 11), -1.0)
    precision[0] = 1.0
    precision[1] = [1.0] * 5 + [0.0] * 6
    svg = ET.fromstring(precision_recall(curves(precision)))
    lines = [line for line in svg.iter("polyline") if line.get("class") == "ramp-line"]
    assert sorted(len(line.get("points", "").split()) for line in lines) == [6, 11]


@given(
    st.lists(st.tuples(st.text(max_size=20), shares), min_size=1, max_size=6),
    st.booleans(),
)
def test_every_row_of_the_interval_plot_lies_inside_the_figure(rows: list[tuple[str, float]], interval: bool):
    measured = [
        Measured(
            title, value, max(0, value - 0.1) if interval else None, min(1, value + 0.1), ours=index == 0
        )
        for index, (title, value) in enumerate(rows)
        if all(ord(sign) >= 32 for sign in title)
    ]
    if not measured:
        return
    svg = ET.fromstring(interval_plot("AP", measured))
    width = float(svg.get("viewBox", "").split()[2])
    for mark in (*svg.iter("circle"), *svg.iter("line")):
        for name in ("cx", "x1", "x2"):
            if mark.get(name) is not None:
                assert 0 <= float(mark.get(name, "")) <= width
    assert f"{measured[0].value:.3f}" in svg.get("aria-label", "")


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 0, 2], [10**9, 1, 0]])
def test_bars_are_as_high_as_their_counts(counts: list[int]):
    svg = ET.fromstring(histogram(counts, [(0, "0"), (3, "1")], "score", "persons"))
    heights = [float(bar.get("height", "")) for bar in svg.iter("rect")]
    most = max(counts)
    assert heights == pytest.approx([168 * count / most if most else 0 for count in counts], abs=0.1)


def test_empty_bins_have_no_dot_and_full_ones_larger_dots():
    bins = [
        CalibrationBin(low=i / 10, high=(i + 1) / 10, count=n, mean_score=i / 10 + 0.05, mean_oks=0.5)
        for i, n in enumerate([0, 5, 500, 0, 0, 0, 0, 0, 0, 0])
    ]
    calibration = Calibration(expected_calibration_error=0.1, bins=tuple(bins))
    dots = list(ET.fromstring(reliability(calibration)).iter("circle"))
    assert len(dots) == 2
    assert float(dots[0].get("r", "")) < float(dots[1].get("r", ""))
