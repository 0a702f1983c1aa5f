"""How far the network and people agree, and people among each other: one typed model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from posrefine.metrics.analysis.ratio import Estimate
from posrefine.metrics.analysis.resampling import Interval

__all__ = ["Errors", "PersonAgreement", "ReviewerAgreement", "Share"]


class PersonAgreement(BaseModel):
    """Persons held against what people labelled.

    Attributes:
        found: share of the labelled persons that are there.
        oks: of those.
        joints: of their single joints, by name.
        sizes: OKS by size of the person.
        generations: OKS by generation of the image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: Estimate
    oks: Estimate
    joints: dict[str, Estimate]
    sizes: dict[str, Estimate]
    generations: dict[str, Estimate]


class Errors(BaseModel):
    """Persons that the network missed, found with an OKS below 0.75, or found where nobody is.

    Attributes:
        per_hundred_images: of them.
        interval: of that.
        images: share of the images with any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_hundred_images: float
    interval: Interval
    images: Estimate


class Share(BaseModel):
    """Some reviewed images.

    Attributes:
        asked: images of the share.
        images: of them, those that were answered.
        persons: that people labelled in them.
        model: the network's persons held against people's; None where nothing was answered.
        errors: of the network.
        ap: the network's numbers by the benchmark's rules, people's rows being the truth.
        ap_intervals: of these.
        people: reviewers of one image held against each other; None where two looked at none of these.
        people_images: those that two or more looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: int
    images: int
    persons: int
    model: PersonAgreement | None = None
    errors: Errors | None = None
    ap: dict[str, float] = {}
    ap_intervals: dict[str, Interval] = {}
    people: PersonAgreement | None = None
    people_images: int = 0


class ReviewerAgreement(BaseModel):
    """What `review.py agreement` says.

    Attributes:
        queue_id: of the queue.
        reviewers: images of each, in all.
        control: the part of the queue that was drawn at random: it speaks for the whole data set.
        queue: the whole queue.
        chosen: the queue without its control share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_id: str
    reviewers: dict[str, int]
    control: Share
    queue: Share
    chosen: Share
