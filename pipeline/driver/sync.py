"""A standing data set: one output kept true to an input that grows, generation by generation.

Listing, comparing and publishing need neither Torch nor Ray; both are loaded where there is something to
annotate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Protocol

from pipeline.driver.attempts import LoadNetwork, Tallied, outcome_where_it_breaks_off
from pipeline.driver.replace import replace_network, require_same_input, switch, work_of
from pipeline.driver.sync_gauges import SyncGauges
from pipeline.driver.table_tasks import on_all_cores
from pipeline.inputs.access import reaching_input
from pipeline.inputs.cutting import cut_options
from pipeline.inputs.manifest import Manifest
from pipeline.output.counts import TableCounts
from pipeline.output.finalize import finalize, tables_are_current
from pipeline.output.generations import Generation
from pipeline.output.outcome import Outcome
from pipeline.output.publish import clean_tables
from pipeline.output.record import Fingerprint, NetworkIdentity, RunRecord
from pipeline.output.replaced import remove_replaced
from pipeline.output.run_output import RunOutput
from pipeline.output.tally import RunTally
from pipeline.output.writer import OutputWriter, writing
from pipeline.settings.sync import SyncSettings
from pipeline.storage import Storage
from pipeline.storage.uris import require_apart
from posrefine.errors import ConfigurationError, FingerprintMismatch

if TYPE_CHECKING:
    from pipeline.driver.drive import Drive

__all__ = ["Annotator", "Opens", "bring_up_to_date", "require_same_settings", "sync"]

_NAMED = ("weights", "score_weights", "annotations", "input_size")


class Annotator(Tallied, Protocol):
    """Annotates units: `Drive`, on Ray."""

    def annotate(
        self, pending: Sequence[str], manifest: Manifest, record: RunRecord, writer: OutputWriter
    ) -> None:
        """Annotate and commit the pending units."""


Opens = Callable[[], Annotator]
"""Makes what annotates, once it is known that the weights and settings are those of the output."""


def sync(settings: SyncSettings, load: LoadNetwork | None = None) -> Outcome:
    """Bring the output up to date with its input; the first time that is a run.

    Args:
        settings: of the run.
        load: makes the network; by default `load_network`.

    Raises:
        ConfigurationError: settings, weights or input cannot be used, or the whole input is gone.
        FingerprintMismatch: the output belongs to a run with other weights or settings, and they are not to
            be replaced.
        OutputLocked: another process is at work there.
        StorageError: the store could not be reached or refused, after all retries.
        InvariantBroken: rows and manifests do not agree.
    """
    require_apart(settings.input, settings.output)
    RunOutput.at(settings.output, Storage()).require_own_place()
    output = RunOutput.at(settings.output, reaching_input(Storage(), settings.model_dump()))
    record = output.record()
    if record is None or (output.counts() is None and len(output.generations(record)) == 1):
        return _first(settings, load)
    with ExitStack() as session:

        @cache
        def opens() -> Drive:
            from pipeline.driver.run import opened_drive
            from pipeline.model.network import load_network

            return session.enter_context(opened_drive(settings, load or load_network, session))

        if settings.replace:
            work = _another_network(settings, output, record, load)
            if work is not None:
                return _replace(settings, output, work, load)
        if not require_same_settings(settings, record, output.uri):
            opens()
        with writing(output, settings.lock_expiry_s) as writer:
            return bring_up_to_date(settings, writer, record, opens)


def bring_up_to_date(
    settings: SyncSettings, writer: OutputWriter, record: RunRecord, opens: Opens
) -> Outcome:
    """Under the lock: from wherever the output stands to tables that are as the input is.

    Args:
        settings: of the run.
        writer: of the output.
        record: of the run.
        opens: called where there are units to annotate; it refuses other weights and settings.
    """
    work = _Work(opens)
    with outcome_where_it_breaks_off(writer, work, started_at=work.started_at, note=record.note):
        planned, ended = writer.output.generations(record), list[Outcome]()
        tables = writer.output.counts()
        if tables is None or tables.generation < planned[-1].number:
            # What an earlier sync took and did not finish; what arrived since is not left for another night.
            tables, outcome = _add(settings, writer, record, planned, work)
            ended.append(outcome)
        added = _plan(settings, writer, planned, work)
        if added is not None:
            planned.append(added)
            tables, outcome = _add(settings, writer, record, planned, work)
            ended.append(outcome)
        elif not ended:
            if not tables_are_current(writer.output, record, planned[1:]):
                tables = finalize(
                    writer, record, writer.output.manifest(record), planned[1:], write=on_all_cores
                )
            ended.append(
                Outcome.synced(
                    tables,
                    None,
                    "nothing new",
                    generation=None,
                    max_error_rate=settings.max_error_rate,
                    started_at=work.started_at,
                )
            )
        outcome = Outcome.of_both(*ended)
        writer.outcome(outcome)
        SyncGauges.of(settings).up_to_date(tables)
        _tidy(settings, writer, planned, tables)
        return outcome


def require_same_settings(settings: SyncSettings, record: RunRecord, uri: str) -> bool:
    """Whether the settings are those of the output for certain, without opening weights.

    Where weights and annotation file are called as they were, nothing is known of what they hold; that is
    asked once there is something to annotate.

    Raises:
        FingerprintMismatch: other settings than the output's, whatever the weights hold.
    """
    before, there = record.run_settings(), record.fingerprint
    if any(getattr(settings, name) != getattr(before, name) for name in _NAMED):
        return False
    identity = NetworkIdentity(
        there.weights_sha256, there.score_weights_sha256, there.protocol, there.input_size
    )
    if settings.precision == "auto":
        settings = settings.model_copy(update={"precision": there.precision})
    there.require_same(Fingerprint.of(settings, identity, there.annotations_sha256), uri)
    return True


def _another_network(
    settings: SyncSettings, output: RunOutput, record: RunRecord, load: LoadNetwork | None
) -> str | None:
    """The folder in which the settings' network gets its output; None if it is the output's own.

    Raises:
        ConfigurationError: weights or annotation file cannot be used.
        FingerprintMismatch: not only the network is another one.
    """
    from pipeline.ground_truth.annotations import read_image_names
    from pipeline.model.network import load_network

    try:
        if require_same_settings(settings, record, output.uri):
            return None
    except FingerprintMismatch:
        pass
    network = (load or load_network)(settings, output.storage)
    _, annotations_sha256 = read_image_names(settings.annotations, output.storage)
    wanted = Fingerprint.of(settings, network.identity, annotations_sha256)
    there = record.fingerprint
    if there in (wanted, wanted.model_copy(update=_precision_as_begun(settings, there))):
        return None
    require_same_input(there, wanted, output.uri)
    return work_of(wanted)


def _precision_as_begun(settings: SyncSettings, there: Fingerprint) -> dict[str, str]:
    return {"precision": there.precision} if settings.precision == "auto" else {}


def _replace(settings: SyncSettings, output: RunOutput, work: str, load: LoadNetwork | None) -> Outcome:
    unfinished = replace_network(settings, output, work, lambda given: sync(given, load))
    if unfinished is not None:
        return unfinished
    with writing(output, settings.lock_expiry_s) as writer:
        return switch(writer, work, settings)


def _first(settings: SyncSettings, load: LoadNetwork | None) -> Outcome:
    from pipeline.driver.run import run
    from pipeline.model.network import load_network
    from pipeline.settings.run import RunSettings

    given = settings.model_dump(include=set(RunSettings.model_fields))
    outcome = run(RunSettings.model_validate(given), load or load_network)
    tables = RunOutput.at(settings.output, Storage()).counts()
    if outcome.complete and tables is not None:
        SyncGauges.of(settings).up_to_date(tables)
    return outcome


class _Work:
    """The annotator, made when it is needed."""

    def __init__(self, opens: Opens) -> None:
        self._opens = opens
        self._opened: list[Annotator] = []
        self.started_at = datetime.now(UTC)

    @property
    def tally(self) -> RunTally | None:
        """Where it stands; None where there was nothing to do."""
        return self._opened[0].tally if self._opened else None

    def open(self) -> Annotator:
        """It; made by the first call."""
        if not self._opened:
            self._opened.append(self._opens())
        return self._opened[0]


def _plan(
    settings: SyncSettings, writer: OutputWriter, planned: Sequence[Generation], work: _Work
) -> Generation | None:
    """The next generation, stored for good; None where nothing is new, stale or orphaned."""
    with writer.output.changes(settings.input, cut_options(settings), planned) as changes:
        if not changes:
            return None
        if not changes.known and not settings.accept_empty:
            raise ConfigurationError(
                f"{settings.input}: nothing is left of it, and all {changes.orphaned:,} images and shards "
                "would leave the tables; check the address and the mount, or say --accept-empty if it is so"
            )
        backlog = changes.new + changes.stale
        if backlog:
            SyncGauges.of(settings).behind(backlog, changes.oldest_s)
        if changes.units.units:
            # Other weights are refused here, before anything is stored.
            work.open()
        return writer.plan(changes, planned)


def _add(
    settings: SyncSettings,
    writer: OutputWriter,
    record: RunRecord,
    planned: Sequence[Generation],
    work: _Work,
) -> tuple[TableCounts, Outcome]:
    """Annotate what the last generation took, and publish it."""
    last, own = planned[-1], writer.of(planned[-1].number)
    done = set(own.output.unit_ids())
    pending = [unit_id for unit_id in last.unit_ids if unit_id not in done]
    if pending:
        work.open().annotate(pending, own.output.manifest_of(last), last.record(record), own)
    tables = finalize(writer, record, writer.output.manifest(record), planned[1:], write=on_all_cores)
    outcome = Outcome.synced(
        tables,
        work.tally,
        f"generation {last.number}: {last.in_words()}",
        generation=last.number,
        max_error_rate=settings.max_error_rate,
        started_at=work.started_at,
    )
    return tables, outcome


def _tidy(
    settings: SyncSettings, writer: OutputWriter, planned: Sequence[Generation], tables: TableCounts
) -> None:
    """Remove what nothing needs any more, after the outcome: a kill only leaves it to the next sync."""
    clean_tables(writer, settings.replaced_grace_s)
    remove_replaced(writer, tables)
    # The input is compared with the last inventory alone.
    for earlier in planned[-3:-1]:
        writer.forget_inventory(earlier)
