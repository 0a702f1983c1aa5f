"""Writes the table of docs/evaluation.md from benchmarks/results/evaluation.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_marks import renewed

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
STORE = ROOT / "benchmarks" / "results" / "evaluation.json"
START = "<!-- written by `python benchmarks/evaluation_table.py` -->"
END = "<!-- end of the table -->"
TITLES = {
    "numbers": "ten numbers",
    "numbers_on_ray": "ten numbers, on Ray",
    "everything": "with diagnosis",
    "everything_on_ray": "with diagnosis, on Ray",
    "pycocotools": "pycocotools, ten numbers",
    "hotcoco": "hotcoco, ten numbers",
}


def renew_table() -> None:
    PAGE.write_text(with_table(PAGE.read_text(), json.loads(STORE.read_text())))


def with_table(page: str, rows: list[dict[str, Any]]) -> str:
    """The page with its table renewed."""
    return renewed(page, START, END, table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| images | persons | what | seconds | CPU seconds | peak memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines += [
            f"| {row['images']:,} | {row['persons']:,} | {title} | {row[name]['seconds']:.1f} | "
            f"{row[name]['cpu_seconds']:.1f} | {row[name]['peak_bytes'] / 1e9:.2f} |"
            for name, title in TITLES.items()
            if name in row
        ]
    return "\n".join([*lines, "", *about(rows)])


def about(rows: list[dict[str, Any]]) -> list[str]:
    """Where and when, and how far the numbers were from pycocotools'."""
    found = []
    for row in rows:
        machine = row["machine"]
        found.append(
            f"{row['images']:,} images on {machine['cores']} cores {machine['cpu']}, {machine['date']}, load average "
            f"{machine['load_average_1min']} when it began, Python {machine['python']}, NumPy {machine['numpy']}, "
            f"pycocotools {machine['pycocotools']}, Ray {machine['ray']}; largest difference between the variants' "
            f"numbers: {row['largest_difference']:.1g}."
        )
    return [f"- {line}" for line in found]


if __name__ == "__main__":
    renew_table()
