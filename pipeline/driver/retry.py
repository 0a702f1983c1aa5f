"""Failed images of a run again: after uploads were repaired, or machines that kept dying were replaced.

They go through the stages like all images. Units without failed images are not touched, nor are the files of
the tables that hold nothing of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.driver.attempts import LoadNetwork, outcome_where_it_breaks_off
from pipeline.driver.drive import Drive
from pipeline.driver.table_tasks import on_all_cores
from pipeline.ground_truth.annotations import read_image_names
from pipeline.inputs.access import reaching_input
from pipeline.inputs.readers import ReadOptions, read_options
from pipeline.model.network import load_network
from pipeline.output.finalize import finalize
from pipeline.output.finished_units import DamagedUnit, iter_unit_footers
from pipeline.output.generations import Generation
from pipeline.output.outcome import Outcome
from pipeline.output.publish import clean_tables
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.writer import OutputWriter, writing

__all__ = ["retry_failed", "try_again"]


def retry_failed(
    output: RunOutput,
    device: str,
    *,
    max_pixels: int | None = None,
    max_image_bytes: int | None = None,
    load: LoadNetwork = load_network,
) -> Outcome:
    """Try the failed images of a finished run once more, and bring its tables up to date.

    An image that is an object of its own is taken as it is now, also where it was replaced since the manifest
    was made; the row's sha256 says which bytes were used. Images of shards are read from the pinned shard.

    Args:
        output: of the run.
        device: `auto`, `cpu` or `cuda`.
        max_pixels: limit on the images tried again; None: the run's own.
        max_image_bytes: likewise.
        load: makes the network; another one than `load_network` runs something else in its place.

    Raises:
        ConfigurationError: no run has begun there, or its units are not all finished.
        FingerprintMismatch: the weights or the annotation file are not those of the run any more.
        OutputLocked: another run holds the output.
        ShardError: a unit's file is damaged.
    """
    started_at, record = datetime.now(UTC), output.require_record()
    settings = record.run_settings()
    output = RunOutput(reaching_input(output.storage, record.settings), output.tree)
    network = load(settings, output.storage)
    image_names, annotations_sha256 = read_image_names(settings.annotations, output.storage)
    fingerprint = Fingerprint.of(settings, network.identity, annotations_sha256)
    record.fingerprint.require_same(fingerprint, output.uri)
    given = {"max_pixels": max_pixels, "max_image_bytes": max_image_bytes}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    reading = read_options(settings.model_copy(update=limits), network.identity.input_size)
    # The cluster that the run began on says nothing about this one.
    layout = ("actors", "min_actors", "max_actors", "num_gpus_per_actor", "num_cpus_per_actor")
    here = {"device": device, "metrics_port": 0} | dict.fromkeys(layout)
    settings = settings.model_copy(update=here)
    with (
        Drive(settings, network, image_names) as drive,
        writing(output, settings.lock_expiry_s) as writer,
    ):
        return try_again(writer, record, drive, reading, started_at)


def try_again(
    writer: OutputWriter, record: RunRecord, drive: Drive, reading: ReadOptions, started_at: datetime
) -> Outcome:
    """Under the lock: failed images once more, and the tables brought up to date."""
    manifest, generations = writer.output.manifest(record), writer.output.finished_generations(record)
    before = writer.output.counts() or finalize(writer, record, manifest, generations[1:], write=on_all_cores)
    # What is to be done is read from every unit, and a kill may leave tables that are behind them.
    writer.outcome(Outcome.under_way(before, started_at=started_at))
    with outcome_where_it_breaks_off(writer, drive, started_at=started_at, note=record.note):
        tables = finalize(writer, record, manifest, generations[1:], write=on_all_cores)
        failed = _units_with_failures(writer.output, record, generations)
        for generation, units in failed.items():
            planned = generations[generation - 1]
            drive.annotate(
                units,
                writer.output.manifest_of(planned),
                planned.record(record),
                writer.of(generation),
                again=reading,
            )
        if failed:
            tables = finalize(writer, record, manifest, generations[1:], write=on_all_cores)
    settings = record.run_settings()
    outcome = Outcome.completed(
        tables, drive.tally, max_error_rate=settings.max_error_rate, started_at=started_at
    )
    writer.outcome(outcome)
    clean_tables(writer, settings.replaced_grace_s)
    return outcome


def _units_with_failures(
    output: RunOutput, record: RunRecord, generations: Sequence[Generation]
) -> dict[int, list[str]]:
    """Those of these generations that have failed images, and which of their units have them."""
    failed = dict[int, list[str]]()
    files = ((number, file) for number, file in output.all_unit_files() if number <= len(generations))
    for found in iter_unit_footers(output.storage, files, record.run_id):
        if isinstance(found, DamagedUnit):
            raise found.error
        if found.footer.failed:
            failed.setdefault(found.generation, []).append(found.file.unit_id)
    return dict(sorted(failed.items()))
