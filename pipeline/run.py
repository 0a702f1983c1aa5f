"""A run from its settings to its tables: opens the output, has pending units annotated, finalizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.config import RunSettings
from pipeline.drive import Drive
from pipeline.finalize import finalize, read_table_counts
from pipeline.image_ids import ImageIds
from pipeline.layout import OutputTree
from pipeline.lock import RunLock
from pipeline.manifest import Manifest, PlanOptions, write_manifest
from pipeline.network import Network, load_network
from pipeline.outcome import Outcome, read_outcome
from pipeline.precision import decide_precision
from pipeline.record import Fingerprint, RunRecord, read_record, require_record
from pipeline.session import ray_session
from pipeline.storage import Storage
from pipeline.uris import require_apart
from posrefine.errors import (
    FingerprintMismatch,
    InvariantBroken,
    ObjectMissing,
    OutputLocked,
    PosRefineError,
    StorageError,
)

LoadNetwork = Callable[[RunSettings, Storage], Network]

__all__ = ["finalize_run", "open_manifest", "plan_options", "read_image_ids", "run"]


@dataclass(frozen=True)
class _Job:
    """A run that may go ahead: its settings are good, and the output is new or its own."""

    settings: RunSettings
    storage: Storage
    tree: OutputTree
    network: Network
    image_ids: ImageIds
    fingerprint: Fingerprint
    started_at: datetime


def run(settings: RunSettings, load: LoadNetwork = load_network) -> Outcome:
    """Annotate the input into the output, or go on with it; a finished output is left as it is.

    Args:
        settings: of the run.
        load: makes the network; another one than `load_network` runs something else in its place.

    Raises:
        ConfigurationError: settings, weights or input cannot be used.
        FingerprintMismatch: the output belongs to a run with other settings.
        OutputLocked: another run is at work there.
        StorageError: the store could not be reached or refused, after all retries.
        InvariantBroken: rows and manifest do not agree.
    """
    require_apart(settings.input, settings.output)
    with ExitStack() as session:
        with _outcome_where_preparing_fails(settings):
            job = _prepare(settings, load, session)
        return _run(job)


def _run(job: _Job) -> Outcome:
    settings = job.settings
    tables, outcome = read_table_counts(job.storage, job.tree), read_outcome(job.storage, job.tree)
    if tables is not None and outcome is not None and outcome.complete:
        found = Outcome.completed(
            tables, None, max_error_rate=settings.max_error_rate, started_at=job.started_at
        )
        return found.model_copy(update={"message": f"{found.message}; already complete, nothing was changed"})
    storage = job.storage.probe_create_only(job.tree.root)
    # Left from the last to the first: Ray's shutdown may take longer than a kill allows.
    with (
        Drive(settings, storage, job.tree, job.network, job.image_ids) as drive,
        RunLock(storage, job.tree.lock, settings.lock_expiry_s) as lock,
        _outcome_where_it_breaks_off(job, drive),
    ):
        return _go_on(job, storage, drive, lock)


def finalize_run(output: str, storage: Storage) -> Outcome:
    """Write the tables of a run whose units are all there, and its outcome.

    Raises:
        ConfigurationError: no run has begun there, or units are missing.
        OutputLocked: a live run holds the output.
        InvariantBroken: rows and manifest do not agree.
    """
    started_at = datetime.now(UTC)
    tree = OutputTree.at(output)
    record = require_record(storage, tree)
    settings = RunSettings(**record.settings)
    with RunLock(storage, tree.lock, settings.lock_expiry_s):
        tables = finalize(storage, tree, record, open_manifest(storage, tree, record))
        outcome = Outcome.completed(
            tables, None, max_error_rate=settings.max_error_rate, started_at=started_at
        )
        found = read_outcome(storage, tree)
        if found is None or not found.complete:
            storage.put(tree.outcome, outcome.encode())
        return outcome


def plan_options(settings: RunSettings) -> PlanOptions:
    """How the settings cut the input into units."""
    return PlanOptions(
        unit_images=settings.unit_images,
        unit_bytes=settings.unit_bytes,
        split_tars=settings.split_tars,
        image_column=settings.image_column,
    )


def open_manifest(storage: Storage, tree: OutputTree, record: RunRecord) -> Manifest:
    """The frozen manifest of a run.

    Raises:
        InvariantBroken: it is not the one that the run began with.
    """
    try:
        manifest = Manifest.open(tree.manifest, storage)
    except ObjectMissing as error:
        raise InvariantBroken(
            f"{tree.manifest}: gone, though {tree.run} is there; choose a new --output"
        ) from error
    if manifest.summary.digest != record.manifest_digest:
        raise InvariantBroken(
            f"{tree.manifest}: digest {manifest.summary.digest}, but run.json says {record.manifest_digest}; "
            "one of them was replaced: choose a new --output"
        )
    return manifest


def read_image_ids(settings: RunSettings, storage: Storage) -> tuple[ImageIds, str | None]:
    """The image ids that the settings ask for, and the sha256 of their annotation file if there is one."""
    if settings.annotations is None:
        return ImageIds(), None
    data = storage.read_bytes(settings.annotations)
    return ImageIds.parse(data, settings.annotations), hashlib.sha256(data).hexdigest()


def _prepare(settings: RunSettings, load: LoadNetwork, session: ExitStack) -> _Job:
    started_at = datetime.now(UTC)
    storage, tree = Storage(), OutputTree.at(settings.output)
    network = load(settings, storage)
    image_ids, annotations_sha256 = read_image_ids(settings, storage)
    record = read_record(storage, tree)
    settings = _with_precision(settings, record, session)
    fingerprint = Fingerprint.of(settings, network, annotations_sha256)
    if record is not None:
        record.fingerprint.require_same(fingerprint, tree.root)
    return _Job(settings, storage, tree, network, image_ids, fingerprint, started_at)


def _with_precision(settings: RunSettings, record: RunRecord | None, session: ExitStack) -> RunSettings:
    """The settings with the precision that all attempts at this output share; opens Ray to find it out."""
    if settings.precision != "auto":
        return settings
    if record is not None:
        return settings.model_copy(update={"precision": record.fingerprint.precision})
    session.enter_context(ray_session())
    return settings.model_copy(update={"precision": decide_precision(settings).value})


def _go_on(job: _Job, storage: Storage, drive: Drive, lock: RunLock) -> Outcome:
    """Under the lock: from wherever the output stands to the tables."""
    record, manifest = _open_output(job, storage)
    done = {job.tree.unit_id(found.uri) for found in storage.list(job.tree.units)}
    pending = [unit_id for unit_id in manifest.unit_ids() if unit_id not in done]
    if pending:
        drive.annotate(pending, manifest, record, lock)
    tables = finalize(storage, job.tree, record, manifest)
    outcome = Outcome.completed(
        tables, drive.tally, max_error_rate=job.settings.max_error_rate, started_at=job.started_at
    )
    storage.put(job.tree.outcome, outcome.encode())
    return outcome


def _open_output(job: _Job, storage: Storage) -> tuple[RunRecord, Manifest]:
    """The record and manifest of the output, made now if this is its first run."""
    # Read again, now under the lock: another run may have begun the output in the meantime.
    record = read_record(storage, job.tree)
    if record is not None:
        record.fingerprint.require_same(job.fingerprint, job.tree.root)
        return record, open_manifest(storage, job.tree, record)
    # Without run.json a manifest is what a run left that died before it had begun.
    storage.delete(job.tree.manifest)
    manifest = write_manifest(job.settings.input, job.tree.manifest, storage, plan_options(job.settings))
    record = RunRecord.of(job.settings, job.fingerprint, manifest.summary, job.network.note)
    storage.create(job.tree.run, record.encode())
    return record, manifest


@contextmanager
def _outcome_where_preparing_fails(settings: RunSettings) -> Iterator[None]:
    """Writes `outcome.json` where the block raises, unless there is one: the output may be another run's."""
    started_at = datetime.now(UTC)
    try:
        yield
    except (FingerprintMismatch, OutputLocked):
        raise
    except PosRefineError as error:
        outcome = Outcome.broken_off(error, None, started_at=started_at, note=None)
        with suppress(StorageError):
            Storage().create(OutputTree.at(settings.output).outcome, outcome.encode())
        raise


@contextmanager
def _outcome_where_it_breaks_off(job: _Job, drive: Drive) -> Iterator[None]:
    """Writes `outcome.json` where the block raises, if the store still lets it."""
    try:
        yield
    except BaseException as error:
        outcome = Outcome.broken_off(error, drive.tally, started_at=job.started_at, note=job.network.note)
        with suppress(StorageError):
            job.storage.put(job.tree.outcome, outcome.encode())
        raise
