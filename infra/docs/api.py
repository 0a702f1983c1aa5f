"""The page of the Python API: what posrefine offers by name, and what of the jobs is meant to be called."""

from __future__ import annotations

import posrefine
from posrefine import errors

__all__ = ["api_page"]

_HEAD = """# Python API

From docstrings. [Python and shell](../python.md) shows how it is used. Names of `posrefine` stay; of
`pipeline`, which is in no wheel and belongs to the jobs, these can be called from a checkout.
"""
_OF_PIPELINE = (
    "pipeline.storage.Storage",
    "pipeline.output.run_output.RunOutput",
    "pipeline.export.export_run",
    "pipeline.export.ExportOptions",
    "pipeline.evaluation.benchmark.Benchmark",
    "pipeline.evaluation.benchmark.ScoreOptions",
    "pipeline.report.report_evaluation",
    "pipeline.report.report_run",
)


def api_page() -> str:
    """Markdown for mkdocstrings: each public name once."""
    names = [name for name in posrefine.__all__ if name != "errors"]
    parts = [_HEAD, "## posrefine\n", *(f"::: posrefine.{name}\n" for name in names)]
    parts += ["## posrefine.errors\n", *(f"::: posrefine.errors.{name}\n" for name in errors.__all__)]
    parts += ["## pipeline\n", *(f"::: {name}\n" for name in _OF_PIPELINE)]
    return "\n".join(parts)
