"""The numbers people compare, with the names they know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["CocoMetrics", "CrowdPoseMetrics"]


class CocoMetrics(BaseModel):
    """COCO's ten keypoint numbers, full precision; -1 where there is nothing to be found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    AP: float
    AP50: float
    AP75: float
    APm: float
    APl: float
    AR: float
    AR50: float
    AR75: float
    ARm: float
    ARl: float

    def __str__(self) -> str:
        rows = [
            _row(kind, oks, f"area={area:>6}", value)
            for kind, oks, area, value in (
                ("AP", "0.50:0.95", "all", self.AP),
                ("AP", "0.50", "all", self.AP50),
                ("AP", "0.75", "all", self.AP75),
                ("AP", "0.50:0.95", "medium", self.APm),
                ("AP", "0.50:0.95", "large", self.APl),
                ("AR", "0.50:0.95", "all", self.AR),
                ("AR", "0.50", "all", self.AR50),
                ("AR", "0.75", "all", self.AR75),
                ("AR", "0.50:0.95", "medium", self.ARm),
                ("AR", "0.50:0.95", "large", self.ARl),
            )
        ]
        return "\n".join(rows)


class CrowdPoseMetrics(BaseModel):
    """CrowdPose's nine numbers; the AP of the three splits is rounded to 4 digits, as its tool does.

    Splits by the image's crowdIndex: easy below 0.2, medium below 0.8, hard from there on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    AP: float
    AP50: float
    AP75: float
    AR: float
    AR50: float
    AR75: float
    AP_easy: float
    AP_medium: float
    AP_hard: float

    def __str__(self) -> str:
        rows = [
            _row(kind, oks, f"{key}={group:>6}", value)
            for kind, oks, key, group, value in (
                ("AP", "0.50:0.95", "area", "all", self.AP),
                ("AP", "0.50", "area", "all", self.AP50),
                ("AP", "0.75", "area", "all", self.AP75),
                ("AR", "0.50:0.95", "area", "all", self.AR),
                ("AR", "0.50", "area", "all", self.AR50),
                ("AR", "0.75", "area", "all", self.AR75),
                ("AP", "0.50:0.95", "type", "easy", self.AP_easy),
                ("AP", "0.50:0.95", "type", "medium", self.AP_medium),
                ("AP", "0.50:0.95", "type", "hard", self.AP_hard),
            )
        ]
        return "\n".join(rows)


def _row(kind: str, oks: str, group: str, value: float) -> str:
    title = "Average Precision" if kind == "AP" else "Average Recall"
    return f" {title:<18} ({kind}) @[ IoU={oks:<9} | {group} | maxDets= 20 ] = {value:.3f}"
