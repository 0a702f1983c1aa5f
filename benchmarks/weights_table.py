"""Writes the figures of docs/weights.md from what was measured of the weights that come with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from page_marks import renewed

from posrefine.metrics.results import CocoMetrics

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "weights.md"
RESULTS = ROOT / "benchmarks" / "results"
START = "<!-- figures of benchmarks/results, by `python benchmarks/weights_table.py` -->"
END = "<!-- end of figures -->"
NUMBERS = tuple(CocoMetrics.model_fields)


def main() -> None:
    PAGE.write_text(with_figures(PAGE.read_text()))


def with_figures(page: str) -> str:
    """The page with the figures that are stored."""
    photographs, scenes, scores = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("on_photographs", "held_out", "score_floor")
    )
    return renewed(
        page, START, END, "\n\n".join([*of_photographs(photographs), *of_scenes(scenes), *of_scores(scores)])
    )


def of_photographs(stored: Mapping[str, Any]) -> list[str]:
    scales = stored["scales"].replace(",", ", ")
    return [
        f"On {stored['photographs']} photographs, with mirrored views, scales {scales}, rescored "
        "(`benchmarks/on_photographs.py`):",
        "\n".join(table("", {"": stored["metrics"]})),
        "95% intervals: "
        + ", ".join(
            f"{name} {found['low']:.3f} to {found['high']:.3f}" for name, found in stored["intervals"].items()
        )
        + ".",
    ]


def of_scenes(stored: Mapping[str, Any]) -> list[str]:
    return [
        f"On {stored['scenes']} rendered scenes (`benchmarks/held_out.py`):",
        "\n".join(table("test", stored["metrics"])),
    ]


def table(title: str, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """COCO's ten numbers, a way of testing a line; without a title there is one line without a name."""
    names = [title] if title else []
    lines = [f"| {' | '.join([*names, *NUMBERS])} |", f"|{'---|' * (len(names) + len(NUMBERS))}"]
    for name, metrics in rows.items():
        cells = [f"{metrics[number]:.3f}" for number in NUMBERS]
        lines.append(f"| {' | '.join([*([name] if title else []), *cells])} |")
    return lines


def of_scores(stored: Mapping[str, Any]) -> list[str]:
    images, floor = stored["images"], stored["chosen"]
    plain = next(row for row in stored["curves"]["photographs"]["flip test"] if row["floor"] == floor)
    everything = stored["curves"]["photographs"]["flip test"][0]
    rows = [(name, way, found) for name, ways in stored["reliability"].items() for way, found in ways.items()]
    lines = [
        f"| images | test | calibration error | from {floor:g} on | mean OKS at a score of 0.1 to 0.2 | 0.3 to 0.4 | 0.5 to 0.6 | "
        "0.7 to 0.8 | right of those shown |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, way, found in rows:
        at_floor = next(row for row in stored["curves"][name][way] if row["floor"] == floor)
        error, tenths = found["expected_calibration_error"], found["tenths"]
        cells = [
            f"{tenths[number]['mean_oks']:.2f}" if tenths[number]["count"] else "-" for number in (1, 3, 5, 7)
        ]
        lines.append(
            f"| {images[name]} {name} | {way} | {error:.3f} | {shown_error(tenths, floor):.3f} | {' | '.join(cells)} | {at_floor['precision']:.0%} |"
        )
    best = max(stored["mean_f1"].values())
    return [
        f"From which score on a person counts (`--min-score`) was chosen on {images['photographs']} photographs that were "
        "kept\napart from training and that no figure above is of (`benchmarks/score_floor.py`): "
        f"{floor:g} is the lowest whose F1 at OKS 0.5\n(the mean over one scale, one scale rescored, and several scales "
        f"rescored: {stored['mean_f1'][str(floor)]:.3f}) is within 0.02 of the\nhighest ({best:.3f}). Of "
        f"{everything['shown']:,} persons that the flip test proposes there for {plain['right'] + plain['missed']:,} "
        f"annotated ones,\n{plain['shown']} are left from there on, {plain['right']} of them right.",
        "A rescored person's score is its predicted OKS. How far that is true, by tenths of the score, and how many of the\n"
        f"persons shown from {floor:g} on are right. The calibration error of all persons is small above all because most have\n"
        "scores near 0, rightly; the one that a reader of the tables meets is that of those shown:",
        "\n".join(lines),
        calibration_words(stored),
    ]


def shown_error(tenths: Sequence[Mapping[str, Any]], floor: float) -> float:
    """The expected calibration error of the tenths of the score that lie above the floor, which is itself one."""
    shown = tenths[round(floor * len(tenths)) :]
    off = sum(abs(one["mean_score"] - one["mean_oks"]) * one["count"] for one in shown)
    return float(off / sum(one["count"] for one in shown))


def calibration_words(stored: Mapping[str, Any]) -> str:
    """How far apart a score's meanings are in photographs and scenes, where both have some."""
    found: Sequence[Mapping[str, Any]] = [
        ways["flip test, rescored"] for ways in stored["reliability"].values()
    ]
    apart = [
        abs(one["mean_oks"] - other["mean_oks"])
        for one, other in zip(*(each["tenths"] for each in found), strict=True)
        if min(one["count"], other["count"]) >= 20
    ]
    return (
        f"At one scale, the mean OKS of a tenth of the score differs between photographs and scenes by {max(apart):.2f} at most\n"
        f"(in the {len(apart)} tenths that hold 20 persons or more of both)."
    )


if __name__ == "__main__":
    main()
