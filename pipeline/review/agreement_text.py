"""The agreement of network and people, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.review.reviewer_agreement import Errors, PersonAgreement, ReviewerAgreement, Share
from posrefine.metrics.analysis.ratio import Estimate
from posrefine.text_table import text_table

__all__ = ["reviewer_agreement_lines"]


def reviewer_agreement_lines(found: ReviewerAgreement) -> Iterator[str]:
    """Tables with 95% intervals: the shares of the queue, then joints, sizes and generations."""
    names = ", ".join(f"{name} ({count:,} images)" for name, count in found.reviewers.items())
    yield f"queue     {found.queue_id}"
    yield f"reviewers {names}"
    yield ""
    yield "The control share was drawn at random and speaks for the whole data set; the rest was chosen."
    shares = {"control share": found.control, "whole queue": found.queue, "chosen": found.chosen}
    yield text_table([["", *shares], *_rows(tuple(shares.values()))])
    yield ""
    sides = {
        "network, control share": found.control.model,
        "network, whole queue": found.queue.model,
        "people, control share": found.control.people,
        "people, whole queue": found.queue.people,
    }
    yield text_table([["OKS by", *sides], *_details(sides)])
    yield ""
    if found.queue.people is None:
        yield "No image of the queue was looked at by two people."
    else:
        yield (
            f"People: {found.queue.people_images:,} images of the queue were looked at by two or more, "
            f"{found.control.people_images:,} of its control share."
        )


def _rows(shares: tuple[Share, ...]) -> Iterator[list[str]]:
    yield ["images answered", *(f"{one.images:,} of {one.asked:,}" for one in shares)]
    yield ["persons labelled", *(f"{one.persons:,}" for one in shares)]
    yield ["of them found", *(_estimate(one.model.found if one.model else None) for one in shares)]
    yield ["OKS of those", *(_estimate(one.model.oks if one.model else None) for one in shares)]
    yield ["errors in 100 images", *(_rate(one.errors) for one in shares)]
    yield ["images with an error", *(_estimate(one.errors.images if one.errors else None) for one in shares)]
    yield ["AP", *(_ap(one) for one in shares)]


def _details(sides: Mapping[str, PersonAgreement | None]) -> Iterator[list[str]]:
    yield ["everybody", *(_estimate(one.oks if one else None) for one in sides.values())]
    for kind in ("joints", "sizes", "generations"):
        known: list[Mapping[str, Estimate]] = [getattr(one, kind) if one else {} for one in sides.values()]
        for name in dict.fromkeys(name for one in known for name in one):
            label = f"generation {name}" if kind == "generations" else name.replace("_", " ")
            yield [label, *(_estimate(one.get(name)) for one in known)]


def _estimate(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return "-"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _rate(errors: Errors | None) -> str:
    if errors is None:
        return "-"
    interval = errors.interval
    return f"{errors.per_hundred_images:.0f} ({interval.low:.0f} to {interval.high:.0f})"


def _ap(share: Share) -> str:
    # Below 0 stands for nothing to take it of: nobody is labelled there.
    if share.ap.get("AP", -1.0) < 0:
        return "-"
    interval = share.ap_intervals["AP"]
    return f"{share.ap['AP']:.3f} ({interval.low:.3f} to {interval.high:.3f})"
