"""The formats by name, and the one way into them."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.export.coco import export_coco, export_coco_results
from pipeline.export.fiftyone import export_fiftyone
from pipeline.export.label_studio import export_label_studio
from pipeline.export.overlays import export_overlays
from pipeline.export.source import ExportOptions, ExportSource, ExportSummary
from pipeline.export.yolo import export_yolo
from pipeline.inputs.selection import Form, Selection
from pipeline.output.run_output import RunOutput
from pipeline.storage import Storage
from pipeline.storage.uris import is_inside, normalise_uri
from posrefine.errors import ConfigurationError

__all__ = ["EXPORT_FORMATS", "export_run"]

EXPORT_FORMATS: dict[str, Callable[[ExportSource, str], ExportSummary]] = {
    "coco": export_coco,
    "coco-results": export_coco_results,
    "fiftyone": export_fiftyone,
    "label-studio": export_label_studio,
    "overlays": export_overlays,
    "yolo": export_yolo,
}


def export_run(
    run_uri: str,
    export_format: str,
    output_uri: str,
    storage: Storage,
    options: ExportOptions | None = None,
) -> ExportSummary:
    """Write a run's persons in the format of another tool.

    The run may be unfinished: then the finished units are exported. Memory is bounded by a few of the run's
    files, whatever the number of images.

    Args:
        run_uri: output of the run.
        export_format: one of `EXPORT_FORMATS`.
        output_uri: folder or bucket prefix; what is there under the same names is replaced.
        storage: of run, images and output.
        options: what to export; None for everything.

    Raises:
        ConfigurationError: an unknown format, no run, a run that the format cannot hold, or a place in the
            run's input.
        StorageError: the store could not be reached.
    """
    if export_format not in EXPORT_FORMATS:
        raise ConfigurationError(
            f"export format {export_format!r} is unknown; choose one of {', '.join(EXPORT_FORMATS)}"
        )
    options = options or ExportOptions()
    rows = RunOutput.rows_at(run_uri, storage, options.as_of, options.source)
    place = normalise_uri(output_uri)
    if "input" in rows.settings:
        _require_place_apart(place, str(rows.settings["input"]), storage)
    return EXPORT_FORMATS[export_format](ExportSource(rows, storage, options), place)


def _require_place_apart(place: str, given: str, storage: Storage) -> None:
    """Raise where files would lie among the run's photographs, in place of those of the same names."""
    photographs = normalise_uri(given)
    folder, _, name = photographs.rpartition("/")
    # A folder may be called `images.parquet` as well.
    is_file = place == folder and Selection().of_object(name) in tuple(Form) and storage.exists(photographs)
    if is_inside(place, photographs) or is_file:
        raise ConfigurationError(
            f"{place}: lies in the run's input {photographs}: photographs would be replaced, and what is "
            "written there taken for some; name another folder"
        )
