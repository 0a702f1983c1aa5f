"""OpenLineage: one event when a run or sync begins and one when it ends, to an address that the user names.

The run reads the input and writes both tables. Catalogues such as Marquez or DataHub draw from it what was
made from what. Losing an event never changes how a run ends.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pipeline.output.outcome import Outcome
from pipeline.output.run_output import RunOutput
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri, normalise_uri
from pipeline.telling import TIMEOUT_S, told
from posrefine.errors import ConfigurationError, StorageError
from posrefine.redaction import redacted
from posrefine.version import code_version

__all__ = ["KEY_VARIABLE", "with_lineage"]

KEY_VARIABLE = "OPENLINEAGE_API_KEY"
"""Environment variable with the key that the address asks for, if it does."""

_PRODUCER = "https://github.com/posrefine/posrefine"
_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"

logger = logging.getLogger(__name__)

Facets = dict[str, dict[str, Any]]


def with_lineage(command: str, settings: RunSettings, work: Callable[[], Outcome]) -> Outcome:
    """Do the work; where `--openlineage` names an address, tell it when the work begins and how it ended.

    Args:
        command: `run` or `sync`.
        settings: of it.
        work: to be done; what it raises is told, and raised.
    """
    if settings.openlineage is None:
        return work()
    telling = _Telling(settings.openlineage, command, settings)
    telling.tell("START", {}, [_dataset(uri) for uri in _tables(settings)])
    try:
        outcome = work()
    except BaseException as error:
        kind = "ABORT" if isinstance(error, KeyboardInterrupt) else "FAIL"
        telling.tell(kind, _failure(error), [_dataset(uri) for uri in _tables(settings)])
        raise
    telling.tell("COMPLETE" if outcome.complete else "FAIL", {}, _written(settings))
    return outcome


class _Telling:
    """Sends the events of one run."""

    def __init__(self, address: str, command: str, settings: RunSettings) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"--openlineage {redacted(address)}: no http address; wanted one such as "
                "http://marquez:5000/api/v1/lineage"
            )
        self._address, self._command, self._settings = address, command, settings
        self._run_id = str(uuid4())

    def tell(self, kind: str, facets: Facets, outputs: list[dict[str, Any]]) -> None:
        """One event; what goes wrong with it is a warning."""
        engine = {"version": code_version(), "name": "posrefine"}
        event = {
            "eventType": kind,
            "eventTime": datetime.now(UTC).isoformat(),
            "producer": _PRODUCER,
            "schemaURL": _EVENT,
            "run": {
                "runId": self._run_id,
                "facets": _facet("processing_engine", "1-1-1/ProcessingEngineRunFacet", engine) | facets,
            },
            # The output is the same every night, and so is the job.
            "job": {
                "namespace": "posrefine",
                "name": f"{self._command} {redacted(normalise_uri(self._settings.output))}",
            },
            "inputs": [_dataset(normalise_uri(self._settings.input))],
            "outputs": outputs,
        }
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(KEY_VARIABLE)
        if key:
            headers["Authorization"] = f"Bearer {key}"

        def send() -> None:
            data = json.dumps(event).encode()
            request = urllib.request.Request(self._address, data, headers, method="POST")
            with _OPENER.open(request, timeout=TIMEOUT_S):
                pass

        told(f"the OpenLineage event {kind} was not sent", self._address, send)


class _NoOtherPlace(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere, since the key would go with it."""

    def redirect_request(self, *_: object) -> None:
        """None: the answer is an error as others are."""


_OPENER = urllib.request.build_opener(_NoOtherPlace)


def _tables(settings: RunSettings) -> tuple[str, str]:
    tables = join_uri(normalise_uri(settings.output), "tables")
    return join_uri(tables, "images"), join_uri(tables, "persons")


def _written(settings: RunSettings) -> list[dict[str, Any]]:
    """The tables, with rows and version as they are now."""
    images, persons = (_dataset(uri) for uri in _tables(settings))
    try:
        counts = RunOutput.at(settings.output, Storage()).counts()
    except (StorageError, ConfigurationError) as error:
        logger.warning("the tables' versions are not told to OpenLineage: %s", error)
        counts = None
    if counts is not None:
        rows = (counts.images, counts.persons + counts.persons_below)
        for table, name, count in zip((images, persons), ("images", "persons"), rows, strict=True):
            version = {"datasetVersion": str(counts.version_of(name))}
            table["facets"] = _facet("version", "1-0-1/DatasetVersionDatasetFacet", version)
            statistics = {"rowCount": count}
            table["outputFacets"] = _facet(
                "outputStatistics", "1-0-2/OutputStatisticsOutputDatasetFacet", statistics
            )
    return [images, persons]


def _failure(error: BaseException) -> Facets:
    said = {"message": redacted(f"{type(error).__name__}: {error}"), "programmingLanguage": "python"}
    return _facet("errorMessage", "1-0-1/ErrorMessageRunFacet", said)


def _dataset(uri: str) -> dict[str, Any]:
    """As OpenLineage names data sets: `s3://bucket` and the key, or `file` and the path."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return {"namespace": f"s3://{bucket}", "name": key or "/"}
    return {"namespace": "file", "name": uri}


def _facet(name: str, schema: str, says: dict[str, Any]) -> Facets:
    version, _, kind = schema.partition("/")
    url = f"{_SPEC}/facets/{version}/{kind}.json"
    return {name: {"_producer": _PRODUCER, "_schemaURL": url, **says}}
