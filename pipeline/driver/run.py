"""A run from its settings to its tables: opens the output, has pending units annotated, finalizes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.driver.attempts import (
    LoadNetwork,
    outcome_where_it_breaks_off,
    outcome_where_preparing_fails,
)
from pipeline.driver.drive import Drive
from pipeline.driver.few_images import are_few, is_ray_wanted
from pipeline.driver.machines import wait_for_machines
from pipeline.driver.precision import decide_precision, faster_on
from pipeline.driver.table_tasks import on_all_cores
from pipeline.ground_truth.annotations import read_image_names
from pipeline.ground_truth.image_names import ImageNames, NamedImages
from pipeline.inputs.access import reaching_input
from pipeline.inputs.cutting import cut_into_units, cut_options
from pipeline.inputs.manifest import Manifest
from pipeline.model.network import Network, load_network
from pipeline.output.counts import TableCounts
from pipeline.output.finalize import finalize, tables_are_current
from pipeline.output.generations import Generation
from pipeline.output.outcome import Outcome
from pipeline.output.publish import clean_tables, forget_logs
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.writer import OutputWriter, writing
from pipeline.ray_session import ray_session
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from pipeline.storage.uris import require_apart

__all__ = ["Job", "finalize_run", "go_on", "run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A run that may go ahead: its settings are good, and the output is new or its own."""

    settings: RunSettings
    output: RunOutput
    network: Network
    image_names: NamedImages
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
    RunOutput.at(settings.output, Storage()).require_own_place()
    with ExitStack() as session:
        with outcome_where_preparing_fails(settings):
            job = _prepare(settings, load, session)
        return _run(job)


def _run(job: Job) -> Outcome:
    settings = job.settings
    found = _complete_already(job)
    if found is not None:
        return found
    # Left from the last to the first: Ray's shutdown may take longer than a kill allows.
    with (
        Drive(settings, job.network, job.image_names) as drive,
        writing(job.output, settings.lock_expiry_s) as writer,
        outcome_where_it_breaks_off(writer, drive, started_at=job.started_at, note=job.network.note),
    ):
        return go_on(job, writer, drive)


def _complete_already(job: Job) -> Outcome | None:
    """The outcome of an output where nothing is left to do."""
    outcome, record, tables = job.output.outcome(), job.output.record(), job.output.counts()
    if outcome is None or not outcome.complete or record is None or tables is None:
        return None
    if not tables_are_current(job.output, record, job.output.finished_generations(record)[1:]):
        return None
    budget = job.settings.max_error_rate
    found = Outcome.completed(tables, None, max_error_rate=budget, started_at=job.started_at)
    return found.model_copy(
        update={
            "message": f"{found.message}; already complete, nothing was changed{_since(job, record, tables)}"
        }
    )


def _since(job: Job, record: RunRecord, tables: TableCounts) -> str:
    """What became of the input since, in words."""
    planned = job.output.generations(record)
    if unfinished := _unfinished(planned, tables):
        return unfinished
    with job.output.changes(job.settings.input, cut_options(job.settings), planned) as changes:
        if not changes:
            return ""
        return f"; but the input has changed since, {changes.in_words()}: `sync` brings the tables up to date"


def _unfinished(planned: Sequence[Generation], tables: TableCounts) -> str:
    """What a sync took and did not finish, in words."""
    if planned[-1].number <= tables.generation:
        return ""
    return f"; generation {planned[-1].number} is not finished: `sync` goes on with it"


@contextmanager
def opened_drive(settings: RunSettings, load: LoadNetwork, session: ExitStack) -> Iterator[Drive]:
    """The network on Ray for an output that has begun, with its precision; closed after the block.

    Raises:
        ConfigurationError: weights or annotation file cannot be used.
        FingerprintMismatch: the output belongs to a run with other weights or settings.
    """
    job = _prepare(settings, load, session)
    with Drive(job.settings, job.network, job.image_names) as drive:
        yield drive


