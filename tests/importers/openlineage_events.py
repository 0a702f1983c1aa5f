"""Makes the events of OpenLineage's own client of what was sent; its classes check what they are given."""

import json
import sys
from pathlib import Path

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    error_message_run,
    output_statistics_output_dataset,
    processing_engine_run,
)

FACETS = {
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet,
}


def made(facets: dict) -> dict:
    return {
        name: FACETS[name](**{key: value for key, value in facet.items() if key[0] != "_"})
        for name, facet in facets.items()
    }


def dataset(kind: type, given: dict) -> object:
    facets = {name: made(value) for name, value in given.items() if name.lower().endswith("facets")}
    return kind(namespace=given["namespace"], name=given["name"], **facets)


kinds = []
for event in json.loads(Path(sys.argv[1]).read_text()):
    built = RunEvent(
        eventType=RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=Run(runId=event["run"]["runId"], facets=made(event["run"]["facets"])),
        job=Job(**event["job"]),
        producer=event["producer"],
        inputs=[dataset(InputDataset, one) for one in event["inputs"]],
        outputs=[dataset(OutputDataset, one) for one in event["outputs"]],
    )
    kinds.append(built.eventType.name)
print(json.dumps(kinds))
