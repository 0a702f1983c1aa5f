"""Just enough SVG for the report's figures: axes, and marks that take their colours from the page's style.

The page is one file that must follow the reader's light or dark scheme and stay small, so figures are written
as plain elements with classes rather than rendered by a plotting library, whose output carries fixed colours
and the outlines of a font.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axes", "figure", "polyline", "text"]


def figure(width_px: float, height_px: float, label: str, body: Iterable[str]) -> str:
    """An `<svg>` of this size in its own units, `label` being what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {width_px:g} {height_px:g}" role="img" aria-label="{escape(label)}" '
        f'preserveAspectRatio="xMidYMid meet">{"".join(body)}</svg>'
    )


def text(x_px: float, y_px: float, content: str, css: str = "tick", anchor: str = "start") -> str:
    """A line of text whose baseline begins, ends or is centred at the point."""
    return (
        f'<text x="{x_px:.1f}" y="{y_px:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'
    )


def polyline(points_px: Iterable[tuple[float, float]], css: str, style: str = "") -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points_px)
    return f'<polyline points="{path}" class="{css}" style="{style}"/>'


@dataclass(frozen=True)
class Axes:
    """A plot area inside a figure, and how data fall into it.

    Attributes:
        width_px: of the figure.
        height_px: of the figure.
        x: data at the left and right end.
        y: data at the lower and upper end.
        left_px: margin for the numbers of the y axis; the others likewise.
    """

    width_px: float
    height_px: float
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    left_px: float = 44
    right_px: float = 12
    top_px: float = 10
    bottom_px: float = 42

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a data point lies in the figure."""
        return self.x_px(x), self.y_px(y)

    def x_px(self, value: float) -> float:
        """Where a value of the x axis lies."""
        low, high = self.x
        inner = self.width_px - self.left_px - self.right_px
        return self.left_px + (value - low) / (high - low) * inner

    def y_px(self, value: float) -> float:
        """Where a value of the y axis lies."""
        low, high = self.y
        inner = self.height_px - self.top_px - self.bottom_px
        return self.height_px - self.bottom_px - (value - low) / (high - low) * inner

    def grid(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_title: str,
        y_title: str,
    ) -> list[str]:
        """Grid lines, numbers and titles; ticks are (value, what is written there)."""
        left, right = self.left_px, self.width_px - self.right_px
        top, bottom = self.top_px, self.height_px - self.bottom_px
        parts = [
            f'<line x1="{left:g}" x2="{right:g}" y1="{self.y_px(value):.1f}" y2="{self.y_px(value):.1f}" '
            'class="grid"/>' + text(left - 6, self.y_px(value) + 4, written, anchor="end")
            for value, written in y_ticks
        ]
        parts += [text(self.x_px(value), bottom + 16, written, anchor="middle") for value, written in x_ticks]
        parts.append(f'<line x1="{left:g}" x2="{right:g}" y1="{bottom:g}" y2="{bottom:g}" class="axis"/>')
        parts.append(text((left + right) / 2, self.height_px - 6, x_title, "axis-title", "middle"))
        middle = (top + bottom) / 2
        parts.append(
            f'<text transform="translate(11,{middle:.1f}) rotate(-90)" class="axis-title" '
            f'text-anchor="middle">{escape(y_title)}</text>'
        )
        return parts
