"""The figures of the report, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.result import PrecisionRecall
from pipeline.svg import Axes, figure, polyline, text
from posrefine.metrics.analysis.diagnosis import Calibration

__all__ = ["Measured", "histogram", "interval_plot", "precision_recall", "reliability"]

_FIFTHS = [(value / 5, f"{value / 5:.1f}") for value in range(6)]


def precision_recall(curves: PrecisionRecall) -> str:
    """Precision over recall, one line an OKS threshold; thresholds without persons have none."""
    axes = Axes(460, 340)
    body = axes.grid(_FIFTHS, _FIFTHS, "recall", "precision")
    shown = [row for row in curves.precision if row[0] >= 0]
    for index, row in reversed(list(enumerate(curves.precision))):
        if row[0] >= 0:
            end = next((place for place, value in enumerate(row) if value == 0), len(row) - 1)
            points = [axes.at(r, p) for r, p in zip(curves.recalls[: end + 1], row, strict=False)]
            body.append(polyline(points, "ramp-line", f"--i:{index}"))
    label = (
        f"Precision over recall for {len(shown)} OKS thresholds from {curves.oks_thresholds[0]:.2f} "
        f"to {curves.oks_thresholds[-1]:.2f}; the table beside it gives the area under each line"
    )
    return figure(axes.width_px, axes.height_px, label, body)


@dataclass(frozen=True)
class Measured:
    """One row of the interval plot.

    Attributes:
        title: whose number.
        value: the number.
        low: lower bound of its interval; None where it has none.
        high: upper bound.
        ours: whether this run measured it.
    """

    title: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False


def interval_plot(name: str, rows: Sequence[Measured]) -> str:
    """A number with its interval beside those that others published, one line each."""
    row_px, width_px = 40, 460
    ends = [value for row in rows for value in (row.low, row.value, row.high) if value is not None]
    low, high = _padded(min(ends), max(ends))
    axes = Axes(width_px, row_px * len(rows) + 40, x=(low, high), left_px=14, right_px=46, bottom_px=36)
    body = []
    for tick in _ticks(low, high):
        x = axes.x_px(tick)
        bottom = axes.height_px - axes.bottom_px
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{bottom:g}" class="grid"/>')
        body.append(text(x, bottom + 16, f"{tick:.2f}", anchor="middle"))
    body.append(text(width_px / 2, axes.height_px - 4, name, "axis-title", "middle"))
    for index, row in enumerate(rows):
        body += _interval(axes, row, index * row_px)
    label = f"{name}: " + "; ".join(f"{row.title} {row.value:.3f}" for row in rows)
    return figure(axes.width_px, axes.height_px, label, body)


def _interval(axes: Axes, row: Measured, top_px: float) -> list[str]:
    x, y = axes.x_px(row.value), top_px + 30
    kind = "ours" if row.ours else "theirs"
    parts = [text(axes.left_px, top_px + 17, row.title, f"row-title {kind}-title")]
    if row.low is not None and row.high is not None:
        low, high = axes.x_px(row.low), axes.x_px(row.high)
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:g}" y2="{y:g}" class="whisker"/>')
        parts += [
            f'<line x1="{end:.1f}" x2="{end:.1f}" y1="{y - 4:g}" y2="{y + 4:g}" class="whisker"/>'
            for end in (low, high)
        ]
    if row.ours:
        parts.append(f'<circle cx="{x:.1f}" cy="{y:g}" r="5" class="{kind}"/>')
    else:
        parts.append(f'<path d="M{x:.1f} {y - 5:g}l5 5l-5 5l-5 -5z" class="{kind}"/>')
    return [*parts, text(axes.width_px - 4, y + 4, f"{row.value:.3f}", "value", "end")]


def _padded(low: float, high: float) -> tuple[float, float]:
    """Room at both ends, without leaving 0..1; never empty."""
    pad = max(0.02, 0.12 * (high - low))
    return min(max(0.0, low - pad), low), max(min(1.0, high + pad), high)


def _ticks(low: float, high: float) -> list[float]:
    """Round values inside, about five of them."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 6), 0.5)
    first, last = -int(-low // step), int(high // step)
    return [index * step for index in range(first, last + 1)]


def reliability(calibration: Calibration) -> str:
    """Mean OKS over mean score by bin, larger dots for more detections; on the diagonal scores are right."""
    axes = Axes(460, 340)
    body = axes.grid(_FIFTHS, _FIFTHS, "mean score of the detections in a bin", "mean OKS they reached")
    body.append(polyline([axes.at(0, 0), axes.at(1, 1)], "diagonal"))
    filled = [found for found in calibration.bins if found.count]
    most = max((found.count for found in filled), default=1)
    points = [axes.at(found.mean_score, found.mean_oks) for found in filled]
    body.append(polyline(points, "ours-line"))
    for (x, y), found in zip(points, filled, strict=True):
        radius = 3 + 8 * (found.count / most) ** 0.5
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="ours dot"/>')
    label = (
        "Mean OKS against mean score in ten bins; expected calibration error "
        f"{calibration.expected_calibration_error:.3f}; the numbers are in the table below"
    )
    return figure(axes.width_px, axes.height_px, label, body)


def histogram(counts: Sequence[int], ticks: Sequence[tuple[float, str]], title: str, unit: str) -> str:
    """Bars of counts, the first from 0 to 1 on the x axis; ticks are (place on it, what is written there)."""
    most = max([1, *counts])
    axes = Axes(460, 220, x=(0, len(counts)), y=(0, most), left_px=66)
    half = [(0.0, "0"), (most / 2, f"{most / 2:,.0f}"), (float(most), f"{most:,}")]
    body = axes.grid(ticks, half if most % 2 == 0 else half[::2], title, unit)
    for index, count in enumerate(counts):
        x, y = axes.at(index + 0.1, count)
        width = axes.x_px(index + 0.9) - x
        height = axes.y_px(0) - y
        body.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" class="bar"/>'
        )
    label = f"{unit} by {title}, from {ticks[0][1]} to {ticks[-1][1]}: " + ", ".join(f"{n:,}" for n in counts)
    return figure(axes.width_px, axes.height_px, label, body)
