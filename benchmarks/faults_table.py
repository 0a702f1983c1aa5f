"""Writes the figures of docs/guarantees.md from the stored campaign of faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_marks import renewed

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
RESULT = ROOT / "benchmarks" / "results" / "faults.json"
START = "<!-- figures of benchmarks/results/faults.json, written by `python benchmarks/faults_table.py` -->"
END = "<!-- end of figures -->"


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text()))


def with_table(page: str) -> str:
    """The page with its figures renewed."""
    return renewed(page, START, END, table(json.loads(RESULT.read_text())))


def table(result: dict[str, Any]) -> str:
    kinds = [f"{kind}: {times:,}" for kind, times in result["faults"].items()]
    cells = {
        "runs": result["runs"],
        "of them on Ray": result["on_ray"],
        "complete in the end": result["complete"],
        "starts that took": result["starts"],
        "faults injected": sum(result["faults"].values()),
        "images in": result["images_in"],
        "lost": result["lost"],
        "doubled": result["doubled"],
        "stale": result["stale"],
        "innocents blamed": result["innocents"],
    }
    lines = [tuple(cells), ("---",) * len(cells), tuple(f"{cell:,}" for cell in cells.values())]
    machine, settings = result["machine"], result["settings"]
    made_on = (
        f"Faults by kind: {', '.join(kinds)}. {result['minutes']:g} minutes on {machine['cores']} cores "
        f"{machine['cpu']}, ray {machine['ray']}, moto {machine['moto']} on loopback, seed {settings['seed']}, "
        f"{machine['date']}. The campaign gave {result['given_up']} runs up that the busy machine did not get on "
        "with in time; they are not among these. Runs that are not on Ray have loading, annotating and committing take turns in "
        "their driver; the network is one that costs nothing in all."
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{made_on}"


if __name__ == "__main__":
    main()
