"""How far two outputs of the same images agree: one typed model, which is `agreement.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from posrefine.metrics.analysis.ratio import Estimate

__all__ = ["OutputAgreement", "SizeAgreement"]


class SizeAgreement(BaseModel):
    """Of persons of a size.

    Attributes:
        matched: share of both outputs' persons that have somebody like them in the other one.
        oks: of the pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    matched: Estimate
    oks: Estimate


class OutputAgreement(BaseModel):
    """What `agreement.json` says.

    Attributes:
        a: the one output.
        b: the other one.
        model_a: name of its network.
        model_b: likewise.
        weights_a: what its weights were called.
        weights_b: likewise.
        settings: what differs between the settings of the two, as [a, b] by name.
        min_score_a: from which its persons count.
        min_score_b: likewise.
        least_oks: from which two persons are the same.
        images: compared: in both, of the same bytes, in the same frame, failed in neither.
        only_a: images that are in this output alone.
        only_b: likewise.
        other_bytes: images whose key is in both, with other bytes or bytes that were never read.
        other_frame: images whose width and height differ: turned upright in one of them.
        failed_a: images of the same bytes that failed in this output alone.
        failed_b: likewise.
        failed_both: that failed in both.
        persons_a: persons in the compared images.
        persons_b: likewise.
        pairs: persons that are in both.
        identical: pairs whose joints are at the very same places.
        found_of_a: share of its persons that the other one has too.
        found_of_b: likewise.
        oks: of the pairs.
        joints: OKS of single joints over the pairs, by name.
        sizes: by size of the person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    model_a: str
    model_b: str
    weights_a: str
    weights_b: str
    settings: dict[str, tuple[Any, Any]]
    min_score_a: float
    min_score_b: float
    least_oks: float
    images: int
    only_a: int
    only_b: int
    other_bytes: int
    other_frame: int
    failed_a: int
    failed_b: int
    failed_both: int
    persons_a: int
    persons_b: int
    pairs: int
    identical: int
    found_of_a: Estimate
    found_of_b: Estimate
    oks: Estimate
    joints: dict[str, Estimate]
    sizes: dict[str, SizeAgreement]

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()
