"""How two outputs agree, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.evaluation.output_agreement import OutputAgreement
from posrefine.metrics.analysis.ratio import Estimate

__all__ = ["estimate_words", "left_out_words", "output_agreement_lines"]


def output_agreement_lines(agreement: OutputAgreement) -> Iterator[str]:
    """The numbers, one a line, with their intervals."""
    yield f"a         {agreement.a}: {agreement.model_a}, {agreement.weights_a}"
    yield f"b         {agreement.b}: {agreement.model_b}, {agreement.weights_b}"
    for name, (one, other) in agreement.settings.items():
        yield f"differ    {name}: {one!r} and {other!r}"
    yield f"images    {agreement.images:,} compared{left_out_words(agreement)}"
    yield (
        f"persons   {agreement.persons_a:,} in a from score {agreement.min_score_a:g} on, "
        f"{agreement.persons_b:,} in b from {agreement.min_score_b:g} on; {agreement.pairs:,} in both, "
        f"{agreement.identical:,} of them to the last bit"
    )
    yield ""
    yield _line("a's persons found by b", agreement.found_of_a)
    yield _line("b's persons found by a", agreement.found_of_b)
    yield _line("OKS of those in both", agreement.oks)
    for name, size in agreement.sizes.items():
        yield _line(f"{name}: matched", size.matched)
        yield _line(f"{name}: OKS", size.oks)
    for joint, estimate in agreement.joints.items():
        yield _line(joint.replace("_", " "), estimate)


def left_out_words(agreement: OutputAgreement) -> str:
    """What was not compared, and why."""
    kinds = {
        "in a alone": agreement.only_a,
        "in b alone": agreement.only_b,
        "with other bytes": agreement.other_bytes,
        "turned in one of them": agreement.other_frame,
        "failed in a": agreement.failed_a,
        "failed in b": agreement.failed_b,
        "failed in both": agreement.failed_both,
    }
    return "".join(f"; {images:,} {words}" for words, images in kinds.items() if images)


def estimate_words(estimate: Estimate) -> str:
    """Such as `0.987 (0.981 to 0.992)`."""
    if estimate.value is None:
        return "-"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _line(title: str, estimate: Estimate) -> str:
    of = f"of {estimate.count:,} in {estimate.images:,} images" if estimate.count else ""
    return f"{title:<24}{estimate_words(estimate):<26}{of}".rstrip()
