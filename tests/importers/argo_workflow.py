"""Reads a CronWorkflow, as JSON, by Hera's models of Argo's own schema; unknown fields are errors."""

import json
import sys
from pathlib import Path

from hera.workflows.models import CronWorkflow


def unknown(given: object, taken: object, path: str = "") -> list[str]:
    """Fields of the file that the model has dropped."""
    if isinstance(given, dict):
        taken = taken if isinstance(taken, dict) else {}
        return [
            name
            for key, value in given.items()
            for name in (unknown(value, taken[key], f"{path}.{key}") if key in taken else [f"{path}.{key}"])
        ]
    if isinstance(given, list) and isinstance(taken, list):
        return [name for one, other in zip(given, taken, strict=True) for name in unknown(one, other, path)]
    return []


given = json.loads(Path(sys.argv[1]).read_text())
model = CronWorkflow.model_validate(given)
taken = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
print(json.dumps(unknown(given, taken)))
