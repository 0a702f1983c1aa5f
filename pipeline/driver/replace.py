"""Another network for a standing data set: its output is made beside the old one, and then takes its place.

The new one is an ordinary output in a folder of the old one, `networks/…`, made by an ordinary run or
sync, while the old one can be read and synced as ever. Once it is complete its tables are published as
the next version of the old one's, and `_SUCCESS.json`, whose put is the switch, names the folder: before
it all is as it was, after it record, lists and units are those in the folder. What the old network left
is removed last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.driver.sync_gauges import SyncGauges
from pipeline.driver.table_tasks import on_all_cores
from pipeline.output.finalize import finalize
from pipeline.output.outcome import Outcome, is_over_budget
from pipeline.output.publish import clean_tables
from pipeline.output.record import Fingerprint
from pipeline.output.replaced import remove_replaced
from pipeline.output.run_output import RunOutput
from pipeline.output.writer import OutputWriter
from pipeline.settings.sync import SyncSettings
from pipeline.storage.uris import join_uri
from posrefine.errors import FingerprintMismatch

__all__ = ["NETWORKS", "replace_network", "require_same_input", "switch", "work_of"]

NETWORKS = "networks"


def work_of(wanted: Fingerprint) -> str:
    """The folder, below the output, where that network's is made; the same for the same settings."""
    return f"{NETWORKS}/{hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()[:12]}"


def require_same_input(here: Fingerprint, wanted: Fingerprint, uri: str) -> None:
    """Raise `FingerprintMismatch` where more than the network and its settings would be replaced.

    Coordinates of people's rows are in the frame that the rule for EXIF makes, so it stays, too.
    """
    if here.input != wanted.input or here.skeleton != wanted.skeleton:
        raise FingerprintMismatch(
            f"{uri} is of {here.input} with the joints of {here.skeleton}, not of {wanted.input} with those "
            f"of {wanted.skeleton}; --replace is for the same input; choose another --output"
        )
    if here.exif != wanted.exif:
        raise FingerprintMismatch(
            f"{uri} has its coordinates in frames made with --exif {here.exif}, not {wanted.exif}; --replace "
            f"keeps the frame, in which people's corrections are, too; give --exif {here.exif}, or choose "
            "another --output"
        )


def replace_network(
    settings: SyncSettings, output: RunOutput, work: str, make: Callable[[SyncSettings], Outcome]
) -> Outcome | None:
    """Bring the new network's output up to date, beside the old one.

    Args:
        settings: of the sync, with the new network.
        output: whose network it is to become.
        work: folder of the new one.
        make: makes or continues an output.

    Returns:
        None where it is complete; else how making it ended: then nothing is replaced.
    """
    beside = join_uri(output.uri, work)
    # Gauges of the standing data set are about the old one until then.
    given = settings.model_copy(
        update={"output": beside, "replace": False, "pushgateway": None, "otlp": None}
    )
    outcome, tables, old = make(given), RunOutput.at(beside, output.storage).counts(), output.counts()
    if outcome.complete and tables is not None:
        # All of it is judged, however many attempts it took. A shard that the old network could not read to
        # its end, either, keeps nobody from another one.
        too_many = is_over_budget(tables.images, tables.images - tables.ok, settings.max_error_rate)
        if not too_many and tables.broken_shards <= (0 if old is None else old.broken_shards):
            return None
        judged = Outcome.completed(
            tables, None, max_error_rate=settings.max_error_rate, started_at=outcome.started_at
        )
        outcome = outcome.model_copy(
            update={"exit_code": judged.exit_code, "result": judged.result, "message": judged.message}
        )
    return outcome.model_copy(update={"message": f"{outcome.message}; nothing was replaced, see {beside}"})


def switch(writer: OutputWriter, work: str, settings: SyncSettings) -> Outcome:
    """Let the complete output in the folder `work` take the place of the writer's.

    Raises:
        OutputLocked: the lease was lost.
    """
    started_at = datetime.now(UTC)
    old = writer.output
    writer = replace(writer, output=replace(old, tree=replace(old.tree, work=work)))
    record, before = writer.output.require_record(), old.counts()
    if before is not None and before.replaced != work:
        # One that was killed while it cleaned: nobody would know of what it left after this one.
        remove_replaced(replace(writer, output=old), before)
    # What was planned by others since then is the next sync's.
    beside = RunOutput.at(join_uri(old.uri, work), old.storage)
    tables = finalize(
        writer,
        record,
        writer.output.manifest(record),
        beside.finished_generations(record)[1:],
        write=on_all_cores,
    )
    outcome = Outcome.completed(tables, None, max_error_rate=settings.max_error_rate, started_at=started_at)
    words = f"the network is {record.fingerprint.model}, {record.weights} from now on"
    outcome = outcome.model_copy(update={"message": f"{words}; {outcome.message}"})
    writer.outcome(outcome)
    SyncGauges.of(settings).up_to_date(tables)
    clean_tables(writer, settings.replaced_grace_s)
    remove_replaced(writer, tables)
    return outcome
