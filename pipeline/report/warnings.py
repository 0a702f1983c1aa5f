"""What a reader must know before looking at any number."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.result import Evaluation
from pipeline.output.record import UNTRAINED_NOTE
from pipeline.output.rows import RunRows
from pipeline.report.run_facts import RunFacts
from posrefine.metrics import Finding

__all__ = ["Warned", "evaluation_warnings", "run_warnings"]

_SPOILS_NUMBERS = {
    "train_overlap",
    "images_missing",
    "images_failed",
    "sizes_differ",
    "exif_rule_applied",
    "predictions_wrong_joint_count",
    "predictions_of_unknown_images",
    "predictions_not_finite",
    "duplicate_predictions",
    "crowd_index_missing",
    "crowd_split_empty",
    "annotation_id_zero",
}
"""Findings after which the numbers are not what the benchmark means by them."""

_OF_THE_RUNS_NOTE = {"poses_mean_nothing", "weights_have_a_note"}


@dataclass(frozen=True)
class Warned:
    """One warning.

    Attributes:
        title: in a few words.
        text: what it means and what to do.
        examples: the first few concerned.
        grave: whether it spoils the numbers.
    """

    title: str
    text: str
    examples: tuple[str, ...] = ()
    grave: bool = False


def evaluation_warnings(evaluation: Evaluation, rows: RunRows | None) -> tuple[Warned, ...]:
    """Of the predictions, the annotations and the run that was compared with; grave ones first."""
    # The run's own words say it better than the finding made of them.
    findings = [found for found in evaluation.warnings if found.code not in _OF_THE_RUNS_NOTE]
    warned = [*_noted(rows), *(_finding(found, "") for found in findings)]
    if evaluation.comparison is not None:
        other = f" (in {evaluation.comparison.other})"
        warned += [_finding(found, other) for found in evaluation.comparison.warnings]
    return tuple(sorted(warned, key=lambda warning: not warning.grave))


def run_warnings(facts: RunFacts) -> tuple[Warned, ...]:
    """Of a run without ground truth; grave ones first."""
    warned = _noted(facts.rows)
    if not facts.complete:
        text = "Not every unit of the input is finished; everything on this page is about those that are."
        warned.append(Warned("The run is not complete", text))
    if facts.outcome is not None and facts.outcome.exit_code:
        warned.append(Warned(f"The last attempt ended: {facts.outcome.result}", facts.outcome.message))
    drifts = [one.drift for one in facts.data_set.generations if one.drift] if facts.data_set else []
    if drifts and drifts[-1].moved:
        last = drifts[-1]
        text = "; ".join(moved.words() for moved in last.moved) + ". Look at its images before you use it."
        warned.append(Warned(f"Generation {last.generation:,} is unlike those before", text))
    return tuple(warned)


def _noted(rows: RunRows | None) -> list[Warned]:
    if rows is None or rows.note is None:
        return []
    text = f"{rows.note[:1].upper()}{rows.note[1:]}."
    if rows.note != UNTRAINED_NOTE:
        return [Warned("What these weights know", text)]
    text += " Take no number and no skeleton of this page for a result."
    return [Warned("The poses of this run mean nothing", text, grave=True)]


def _finding(found: Finding, where: str) -> Warned:
    title = found.code.replace("_", " ")
    return Warned(
        title=f"{title[:1].upper()}{title[1:]}: {found.count:,}{where}",
        text=f"{found.message[:1].upper()}{found.message[1:]}.",
        examples=found.examples,
        grave=found.code in _SPOILS_NUMBERS,
    )
