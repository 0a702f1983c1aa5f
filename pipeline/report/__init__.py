"""The report of an evaluation or of a run: one page that needs nothing but itself."""

from pipeline.report.build import report_evaluation, report_run
from pipeline.report.page import require_templates

__all__ = ["report_evaluation", "report_run", "require_templates"]
