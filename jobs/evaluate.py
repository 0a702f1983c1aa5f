"""Score predictions by a benchmark's rules: `python jobs/evaluate.py --predictions ... --annotations ...`.

Writes metrics.json, the headline numbers for Prometheus as metrics.prom, for a run its persons as
results.json, and with --report a page about all of it. With --test-dev nothing is scored: the archive for the
COCO server is written. Exit codes: 0 done, 1 crash, 2 bad input or usage.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.evaluate import EvaluationRequest, evaluate
from pipeline.evaluation import Evaluation
from pipeline.evaluation_gauges import encode_gauges, push_gauges
from pipeline.evaluation_text import evaluation_lines, finding_lines
from pipeline.outcome import ExitCode, exit_code_of
from pipeline.report import report_evaluation, require_templates
from pipeline.storage import Storage
from pipeline.submission import server_name, write_results, write_submission
from pipeline.uris import join_uri, normalise_uri
from posrefine.errors import ConfigurationError, PosRefineError
from posrefine.metrics import PROTOCOLS, Finding, protocol_named


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and return the exit code; unexpected errors are raised."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        if given.test_dev is not None:
            _submit(given, Storage())
        else:
            _evaluate(given, Storage())
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    return ExitCode.COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--predictions", required=True, metavar="URI", help="output of a run, or a COCO results file (.json)")
    add("--annotations", required=True, metavar="URI", help="annotation file in COCO's form")
    add("--protocol", required=True, choices=sorted(PROTOCOLS), help="whose rules and joints")
    add("--output", required=True, metavar="URI", help="folder or bucket prefix for the results")
    add("--compare", metavar="URI", help="predictions of another run: differences, with significance")
    add("--model", metavar="NAME", help="network that made a results file, for the published figures")
    add(
        "--train-overlap",
        metavar="URI",
        help="annotations of the training set, or a JSON list of image ids: warn of images in both",
    )
    add("--strict", action="store_true", help="let any warning about the input be an error")
    add("--numbers-only", action="store_true", help="no intervals, breakdowns, error kinds and calibration")
    add("--draws", type=int, default=1000, metavar="N", help="resampled sets of the bootstrap (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the bootstrap (%(default)s)")
    add(
        "--distributed",
        action=argparse.BooleanOptionalAction,
        help="match in Ray tasks; by default above 100,000 images",
    )
    add("--results", action=argparse.BooleanOptionalAction, default=True, help="write a run's results.json")
    add("--report", action="store_true", help="write report/index.html too (pip install posrefine[report])")
    add("--pushgateway", metavar="URL", help="Prometheus Pushgateway that gets the headline numbers, too")
    add(
        "--test-dev",
        metavar="NAME",
        help="write the COCO server's archive; --annotations is then image_info_test-dev2017.json",
    )
    return parser


def _evaluate(given: argparse.Namespace, storage: Storage) -> None:
    if given.report:
        require_templates()
    request = EvaluationRequest(
        predictions=given.predictions,
        annotations=given.annotations,
        protocol=given.protocol,
        model=given.model,
        other=given.compare,
        train_overlap=given.train_overlap,
        diagnose=not given.numbers_only,
        draws=given.draws,
        seed=given.seed,
        distributed=given.distributed,
    )
    evaluation = evaluate(request, storage)
    print("\n".join(evaluation_lines(evaluation)))
    _refuse_warnings(given, evaluation.warnings)
    storage.put(_inside(given.output, "metrics.json"), evaluation.encode())
    storage.put(_inside(given.output, "metrics.prom"), encode_gauges(evaluation))
    if given.results and not normalise_uri(given.predictions).endswith(".json"):
        with tempfile.TemporaryDirectory(prefix="posrefine-results-") as folder:
            results = Path(folder) / "results.json"
            _write_results(given, storage, results)
            storage.put_file(_inside(given.output, "results.json"), results)
    if given.report:
        print(f"report: {report_evaluation(evaluation, given.output, storage)}")
    if given.pushgateway is not None:
        _push(evaluation, given.pushgateway)


def _push(evaluation: Evaluation, gateway: str) -> None:
    """The results are written by now: a gateway that is away spoils nothing."""
    try:
        push_gauges(evaluation, gateway)
    except OSError as error:
        logging.getLogger(__name__).warning("Pushgateway %s: %s; the numbers were not pushed", gateway, error)


def _submit(given: argparse.Namespace, storage: Storage) -> None:
    name = server_name(given.test_dev)
    with tempfile.TemporaryDirectory(prefix="posrefine-results-") as folder:
        results, archive = Path(folder) / f"{name}.json", Path(folder) / f"{name}.zip"
        findings = _write_results(given, storage, results)
        print("\n".join(finding_lines(findings)))
        _refuse_warnings(given, findings)
        write_submission(given.test_dev, results, archive)
        target = _inside(given.output, archive.name)
        storage.put_file(target, archive)
    print(f"{target}: upload it to the COCO keypoint evaluation server, phase test-dev2017")


def _write_results(given: argparse.Namespace, storage: Storage, path: Path) -> tuple[Finding, ...]:
    protocol = protocol_named(given.protocol)
    return write_results(storage, given.predictions, given.annotations, protocol, path)


def _refuse_warnings(given: argparse.Namespace, findings: Sequence[Finding]) -> None:
    if given.strict and findings:
        codes = ", ".join(finding.code for finding in findings)
        raise ConfigurationError(f"--strict: the input has warnings ({codes}); nothing was written")


def _inside(output: str, name: str) -> str:
    return join_uri(normalise_uri(output), name)


if __name__ == "__main__":
    sys.exit(main())
