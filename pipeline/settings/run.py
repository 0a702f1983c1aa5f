"""The settings of a run of the annotate job, and of the estimate of one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.images.exif_rule import ExifRule
from pipeline.settings.base import Device, Floats, Settings, Skeleton, Texts
from posrefine.score_floor import SCORE_FLOOR

__all__ = ["LONGEST_EXPIRY_S", "UNTRAINED", "EstimateSettings", "RunSettings"]

UNTRAINED = "untrained"
LONGEST_EXPIRY_S = 86_400
"""Of a lease: a holder that is silent for a day is gone."""


class _Places(Settings):
    """Input and output."""

    input: str = Field(description="folder, bucket prefix or shard of images, tars or Parquet files")
    output: str = Field(description="folder or bucket prefix of this run; running again there resumes it")
    annotations: str | None = Field(
        None, description="COCO annotation file that gives every file name its image id"
    )
    image_column: str | None = Field(
        None, description="Parquet input: column of encoded images; found by name"
    )
    key_column: str | None = Field(None, description="Parquet input: column of image keys; found by name")
    anonymous: bool = Field(False, description="read the input's bucket without credentials: a public one")
    requester_pays: bool = Field(
        False, description="agree to pay for what is read from the input's bucket, where its owner wants that"
    )
    include: Texts = Field(
        (), description="patterns such as 'train/*,*.png' of the objects to take; * also stands for /"
    )
    exclude: Texts = Field(
        (), description="patterns such as '*.seg.png' of objects, and of members of tars, to leave out"
    )
    unit_images: int = Field(128, ge=1, description="images in a unit of work, at most")
    unit_bytes: int = Field(32 * 2**20, ge=1, description="encoded bytes in a unit of work, about")
    split_tars: bool = Field(True, description="cut tars into units; not for tars that hold tars")
    table_units: int = Field(512, ge=1, description="units in one file of the final tables")


class _Network(Settings):
    """Network."""

    model: str = Field(description="name of the network, such as dekr_w32, dekr_w48 or posrefine_tiny")
    weights: str = Field(
        description=f"weights file (path or URI) or zoo name; '{UNTRAINED}' runs the network as built, "
        "with poses that mean nothing"
    )
    score_weights: str | None = Field(
        None, description="weights of the rescoring network, if it is to be used"
    )
    skeleton: Skeleton = Field("coco", description="joint convention of the network")


class _TestTime(Settings):
    """Test time."""

    input_size: int | None = Field(
        None, ge=32, description="short side of the network's input, px; the model's own"
    )
    scales: Floats = Field((1.0,), min_length=1, description="scales of the test, such as 0.5,1,2")
    flip: bool = Field(True, description="average with the mirrored image")
    nms_threshold: float | None = Field(
        None, gt=0, description="pose NMS threshold; the protocol's: 0.05, or 0.15 with several scales"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic of the network; auto: the faster one, found when the run begins",
    )
    exif: ExifRule = Field("apply", description="EXIF orientation; COCO's own protocol ignores it")
    decode_smaller: bool = Field(
        True, description="decode photographs of twice the needed size and more by 1/2, 1/4 or 1/8"
    )


class _Limits(Settings):
    """Limits."""

    max_pixels: int = Field(
        100_000_000, ge=1, description="larger images are refused before decoding, as too_large"
    )
    max_image_bytes: int = Field(
        64 * 2**20, ge=1, description="larger files are refused before fetching, as too_large"
    )
    image_timeout_s: float = Field(
        60.0, gt=0, description="decoding one image may take this long; then it is left out, as timeout"
    )
    max_error_rate: float = Field(
        0.01, ge=0, le=1, description="share of failed images above which the exit code is 3"
    )
    min_score: float = Field(
        SCORE_FLOOR,
        description="persons from this score on are counted and shown; the tables hold all",
    )
    replaced_grace_s: float = Field(
        30.0, ge=0, description="how long files of the tables that were replaced stay for those who read them"
    )
    lock_expiry_s: float = Field(
        60.0,
        ge=1,
        le=LONGEST_EXPIRY_S,
        description="age of a heartbeat at which a lock counts as abandoned",
    )
    no_progress_timeout_s: float = Field(
        1800.0,
        gt=0,
        description="stop when nothing moved for this long; about three times the slowest unit",
    )


class _Cluster(Settings):
    """Cluster."""

    device: Device = Field("auto", description="where the network runs; auto: on a GPU where actors have one")
    actors: int | None = Field(
        None,
        ge=1,
        description="inference actors from start to end; as many as the cluster has GPUs, or else cores",
    )
    min_actors: int | None = Field(
        None,
        ge=1,
        description="in a cluster that grows: inference actors that must start within --actor-wait-s; 1",
    )
    max_actors: int | None = Field(
        None,
        ge=1,
        description="in a cluster that grows: most inference actors, on machines as they come; all that "
        "fit, 1000 at most",
    )
    num_gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs of one actor; 1 where the cluster has GPUs, else 0"
    )
    num_cpus_per_actor: float | None = Field(
        None,
        gt=0,
        description="CPUs of one actor; 1 beside a GPU, else about a core, on which it has a thread",
    )
    actor_wait_s: float = Field(
        600.0,
        gt=0,
        description="how long to wait for machines, and for actors while other jobs hold the cluster",
    )


class _Watching(Settings):
    """Watching."""

    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of the Prometheus metrics while the run lasts; 0: none"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address that the port listens on; 0.0.0.0: every address of the machine"
    )
    pushgateway: str | None = Field(None, description="URL of a Prometheus Pushgateway for the final metrics")
    otlp: str | None = Field(
        None, description="OpenTelemetry collector, such as http://127.0.0.1:4318, for the metrics; none"
    )
    openlineage: str | None = Field(
        None,
        description="address, such as http://marquez:5000/api/v1/lineage, for an OpenLineage event at start "
        "and end; none",
    )


class RunSettings(_Watching, _Cluster, _Limits, _TestTime, _Network, _Places):
    """Everything a run is told; secrets come from the cloud's own chain."""

    @field_validator("scales")
    @classmethod
    def _scales_are_positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0 or len(set(value)) != len(value):
            raise ValueError("scales must be positive and differ from each other")
        return value

    @model_validator(mode="after")
    def _actors_are_said_once(self) -> RunSettings:
        if self.actors is not None and self.grows:
            raise ValueError(
                "--actors says their number once and for all: leave out --min-actors and --max-actors"
            )
        least, most = self.min_actors, self.max_actors
        if least is not None and most is not None and least > most:
            raise ValueError(f"--min-actors {least} is above --max-actors {most}")
        return self

    @property
    def grows(self) -> bool:
        """Whether the inference actors take machines as these come and go."""
        return self.min_actors is not None or self.max_actors is not None

    def growing(self) -> RunSettings:
        """These settings for a cluster that is yet to grow: the same actors, as machines come for them."""
        if self.grows:
            return self
        bounds = {"actors": None, "min_actors": self.actors or 1, "max_actors": self.actors}
        return self.model_copy(update=bounds)

    @property
    def untrained(self) -> bool:
        """Whether the network runs without weights, so that its poses mean nothing."""
        return self.weights == UNTRAINED


class _Estimate(Settings):
    """Estimate."""

    images_per_second: float | None = Field(
        None, gt=0, description="speed of one device; none: hours and cost are left out"
    )
    price_per_device_hour: float | None = Field(None, ge=0, description="in any currency")


class EstimateSettings(_Estimate, RunSettings):
    """Those of a run whose work and cost are to be estimated."""
