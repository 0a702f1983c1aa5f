"""A run's persons in the formats of other tools; docs/formats.md says what each of them holds."""

from pipeline.export.run import EXPORT_FORMATS, export_run
from pipeline.export.source import ExportOptions, ExportSummary

__all__ = ["EXPORT_FORMATS", "ExportOptions", "ExportSummary", "export_run"]
