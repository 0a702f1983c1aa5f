"""Writes the tables of docs/performance.md from the stored results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
START = "<!-- tables of benchmarks/results, written by `python benchmarks/tables.py` -->"
END = "<!-- end of tables -->"


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """The page with its tables renewed."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    parts = [network_table(load(path)) for path in sorted(RESULTS.glob("network_*.json"))]
    parts += [predictor_table(load(path)) for path in sorted(RESULTS.glob("predictor_*.json"))]
    return "\n".join(parts)


def load(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def network_table(result: dict[str, Any]) -> str:
    rows = [
        (
            *(f"{case['model']}, {case['batch']} x {case['input_size']} px", name),
            *(f"{timing[key]:.3f}" for key in ("median_s", "best_s", "median_cpu_s")),
            *(f"{timing[key]:.2f}" for key in ("speedup", "speedup_cpu")),
        )
        for case in result["cases"]
        for name, timing in case["timings"].items()
    ]
    header = ("network", "form", "median s", "best s", "CPU s", "times as fast", "by CPU s")
    return f"{heading('One forward pass', result)}\n\n{markdown(header, rows)}\n\n{profiles(result)}"


def profiles(result: dict[str, Any]) -> str:
    """Where the first network's time goes, before and after."""
    case = result["cases"][0]
    lines = []
    for name, shares in case["profile"].items():
        shown = ", ".join(f"`{key}` {share:.0%}" for key, share in list(shares.items())[:7])
        lines.append(f"- {case['model']}, {name}: {shown}.")
    return "\n".join(lines) + "\n"


def predictor_table(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{case['model']}, {case['input_hw'][1]}x{case['input_hw'][0]} px, {case['precision']}",
            name,
            f"{timing['median_s']:.3f}",
            f"{timing['median_cpu_s']:.3f}",
            f"{case['forward_passes'][name]:.2f}",
            f"{case['images_per_s'][name]:.2f}",
        )
        for case in result["cases"]
        for name, timing in case["timings"].items()
    ]
    header = ("network", "what", "median s", "CPU s", "forward passes", "images/s")
    return f"{heading('From photographs to poses', result)}\n\n{markdown(header, rows)}\n"


def heading(title: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    where = machine["gpu"] or f"{result['threads']} of {machine['cores']} cores {machine['cpu']}"
    return (
        f"**{title}**: {where}, torch {machine['torch']}, {machine['date']}, load average "
        f"{machine['load_average_1min']} when it began."
    )


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
