"""The settings of what the annotate job does with the output of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.base import Device, Settings

__all__ = [
    "AsOf",
    "ExportSettings",
    "FinalizeSettings",
    "OutputSettings",
    "ReplaySettings",
    "ReportSettings",
    "RetrySettings",
    "Source",
    "StatusSettings",
]

AsOf = Annotated[
    int | None,
    Field(ge=1, description="generation of the tables to read, as `status` lists them; the last one"),
]

Source = Annotated[
    Literal["corrected", "model"],
    Field(
        description="whose persons of a run: people's where they corrected an image, or the network's alone"
    ),
]


class OutputSettings(Settings):
    """Output."""

    output: str = Field(description="folder or bucket prefix of the run")


class _Finalize(Settings):
    """Tables."""

    rebuild: bool = Field(
        False, description="make the tables' logs anew from their files; older generations are given up"
    )


class FinalizeSettings(_Finalize, OutputSettings):
    """The settings of `finalize`."""


class _Status(Settings):
    """Status."""

    as_json: bool = Field(False, alias="json", description="for programs: one JSON object")


class StatusSettings(_Status, OutputSettings):
    """The settings of `status`."""


class _Here(Settings):
    """Machine."""

    device: Device = Field("auto", description="where the network runs; auto: on a GPU if there is one here")


class _Limits(Settings):
    """Limits, where they shall be others than the run's."""

    max_pixels: int | None = Field(None, ge=1, description="of an image")
    max_image_bytes: int | None = Field(None, ge=1, description="of an image's file")


class RetrySettings(_Limits, _Here, OutputSettings):
    """The settings of `retry-failed`."""


class _Unit(Settings):
    """Unit."""

    unit: str = Field(description="name of the unit, as in the `unit` column")
    save: Path | None = Field(None, description="Parquet file for the rows; none is written else")


class ReplaySettings(_Here, _Unit, OutputSettings):
    """The settings of `replay`."""


class _Shown(Settings):
    """What is shown."""

    min_score: float | None = Field(
        None, description="persons from this score on are counted and shown; the run's own"
    )


class _Report(Settings):
    """Report."""

    as_of: AsOf = None


class ReportSettings(_Report, _Shown, OutputSettings):
    """The settings of `report`."""


class _Export(Settings):
    """Export."""

    format: Literal["coco", "coco-results", "fiftyone", "label-studio", "overlays", "yolo"] = Field(
        description="whose format; docs/formats.md describes them"
    )
    to: str = Field(description="folder or bucket prefix for the files")
    min_score: float | None = Field(
        None,
        description="persons below this score are left out; the run's own, and nobody of coco-results",
    )
    min_keypoint_score: float | None = Field(
        None, description="joints below count as not labelled, where the format can say so"
    )
    image_root: str | None = Field(None, description="where the other tool finds the images")
    max_images: int | None = Field(None, ge=1, description="the first so many alone")
    as_of: AsOf = None
    source: Source = "corrected"


class ExportSettings(_Export, OutputSettings):
    """The settings of `export`."""
