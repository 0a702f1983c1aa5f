"""Figures of what changes from generation to generation, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.svg import Axes, figure, polyline

__all__ = ["Point", "bars_over", "line_over"]

_MOST_TICKS = 10


def bars_over(
    names: Sequence[str], parts: Sequence[tuple[int, int]], title: str, unit: str, meaning: tuple[str, str]
) -> str:
    """A bar for each name, of two parts, one upon the other; of many names some are written."""
    most = max([1, *(sum(part) for part in parts)])
    axes = Axes(460, 220, x=(0, len(names)), y=(0, most), left_px=66)
    every = -(-len(names) // _MOST_TICKS)
    ticks = [(place + 0.5, name) for place, name in enumerate(names) if place % every == 0]
    body = axes.grid(ticks, [(0.0, "0"), (float(most), f"{most:,}")], title, unit)
    for place, (lower, upper) in enumerate(parts):
        for low, high, kind in ((0, lower, "bar"), (lower, lower + upper, "bar missed")):
            x, y = axes.at(place + 0.1, high)
            width, height = axes.x_px(place + 0.9) - x, axes.y_px(low) - y
            if height:
                place_px = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
                body.append(f'<rect {place_px} class="{kind}"/>')
    said = (f"{name}: {one:,} and {two:,}" for name, (one, two) in zip(names, parts, strict=True))
    label = f"{unit} by {title}, {meaning[0]} and {meaning[1]}: " + ", ".join(said)
    return figure(axes.width_px, axes.height_px, label, body)


@dataclass(frozen=True)
class Point:
    """Of a line over whole numbers; `marked` ones are drawn large."""

    x: int
    y: float
    marked: bool = False


def line_over(points: Sequence[Point], title: str, unit: str) -> str:
    """A line through at least two points, with a dot at each."""
    values = [point.y for point in points]
    pad = 0.1 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 0.1
    low, high = min(values) - pad, max(values) + pad
    axes = Axes(320, 150, x=(points[0].x - 0.5, points[-1].x + 0.5), y=(low, high), left_px=52, bottom_px=36)
    every = -(-len(points) // (_MOST_TICKS // 2))
    ticks = [(float(point.x), str(point.x)) for point in points[::every]]
    body = axes.grid(ticks, [(value, f"{value:.3g}") for value in {min(values), max(values)}], title, "")
    body.append(polyline([axes.at(point.x, point.y) for point in points], "ours-line"))
    for point in points:
        x, y = axes.at(point.x, point.y)
        radius, kind = (6, "marked") if point.marked else (2.5, "ours")
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}"/>')
    said = (f"{p.x}: {p.y:.3g}{' (unlike those before)' if p.marked else ''}" for p in points)
    return figure(axes.width_px, axes.height_px, f"{unit} by {title}: " + ", ".join(said), body)
