"""The curves of a training as one picture: losses and validation over steps."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.svg import Axes, polyline, text

__all__ = ["training_curves"]

WIDTH_PX, PANEL_HEIGHT_PX, TITLE_HEIGHT_PX = 640, 220, 26
SMOOTHED_ROWS = 15
STYLE = (
    "svg{background:#fff;font-family:system-ui,sans-serif;font-size:12px}"
    ".grid{stroke:#e4e4e7}.axis{stroke:#71717a}.tick,.axis-title{fill:#52525b}.title{fill:#18181b;font-weight:600}"
    ".raw,.smooth{fill:none;stroke:#0f766e}.raw{opacity:.25}.smooth{stroke-width:2}.dot{fill:#0f766e}"
)

Points = Sequence[tuple[float, float]]


def training_curves(folder: Path) -> str:
    """A standalone SVG of the tables that `TrainingLog` keeps in `folder`.

    One panel for each loss, on a logarithmic axis (thin: as it was; thick: a running mean), and one for AP on
    each set of held-out images, where there were any.
    """
    panels = [
        _loss_panel(_column(folder / "steps.csv", "heatmap_loss"), "heatmap loss"),
        _loss_panel(_column(folder / "steps.csv", "offset_loss"), "offset loss"),
        _ap_panel(_column(folder / "validation.csv", "AP"), "AP on held-out images"),
        _ap_panel(_column(folder / "validation.csv", "scenes_AP"), "AP on held-out rendered scenes"),
    ]
    shown = [panel for panel in panels if panel]
    height_px = PANEL_HEIGHT_PX * len(shown)
    placed = (
        f'<g transform="translate(0,{PANEL_HEIGHT_PX * place})">{"".join(panel)}</g>'
        for place, panel in enumerate(shown)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height_px}" role="img" '
        f'aria-label="losses and validation over steps"><style>{STYLE}</style>{"".join(placed)}</svg>\n'
    )


def _column(path: Path, name: str) -> Points:
    """(step, value) of every row; none where the table or the column does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [(float(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def _loss_panel(points: Points, name: str) -> list[str]:
    positive = [(step, math.log10(value)) for step, value in points if value > 0]
    if not positive:
        return []
    values = [value for _, value in positive]
    low, high = math.floor(min(values)), math.ceil(max(values))
    axes = _axes(positive, (low, max(high, low + 1)))
    ticks = [(place, f"{10.0**place:g}") for place in range(int(axes.y[0]), int(axes.y[1]) + 1)]
    return [
        *_frame(axes, ticks, name),
        polyline([axes.at(*point) for point in positive], "raw"),
        polyline([axes.at(*point) for point in _smoothed(positive)], "smooth"),
    ]


def _ap_panel(points: Points, name: str) -> list[str]:
    if not points:
        return []
    axes = _axes(points, (0.0, 1.0))
    marks = [axes.at(*point) for point in points]
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="dot"/>' for x, y in marks]
    ticks = [(fifth / 5, f"{fifth / 5:.1f}") for fifth in range(6)]
    return [*_frame(axes, ticks, name), polyline(marks, "smooth"), *dots]


def _axes(points: Points, y: tuple[float, float]) -> Axes:
    last = max(step for step, _ in points)
    return Axes(WIDTH_PX, PANEL_HEIGHT_PX, x=(0.0, max(last, 1.0)), y=y, left_px=62, top_px=TITLE_HEIGHT_PX)


def _frame(axes: Axes, y_ticks: Sequence[tuple[float, str]], name: str) -> list[str]:
    last = axes.x[1]
    x_ticks = [(last * quarter / 4, f"{last * quarter / 4:,.0f}") for quarter in range(5)]
    return [text(axes.left_px, TITLE_HEIGHT_PX - 9, name, "title"), *axes.grid(x_ticks, y_ticks, "step", "")]


def _smoothed(points: Points) -> Points:
    """Each value replaced by the mean of those up to `SMOOTHED_ROWS` before it."""
    means = []
    for end, (step, _) in enumerate(points, start=1):
        window = [value for _, value in points[max(0, end - SMOOTHED_ROWS) : end]]
        means.append((step, sum(window) / len(window)))
    return means
