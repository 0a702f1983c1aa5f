"""Writes the figures of docs/review.md, and their drawing, from the stored rounds of review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_marks import renewed

from pipeline.svg import Axes, figure, polyline, text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "review.md"
RESULT = ROOT / "benchmarks" / "results" / "review_rounds.json"
START = (
    "<!-- figures of benchmarks/results/review_rounds.json, by `python benchmarks/review_rounds_table.py` -->"
)
END = "<!-- end of figures -->"


DRAWING = ROOT / "docs" / "images" / "review_rounds.svg"
_PANEL_PX, _HEIGHT_PX = 360, 270
# Readable on light and on dark pages.
_STYLE = """text{font:12px sans-serif;fill:#777}.axis-title{font-size:13px}.grid{stroke:#8883}.axis{stroke:#888}
polyline{fill:none;stroke-width:2.5}.queue{stroke:#d1495b}.random{stroke:#3b7ea1;stroke-dasharray:6 4}
polygon{fill:#3b7ea1;opacity:.18}.said-queue{fill:#d1495b}.said-random{fill:#3b7ea1}"""


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text()))
    DRAWING.write_text(drawing(json.loads(RESULT.read_text())))


def drawing(result: dict[str, Any]) -> str:
    """AP against images corrected, a panel a set: by the queue, and at random with the band of its draws."""
    panels = [panel(words, found) for words, found in result["sets"].items()]
    body = [
        f'<g transform="translate({number * _PANEL_PX},0)">{"".join(parts)}</g>'
        for number, parts in enumerate(panels)
    ]
    label = "AP of the corrected table against images corrected, by the queue and at random"
    svg = figure(_PANEL_PX * len(panels), _HEIGHT_PX, label, [f"<style>{_STYLE}</style>", *body])
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def panel(words: str, found: dict[str, Any]) -> list[str]:
    start, rounds = found["ap_of_the_network"], list(zip(found["queue"], found["random"], strict=True))
    counts = [0, *(queue["corrected"] for queue, _ in rounds)]
    axes = Axes(_PANEL_PX, _HEIGHT_PX, x=(0, counts[-1]), y=(0, 0.8), top_px=30)
    ticks = [(value / 10, f"{value / 10:.1f}") for value in range(0, 9, 2)]
    low = [axes.at(x, y) for x, y in zip(counts, [start, *(r["ap_least"] for _, r in rounds)], strict=True)]
    high = [axes.at(x, y) for x, y in zip(counts, [start, *(r["ap_most"] for _, r in rounds)], strict=True)]
    mean = [axes.at(x, y) for x, y in zip(counts, [start, *(r["ap_mean"] for _, r in rounds)], strict=True)]
    queue = [axes.at(x, y) for x, y in zip(counts, [start, *(q["ap"] for q, _ in rounds)], strict=True)]
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*low, *high[::-1]])
    return [
        *axes.grid([(n, str(n)) for n in counts], ticks, "images corrected", "AP of the table"),
        text(axes.left_px, 18, f"{found['images']} {words}", "axis-title"),
        f'<polygon points="{band}"/>',
        polyline(mean, "random"),
        polyline(queue, "queue"),
        text(axes.left_px + 12, 46, "the queue", "said-queue"),
        text(axes.left_px + 12, 62, "at random: mean, least to most", "said-random"),
    ]


def with_table(page: str) -> str:
    """The page with its figures renewed."""
    return renewed(page, START, END, table(json.loads(RESULT.read_text())))


def table(result: dict[str, Any]) -> str:
    head = (
        "images corrected", "AP, the queue", "persons labelled", "AP, at random: mean", "least to most",
        "persons labelled, mean",
    )  # fmt: skip
    parts = []
    for words, found in result["sets"].items():
        lines = [head, ("---",) * len(head)]
        start = f"{found['ap_of_the_network']:.3f}"
        lines.append(("0", start, "0", start, "", "0"))
        lines += [
            (
                str(queue["corrected"]),
                f"{queue['ap']:.3f}",
                str(queue["persons_labelled"]),
                f"{random['ap_mean']:.3f}",
                f"{random['ap_least']:.3f} to {random['ap_most']:.3f}",
                f"{random['persons_labelled_mean']:.0f}",
            )
            for queue, random in zip(found["queue"], found["random"], strict=True)
        ]
        best = found["all_corrected"]
        parts.append(
            f"{found['images']} {words}; all corrected: AP {best['ap']:.3f}, {best['persons_labelled']} persons.\n\n"
            + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        )
    machine = result["machine"]
    made_on = (
        f"{result['random_draws']} random draws, seed {result['seed']}, {machine['cores']} cores "
        f"{machine['cpu']}, {machine['date']}."
    )
    return "\n\n".join((*parts, made_on))


if __name__ == "__main__":
    main()
