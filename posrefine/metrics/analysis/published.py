"""Figures that others published, to stand beside an evaluation; none of them was measured by this project."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["PUBLISHED", "PublishedRow", "published_rows"]

_COCO = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
_CROWDPOSE = ("AP", "AP50", "AP75", "AP_easy", "AP_medium", "AP_hard")
_DEKR = "DEKR (CVPR 2021), as reprinted by the PosRefine authors"
_DEKR_OWN = "DEKR (CVPR 2021)"
_REFINED = "PosRefine authors, later figures"


class PublishedRow(BaseModel):
    """One row of a published table.

    Attributes:
        model: name of the network, as in `posrefine.build`.
        protocol: `coco` or `crowdpose`.
        split: images that were evaluated.
        scales: `single` or `multi` scale testing.
        source: who published it.
        numbers: by the names of `CocoMetrics` or `CrowdPoseMetrics`; those that were published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    protocol: str
    split: str
    scales: str
    source: str
    numbers: dict[str, float]


def _coco(model: str, split: str, scales: str, source: str, *numbers: float) -> PublishedRow:
    return PublishedRow(
        model=model, protocol="coco", split=split, scales=scales, source=source,
        numbers=dict(zip(_COCO, numbers, strict=False)),
    )  # fmt: skip


def _crowdpose(model: str, scales: str, source: str, *numbers: float) -> PublishedRow:
    return PublishedRow(
        model=model, protocol="crowdpose", split="test", scales=scales, source=source,
        numbers=dict(zip(_CROWDPOSE, numbers, strict=False)),
    )  # fmt: skip


PUBLISHED: tuple[PublishedRow, ...] = (
    _coco("dekr_w32", "val2017", "single", _DEKR_OWN, 0.680),
    _coco("dekr_w48", "val2017", "single", _DEKR_OWN, 0.710),
    # The reprint shows these rows in its single-scale table as well; they are the multi-scale ones.
    _coco("dekr_w32", "val2017", "multi", _DEKR,
          0.707, 0.877, 0.771, 0.662, 0.778, 0.759, 0.913, 0.813, 0.705, 0.836),
    _coco("dekr_w48", "val2017", "multi", _DEKR,
          0.723, 0.883, 0.786, 0.686, 0.786, 0.777, 0.924, 0.832, 0.728, 0.849),
    _coco("dekr_w32", "test-dev2017", "single", _DEKR,
          0.673, 0.879, 0.741, 0.615, 0.761, 0.724, 0.908, 0.782, 0.654, 0.819),
    _coco("dekr_w48", "test-dev2017", "single", _DEKR,
          0.700, 0.894, 0.773, 0.657, 0.769, 0.754, 0.927, 0.816, 0.697, 0.832),
    _coco("dekr_w32", "test-dev2017", "multi", _DEKR,
          0.698, 0.890, 0.766, 0.652, 0.765, 0.751, 0.924, 0.811, 0.695, 0.828),
    _coco("dekr_w48", "test-dev2017", "multi", _DEKR,
          0.710, 0.892, 0.780, 0.671, 0.769, 0.767, 0.932, 0.830, 0.715, 0.839),
    _crowdpose("dekr_w32", "single", _DEKR, 0.657, 0.857, 0.704, 0.730, 0.664, 0.575),
    _crowdpose("dekr_w48", "single", _DEKR, 0.673, 0.864, 0.722, 0.746, 0.681, 0.587),
    _crowdpose("dekr_w32", "multi", _DEKR, 0.670, 0.854, 0.724, 0.755, 0.680, 0.569),
    _crowdpose("dekr_w48", "multi", _DEKR, 0.680, 0.855, 0.734, 0.766, 0.688, 0.584),
    _coco("posrefine_w32", "val2017", "single", _REFINED, 0.689),
    _coco("posrefine_w32", "val2017", "multi", _REFINED, 0.713),
    _coco("posrefine_w48", "val2017", "single", _REFINED, 0.715),
    _coco("posrefine_w48", "val2017", "multi", _REFINED, 0.731),
    _coco("posrefine_w32", "test-dev2017", "single", _REFINED, 0.679),
    _coco("posrefine_w32", "test-dev2017", "multi", _REFINED, 0.702),
    _coco("posrefine_w48", "test-dev2017", "single", _REFINED, 0.708),
    _coco("posrefine_w48", "test-dev2017", "multi", _REFINED, 0.718),
    PublishedRow(
        model="posrefine_w32", protocol="crowdpose", split="test", scales="single", source=_REFINED,
        numbers={"AP": 0.673, "AP_easy": 0.746, "AP_medium": 0.681, "AP_hard": 0.590},
    ),
    _crowdpose("posrefine_w32", "multi", _REFINED, 0.685),
    _crowdpose("posrefine_w48", "single", _REFINED, 0.687),
    _crowdpose("posrefine_w48", "multi", _REFINED, 0.691),
)  # fmt: skip


def published_rows(model: str, protocol: str) -> tuple[PublishedRow, ...]:
    """All rows of a network under a protocol; none if the name is unknown."""
    return tuple(row for row in PUBLISHED if row.model == model and row.protocol == protocol)
