"""One unit of a run again, in this process and without Ray: for looking into what became of its images."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.ground_truth.annotations import read_image_names
from pipeline.inputs.access import reaching_input
from pipeline.inputs.load import load_unit
from pipeline.inputs.readers import read_options
from pipeline.model.annotator import UnitAnnotator
from pipeline.model.network import load_network
from pipeline.output.record import Fingerprint
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table

__all__ = ["replay", "replayed_lines"]


def replay(output: RunOutput, unit_id: str, device: str) -> pa.Table:
    """The rows of one unit, made anew with the settings of its run; nothing is written.

    Args:
        output: of the run.
        unit_id: the unit.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Rows with `UNIT_SCHEMA`.

    Raises:
        ConfigurationError: no run has begun there, or it has no such unit.
        FingerprintMismatch: the weights or the annotation file are not those of the run any more.
    """
    record = output.require_record()
    unit = output.unit(record, unit_id)
    settings = record.run_settings()
    storage = reaching_input(output.storage, record.settings)
    network = load_network(settings, storage)
    image_names, annotations_sha256 = read_image_names(settings.annotations, storage)
    record.fingerprint.require_same(
        Fingerprint.of(settings, network.identity, annotations_sha256), output.uri
    )
    annotate = UnitAnnotator(network, settings, device, image_names)
    images = load_unit(unit, storage, read_options(settings, network.identity.input_size))
    return unit_table(unit.unit_id, annotate(images).results)


def replayed_lines(rows: pa.Table) -> Iterator[str]:
    """Rows with `UNIT_SCHEMA` for people: an image a line, its persons' scores and boxes below it."""
    for row in rows.to_pylist():
        size = f"{row['width']}x{row['height']}" if row["width"] is not None else "size unknown"
        reason = f": {row['error']}" if row["error"] else ""
        persons = f"{len(row['persons'])} persons"
        yield f"{row['image_key']}  {size}  {row['status']}{reason}  {persons}"
        for index, person in enumerate(row["persons"]):
            left, top, width, height = (round(value) for value in person["bbox"])
            yield f"  {index:2d}  score {person['score']:.3f}  {width}x{height} at {left},{top}"
