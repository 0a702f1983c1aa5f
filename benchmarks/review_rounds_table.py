"""Writes the figures of docs/review.md from the stored rounds of review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_marks import renewed

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "review.md"
RESULT = ROOT / "benchmarks" / "results" / "review_rounds.json"
START = (
    "<!-- figures of benchmarks/results/review_rounds.json, by `python benchmarks/review_rounds_table.py` -->"
)
END = "<!-- end of figures -->"


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text()))


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
