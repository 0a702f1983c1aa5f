"""What a run is, frozen in `run.json` when it begins: resuming with anything else is refused."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, field_validator

from pipeline.inputs.manifest import ManifestSummary
from pipeline.output.numbers import Count
from pipeline.output.schema import SCHEMA_VERSION, TableMetadata
from pipeline.settings.problems import problems_of
from pipeline.settings.run import RunSettings
from pipeline.storage.uris import normalise_uri
from posrefine.errors import ConfigurationError, FingerprintMismatch
from posrefine.redaction import redacted, redacted_values
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import SKELETONS
from posrefine.version import code_version

__all__ = [
    "UNTRAINED_NOTE",
    "Fingerprint",
    "NetworkIdentity",
    "RunRecord",
]

UNTRAINED_NOTE = "untrained network: the poses mean nothing"


@dataclass(frozen=True)
class NetworkIdentity:
    """What of a loaded network decides its poses.

    Attributes:
        weights_sha256: of the weights file; of the tensors themselves for an untrained network.
        score_weights_sha256: of the rescoring network's file, if there is one.
        protocol: name of the test-time protocol that the weights were trained for.
        input_size: short side of the network's input, px.
    """

    weights_sha256: str
    score_weights_sha256: str | None
    protocol: str
    input_size: int


class Fingerprint(BaseModel):
    """Everything that decides what a row holds; two runs with equal fingerprints write the same rows.

    The weights are named by their sha256 alone, so the same file may lie somewhere else the next time. Of the
    input the manifest's digest is in the record beside this, for it is known only once the input was listed.
    What only shapes the work (the size of units, the number of actors) is not here: the manifest is frozen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    input: str
    split_tars: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    image_column: str | None
    key_column: str | None
    annotations_sha256: str | None
    model: str
    skeleton: str
    weights_sha256: str
    score_weights_sha256: str | None
    protocol: str
    input_size: int
    scales: tuple[float, ...]
    flip: bool
    nms_threshold: float | None
    precision: str
    exif: str
    decode_smaller: bool
    max_pixels: int
    max_image_bytes: int

    @staticmethod
    def of(settings: RunSettings, network: NetworkIdentity, annotations_sha256: str | None) -> Fingerprint:
        """The fingerprint that these settings ask for."""
        return Fingerprint(
            schema_version=SCHEMA_VERSION,
            input=normalise_uri(settings.input),
            annotations_sha256=annotations_sha256,
            weights_sha256=network.weights_sha256,
            score_weights_sha256=network.score_weights_sha256,
            protocol=network.protocol,
            input_size=network.input_size,
            **settings.model_dump(
                include={
                    *(
                        "split_tars",
                        "include",
                        "exclude",
                        "image_column",
                        "key_column",
                        "model",
                        "skeleton",
                        "scales",
                        "flip",
                    ),
                    *(
                        "nms_threshold",
                        "precision",
                        "exif",
                        "decode_smaller",
                        "max_pixels",
                        "max_image_bytes",
                    ),
                }
            ),
        )

    def require_same(self, wanted: Fingerprint, uri: str) -> None:
        """Raise `FingerprintMismatch`, naming every field that differs, unless `wanted` equals this one."""
        here, there = self.model_dump(), wanted.model_dump()
        differing = [
            f"{name}: {here[name]!r} there, {there[name]!r} now" for name in here if here[name] != there[name]
        ]
        if differing:
            raise FingerprintMismatch(
                f"{uri} belongs to a different run ({'; '.join(differing)}); "
                "choose another --output, or the settings of that run"
            )


class RunRecord(BaseModel):
    """What `run.json` says.

    Attributes:
        fingerprint: what decides the rows.
        manifest_digest: of the frozen list of units.
        units: units of the manifest.
        images: images known from listing; those of tars are not among them.
        input_bytes: of the input.
        skipped: objects below the input that are none, by suffix or the words of `pipeline.inputs.selection`.
        table_units: units in one file of the tables; never changes, so file i always holds group i.
        settings: all settings of the run that began the output.
        weights: what the weights were called.
        code_version: of the code that began the output.
        created_at: when.
        note: what must be known about the network's poses, such as that they mean nothing.
        lease_generation: of the lease under which it was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: Fingerprint
    manifest_digest: str
    units: NonNegativeInt
    images: int
    input_bytes: int
    skipped: dict[str, int] = {}
    table_units: PositiveInt
    settings: dict[str, Any]
    weights: str
    code_version: str
    created_at: datetime
    note: str | None = None
    lease_generation: Count | None = None

    @field_validator("settings")
    @classmethod
    def _counts_by_a_number(cls, settings: dict[str, Any]) -> dict[str, Any]:
        found = settings.get("min_score", SCORE_FLOOR)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise ValueError(f"min_score is {found!r}, wanted a number")
        return settings

    @staticmethod
    def of(
        settings: RunSettings, fingerprint: Fingerprint, summary: ManifestSummary, note: str | None
    ) -> RunRecord:
        """The record of a run that begins now."""
        return RunRecord(
            fingerprint=fingerprint,
            manifest_digest=summary.digest,
            units=summary.units,
            images=summary.images,
            input_bytes=summary.size_bytes,
            skipped=summary.skipped,
            table_units=settings.table_units,
            settings=redacted_values(settings.model_dump(mode="json")),
            weights=redacted(settings.weights),
            code_version=code_version(),
            created_at=datetime.now(UTC),
            note=note,
        )

    @property
    def run_id(self) -> str:
        """The same in all files of the run. Runs that share it write the same rows."""
        decides = f"{self.fingerprint.model_dump_json()}\n{self.manifest_digest}"
        return hashlib.sha256(decides.encode()).hexdigest()[:16]

    @property
    def min_score(self) -> float:
        """The score from which persons are counted and shown; the same for all attempts."""
        return float(self.settings.get("min_score", SCORE_FLOOR))

    def run_settings(self) -> RunSettings:
        """The settings that the output began with, from this record alone.

        What has been set since, by environment or YAML file, does not matter.

        Raises:
            ConfigurationError: they are not settings of this version.
        """
        try:
            return RunSettings.model_validate(self.settings)
        except ValidationError as error:
            raise ConfigurationError(
                f"run.json: its settings are not of this version ({problems_of(error)}); "
                "choose another --output"
            ) from error

    def table_metadata(self) -> TableMetadata:
        """What the run's Parquet files say about their numbers, and about reading their images again."""
        access = {name: self.settings.get(name, False) for name in ("anonymous", "requester_pays")}
        settings = self.fingerprint.model_dump(mode="json") | access | {"min_score": self.min_score}
        return TableMetadata(
            skeleton=SKELETONS[self.fingerprint.skeleton],
            model=self.fingerprint.model,
            weights=self.weights,
            weights_sha256=self.fingerprint.weights_sha256,
            settings=json.dumps(settings),
            code_version=self.code_version,
            run_id=self.run_id,
            note=self.note,
        )

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()
