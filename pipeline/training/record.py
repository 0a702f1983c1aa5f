"""The record of a training, `training.json`: written when it begins, to refuse other settings later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.settings.problems import problems_of
from pipeline.settings.training import MAY_CHANGE, TrainSettings
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri, normalise_uri
from posrefine.errors import ConfigurationError, FingerprintMismatch, ObjectExists, ObjectMissing
from posrefine.redaction import redacted_values
from posrefine.version import code_version

__all__ = ["RECORD_NAME", "TrainingRecord", "begin_or_resume", "require_same_settings"]

RECORD_NAME = "training.json"

_KNOWN_BY_CONTENT = {"annotations", "val_annotations", "val_names", "weights"}
"""Files that are the same ones wherever they lie, and others when they are written anew."""

_PLACES = ("images", "val_images")


class TrainingRecord(BaseModel):
    """Content of `training.json`: everything that decides the weights.

    Attributes:
        settings: by name; those of where it computes and of how its end is published are not among them.
        contents: what the named files hold: sha256 of annotation files, of the list of images kept apart and
            of the first weights, and the number of images of every source and every validation set.
        code_version: of the code that began the training.
        created_at: when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, Any]
    contents: dict[str, Any]
    code_version: str
    created_at: datetime


def require_same_settings(settings: TrainSettings, storage: Storage) -> None:
    """Refuse settings that are not those of the training at their output, if one has begun there.

    Before anything else is read, so that it is soon said.

    Raises:
        FingerprintMismatch: a setting that decides the weights is another one.
        ConfigurationError: `training.json` is no record of this version.
    """
    uri = _record_uri(settings)
    record = _read(storage, uri)
    if record is not None:
        _require_same(record.settings, _deciding(settings), uri)


def begin_or_resume(settings: TrainSettings, contents: dict[str, Any], storage: Storage) -> None:
    """Record a training at its output, or refuse one that is not the training begun there.

    Args:
        settings: of the training.
        contents: of the files that they name, as JSON has them; see `TrainingRecord`.
        storage: of the output.

    Raises:
        FingerprintMismatch: the output belongs to a training with other settings or other data.
        ConfigurationError: `training.json` is no record of this version.
    """
    uri = _record_uri(settings)
    wanted = TrainingRecord(
        settings=_deciding(settings),
        contents=contents,
        code_version=code_version(),
        created_at=datetime.now(UTC),
    )
    record = _read(storage, uri) or _created(storage, uri, wanted)
    _require_same(record.settings | record.contents, wanted.settings | contents, uri)


def _record_uri(settings: TrainSettings) -> str:
    return join_uri(settings.output, RECORD_NAME)


def _read(storage: Storage, uri: str) -> TrainingRecord | None:
    try:
        return TrainingRecord.model_validate_json(storage.read_bytes(uri))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise ConfigurationError(
            f"{uri}: no training record of this version ({problems_of(error)})"
        ) from error


def _created(storage: Storage, uri: str, wanted: TrainingRecord) -> TrainingRecord:
    """The record that is there now: `wanted`, or that of somebody who was faster."""
    try:
        storage.create(uri, wanted.model_dump_json(indent=2).encode())
    except ObjectExists:
        return _read(storage, uri) or wanted
    return wanted


def _deciding(settings: TrainSettings) -> dict[str, Any]:
    """The settings that decide the weights, as JSON has them."""
    values = settings.model_dump(mode="json", exclude={*MAY_CHANGE, *_KNOWN_BY_CONTENT})
    for name in _PLACES:
        value = values[name]
        if value is not None:
            values[name] = normalise_uri(value) if isinstance(value, str) else [*map(normalise_uri, value)]
    return dict(redacted_values(values))


def _require_same(there: dict[str, Any], now: dict[str, Any], uri: str) -> None:
    names = sorted(there.keys() | now.keys())
    differing = [
        f"{name}: {there.get(name)!r} there, {now.get(name)!r} now"
        for name in names
        if there.get(name) != now.get(name)
    ]
    if differing:
        raise FingerprintMismatch(
            f"{uri} belongs to a different training ({'; '.join(differing)}); "
            "choose another --output, or the settings of that training"
        )
