"""Score predictions by a benchmark's rules, or compare them with each other.

`score`, which may be left out, writes metrics.json, the headline numbers for Prometheus as metrics.prom,
for a run its persons as results.json, and with --report a page about all of it. `agree` compares two
outputs of the same images, without ground truth. `test-dev` scores nothing: it writes the archive for the
COCO server. Exit codes: 0 done, 1 crash, 2 bad input or usage, 75 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import SETTINGS_NOTE, add_command, job_parser, leave, run_job
from pipeline.exit_codes import ExitCode
from pipeline.settings.evaluation import EvaluationSettings, OutputAgreementSettings, SubmissionSettings
from posrefine.errors import ConfigurationError

if TYPE_CHECKING:
    from posrefine.metrics import Finding

_OF_THE_JOB = ("--help", "--version")


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and return the exit code; unexpected errors are raised."""
    return run_job(parser(), _with_command(sys.argv[1:] if arguments is None else arguments))


def _with_command(arguments: Sequence[str]) -> Sequence[str]:
    """Scoring is what the job is for: `score` may be left out."""
    words = iter(arguments)
    first = "--help"
    for word in words:
        if word == "--log-format":
            next(words, None)  # its value
        elif word not in ("-v", "--verbose") and not word.startswith("--log-format="):
            first = word
            break
    return ["score", *arguments] if first.startswith("--") and first not in _OF_THE_JOB else arguments


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs what it asks for."""
    top = job_parser("evaluate.py", str(__doc__))
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    score = "Score a run or a results file. " + SETTINGS_NOTE
    add_command(commands, "score", EvaluationSettings, _score, score)
    agree = "Compare two outputs of the same images, such as of old and new weights. " + SETTINGS_NOTE
    add_command(commands, "agree", OutputAgreementSettings, _agree, agree)
    submit = "Write the archive for COCO's test-dev server. " + SETTINGS_NOTE
    add_command(commands, "test-dev", SubmissionSettings, _submit, submit)
    return top


def _score(settings: EvaluationSettings) -> int:
    from pipeline.evaluation.benchmark import Benchmark, ScoreOptions
    from pipeline.evaluation.gauges import encode_gauges, push_gauges
    from pipeline.evaluation.text import evaluation_lines
    from pipeline.report import report_evaluation, require_templates
    from pipeline.storage import Storage
    from pipeline.storage.uris import normalise_uri

    if settings.report:
        require_templates()
    benchmark = Benchmark.open(settings.annotations, settings.protocol, Storage())
    is_run = not normalise_uri(settings.predictions).endswith(".json")
    with tempfile.TemporaryDirectory(prefix="posrefine-results-") as folder:
        results = Path(folder) / "results.json" if settings.results and is_run else None
        options = ScoreOptions(
            model=settings.model,
            other=settings.compare,
            train_overlap=settings.train_overlap,
            diagnosis=not settings.numbers_only,
            draws=settings.draws,
            seed=settings.seed,
            distributed=settings.distributed,
            as_of=settings.as_of,
            source=settings.source,
            results=results,
            row_summary=settings.report and is_run,
        )
        scored = benchmark.score(settings.predictions, options)
        evaluation, storage = scored.evaluation, benchmark.storage
        print("\n".join(evaluation_lines(evaluation)))
        _refuse_warnings(settings.strict, evaluation.warnings)
        storage.put(_inside(settings.output, "metrics.json"), evaluation.encode())
        storage.put(_inside(settings.output, "metrics.prom"), encode_gauges(evaluation))
        if results is not None:
            storage.put_file(_inside(settings.output, "results.json"), results)
    if settings.report:
        print(f"report: {report_evaluation(scored, benchmark, settings.output)}")
    if settings.pushgateway is not None:
        push_gauges(evaluation, settings.pushgateway)
    return ExitCode.COMPLETE


def _agree(settings: OutputAgreementSettings) -> int:
    from pipeline.evaluation.compare_outputs import compare_outputs
    from pipeline.evaluation.output_agreement_text import output_agreement_lines
    from pipeline.report import report_agreement, require_templates
    from pipeline.storage import Storage

    if settings.report:
        require_templates()
    storage = Storage()
    agreed = compare_outputs(
        settings.a, settings.b, storage, min_score=settings.min_score, least_oks=settings.least_oks
    )
    print("\n".join(output_agreement_lines(agreed.agreement)))
    storage.put(_inside(settings.output, "agreement.json"), agreed.agreement.encode())
    if settings.report:
        print(f"report: {report_agreement(agreed, settings.output)}")
    return ExitCode.COMPLETE


def _submit(settings: SubmissionSettings) -> int:
    from pipeline.evaluation.benchmark import Benchmark
    from pipeline.evaluation.submission import server_name, write_submission
    from pipeline.evaluation.text import finding_lines
    from pipeline.storage import Storage

    name = server_name(settings.name)
    benchmark = Benchmark.open(settings.annotations, "coco", Storage())
    with tempfile.TemporaryDirectory(prefix="posrefine-results-") as folder:
        results, archive = Path(folder) / f"{name}.json", Path(folder) / f"{name}.zip"
        findings = benchmark.write_results(settings.predictions, results)
        print("\n".join(finding_lines(findings)))
        _refuse_warnings(settings.strict, findings)
        write_submission(settings.name, results, archive)
        target = _inside(settings.output, archive.name)
        benchmark.storage.put_file(target, archive)
    print(f"{target}: upload it to the COCO keypoint evaluation server, phase test-dev2017")
    return ExitCode.COMPLETE


def _refuse_warnings(strict: bool, findings: Sequence[Finding]) -> None:
    if strict and findings:
        codes = ", ".join(finding.code for finding in findings)
        raise ConfigurationError(f"--strict: the input has warnings ({codes}); nothing was written")


def _inside(output: str, name: str) -> str:
    from pipeline.storage.uris import join_uri, normalise_uri

    return join_uri(normalise_uri(output), name)


if __name__ == "__main__":
    leave(main)
