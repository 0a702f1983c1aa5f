"""What a run is, frozen in `run.json` when it begins: resuming with anything else is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config import RunSettings
from pipeline.layout import OutputTree
from pipeline.manifest import ManifestSummary
from pipeline.schema import SCHEMA_VERSION, TableMetadata
from pipeline.storage import Storage
from pipeline.uris import normalise_uri
from posrefine.errors import ConfigurationError, FingerprintMismatch, ObjectMissing
from posrefine.skeletons import SKELETONS

if TYPE_CHECKING:
    from pipeline.network import Network  # brings Torch, which readers of records can do without

__all__ = ["UNTRAINED_NOTE", "Fingerprint", "RunRecord", "code_version", "read_record", "require_record"]

UNTRAINED_NOTE = "untrained network: the poses mean nothing"


class Fingerprint(BaseModel):
    """Everything that decides what a row holds; two runs with equal fingerprints write the same rows.

    The weights are named by their sha256 alone, so the same file may lie somewhere else the next time. Of the
    input the manifest's digest is in the record beside this, for it is known only once the input was listed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    input: str
    unit_images: int
    unit_bytes: int
    split_tars: bool
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
    max_pixels: int
    max_image_bytes: int

    @staticmethod
    def of(settings: RunSettings, network: Network, annotations_sha256: str | None) -> Fingerprint:
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
                        "unit_images",
                        "unit_bytes",
                        "split_tars",
                        "image_column",
                        "key_column",
                        "model",
                        "skeleton",
                        "scales",
                        "flip",
                    ),
                    *("nms_threshold", "precision", "exif", "max_pixels", "max_image_bytes"),
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
        table_units: units in one file of the tables; never changes, so file i always holds group i.
        settings: all settings of the run that began the output.
        weights: what the weights were called.
        code_version: of the package that began the output.
        created_at: when.
        note: what must be known about the network's poses, such as that they mean nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: Fingerprint
    manifest_digest: str
    units: int
    images: int
    input_bytes: int
    table_units: int
    settings: dict[str, Any]
    weights: str
    code_version: str
    created_at: datetime
    note: str | None = None

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
            table_units=settings.table_units,
            settings=settings.model_dump(mode="json"),
            weights=settings.weights,
            code_version=code_version(),
            created_at=datetime.now(UTC),
            note=note,
        )

    def table_metadata(self) -> TableMetadata:
        """What the run's Parquet files say about their numbers."""
        return TableMetadata(
            skeleton=SKELETONS[self.fingerprint.skeleton],
            model=self.fingerprint.model,
            weights=self.weights,
            weights_sha256=self.fingerprint.weights_sha256,
            settings=json.dumps(self.fingerprint.model_dump(mode="json")),
            code_version=self.code_version,
            note=self.note,
        )

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()


def read_record(storage: Storage, tree: OutputTree) -> RunRecord | None:
    """The record of the run at `tree`; None where none has begun.

    Raises:
        ConfigurationError: what is there is no run record of this version.
    """
    try:
        return RunRecord.model_validate_json(storage.read_bytes(tree.run))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise ConfigurationError(f"{tree.run}: no run record of this version ({error})") from error


def require_record(storage: Storage, tree: OutputTree) -> RunRecord:
    """The record of the run at `tree`; `ConfigurationError` where none has begun."""
    record = read_record(storage, tree)
    if record is None:
        raise ConfigurationError(f"{tree.root}: no run has begun there (no run.json); correct --output")
    return record


def code_version() -> str:
    """Version of the installed package; `source` where it runs from a plain working directory."""
    try:
        return version("posrefine")
    except PackageNotFoundError:
        return "source"