def finalize_run(output: RunOutput, *, rebuild: bool = False) -> Outcome:
    """Write the tables of a run whose units are all there, and its outcome.

    Args:
        output: of the run.
        rebuild: whether the tables' logs are made anew, from the tables' files.

    Raises:
        ConfigurationError: no run has begun there, or units are missing.
        OutputLocked: a live run holds the output.
        InvariantBroken: rows and manifest do not agree.
    """
    started_at = datetime.now(UTC)
    record = output.require_record()
    settings = record.run_settings()
    with writing(output, settings.lock_expiry_s) as writer:
        before = output.counts()
        if rebuild:
            forget_logs(writer)
        later = output.finished_generations(record)[1:]
        tables = finalize(writer, record, output.manifest(record), later, write=on_all_cores)
        outcome = Outcome.completed(
            tables, None, max_error_rate=settings.max_error_rate, started_at=started_at
        )
        found = output.outcome()
        if found is None or not found.complete or tables != before:
            writer.outcome(outcome)
        clean_tables(writer, settings.replaced_grace_s)
        return outcome


def _prepare(settings: RunSettings, load: LoadNetwork, session: ExitStack) -> Job:
    started_at = datetime.now(UTC)
    storage = reaching_input(Storage(), settings.model_dump())
    output = RunOutput.at(settings.output, storage)
    record = output.record()
    # An input without anything to read is told before weights are fetched and Ray starts.
    few = record is None and are_few(cut_into_units(settings.input, storage, cut_options(settings)))
    network = load(settings, storage)
    image_names, annotations_sha256 = read_image_names(settings.annotations, storage)
    settings = _with_precision(_counting_as_begun(settings, record), record, session, few=few)
    fingerprint = Fingerprint.of(settings, network.identity, annotations_sha256)
    if record is not None:
        record.fingerprint.require_same(fingerprint, output.uri)
    return Job(settings, output, network, image_names, fingerprint, started_at)


def _counting_as_begun(settings: RunSettings, record: RunRecord | None) -> RunSettings:
    """The settings with the least score that the output began with: its files count persons from there."""
    if record is None or settings.min_score == record.min_score:
        return settings
    logger.warning(
        "--min-score %g: this run counts persons from %g on, as it began; report and export take another one",
        *(settings.min_score, record.min_score),
    )
    return settings.model_copy(update={"min_score": record.min_score})


def _with_precision(
    settings: RunSettings, record: RunRecord | None, session: ExitStack, *, few: bool
) -> RunSettings:
    """The settings with the precision that all attempts at this output share.

    Ray is opened to find it out, but for a `few` images that are not worth it.
    """
    if settings.precision != "auto":
        return settings
    if record is not None:
        return settings.model_copy(update={"precision": record.fingerprint.precision})
    if few and not is_ray_wanted(settings):
        return settings.model_copy(update={"precision": faster_on(settings.device).value})
    session.enter_context(ray_session())
    # Where the cluster has no machine yet, there is none to be asked.
    settings, _ = wait_for_machines(settings)
    return settings.model_copy(update={"precision": decide_precision(settings).value})


def go_on(job: Job, writer: OutputWriter, drive: Drive) -> Outcome:
    """Under the lock: from wherever the output stands to the tables."""
    record, manifest = _open_output(job, writer)
    done = set(writer.output.unit_ids())
    pending = [unit_id for unit_id in manifest.unit_ids() if unit_id not in done]
    if pending:
        drive.annotate(pending, manifest, record, writer)
    tables = finalize(
        writer, record, manifest, writer.output.finished_generations(record)[1:], write=on_all_cores
    )
    outcome = Outcome.completed(
        tables, drive.tally, max_error_rate=job.settings.max_error_rate, started_at=job.started_at
    )
    message = outcome.message + _unfinished(writer.output.generations(record), tables)
    outcome = outcome.model_copy(update={"message": message})
    writer.outcome(outcome)
    clean_tables(writer, job.settings.replaced_grace_s)
    return outcome


def _open_output(job: Job, writer: OutputWriter) -> tuple[RunRecord, Manifest]:
    """The record and manifest of the output, made now if this is its first run."""
    # Read again, now under the lock: another run may have begun the output in the meantime.
    record = writer.output.record()
    if record is not None:
        record.fingerprint.require_same(job.fingerprint, writer.output.uri)
        if job.settings.unit_images != record.settings.get("unit_images"):
            logger.info("the units are those that the run began with: another --unit-images changes nothing")
        return record, writer.output.manifest(record)
    manifest = writer.manifest(job.settings.input, cut_options(job.settings))
    if isinstance(job.image_names, ImageNames):
        job.image_names.require_one_image_each(
            entry.key for unit in manifest.units() for entry in unit.objects
        )
    record = RunRecord.of(job.settings, job.fingerprint, manifest.summary, job.network.note)
    writer.begin(record)
    return record, manifest
