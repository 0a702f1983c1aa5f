"""An evaluation as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.evaluation.result import Comparison, Evaluation
from posrefine.metrics import Finding

__all__ = ["evaluation_lines", "finding_lines"]

_TITLE_WIDTH = 36
_CELL_WIDTH = 10


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The benchmark's table, intervals, published figures, comparison and warnings."""
    lines = [
        str(evaluation),
        "",
        f"{evaluation.images:,} images, {evaluation.persons:,} persons to be found, "
        f"{evaluation.detections:,} detections, {evaluation.seconds:.1f} s",
    ]
    lines += _side_by_side(evaluation)
    if evaluation.numbers_without_train_overlap is not None:
        lines += ["", "without the images that are in the training set:"]
        lines += [str(evaluation.numbers_without_train_overlap)]
    if evaluation.comparison is not None:
        lines += _comparison(evaluation.comparison)
    return lines + finding_lines(evaluation.warnings)


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """One line a finding."""
    return [f"warning: {finding}" for finding in findings]


def _side_by_side(evaluation: Evaluation) -> list[str]:
    """The numbers of this evaluation above those that others published for the same network."""
    names = [name for name in type(evaluation).model_fields if name[:2] in ("AP", "AR")]
    lines = ["", _line("", names), _line("this evaluation", _shown(evaluation, names))]
    if evaluation.diagnosis is not None:
        intervals = evaluation.diagnosis.intervals
        for bound in ("low", "high"):
            numbers = [f"{getattr(intervals[name], bound):.3f}" for name in names]
            lines.append(_line(f"  95% interval, {bound}", numbers))
    sources = list(dict.fromkeys(row.source for row in evaluation.published))
    for row in evaluation.published:
        numbers = [f"{row.numbers[name]:.3f}" if name in row.numbers else "" for name in names]
        title = f"{row.model} {row.split} {row.scales} [{sources.index(row.source) + 1}]"
        lines.append(_line(title, numbers))
    notes = [
        f"[{number}] published by {source}; not measured here" for number, source in enumerate(sources, 1)
    ]
    return lines + notes


def _shown(evaluation: Evaluation, names: Iterable[str]) -> list[str]:
    return [f"{getattr(evaluation, name):.3f}" for name in names]


def _line(title: str, cells: Iterable[str]) -> str:
    return (f"{title:<{_TITLE_WIDTH}}" + "".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells)).rstrip()


def _comparison(comparison: Comparison) -> list[str]:
    lines = ["", f"this less {comparison.other}, paired bootstrap over images:"]
    for name, found in comparison.differences.items():
        lines.append(
            f"  {name:<10}{found.this:.4f} - {found.other:.4f} = {found.difference:+.4f}  "
            f"[{found.low:+.4f}, {found.high:+.4f}]  p = {found.p_value:.3g}"
        )
    return lines + [f"warning: {comparison.other}: {finding}" for finding in comparison.warnings]
