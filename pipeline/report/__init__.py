"""The report of an evaluation, of a run, or of two outputs: one page that needs nothing but itself."""

from pipeline.report.agreement import report_agreement
from pipeline.report.build import report_evaluation, report_run
from pipeline.report.page import require_templates

__all__ = ["report_agreement", "report_evaluation", "report_run", "require_templates"]
