"""COCO's ten numbers of a network on annotated photographs, by the jobs that a user runs.

    python benchmarks/on_photographs.py --weights posrefine:tiny_coco --score-weights posrefine:tiny_coco_score \\
        --images holdout/images --annotations holdout/annotations.json --output judged

Runs `jobs/annotate.py` (mirrored views too, at several scales, rescored) and `jobs/evaluate.py`. The
photographs must be ones that the network was neither trained nor chosen by. Running again resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import RESULTS, machine

from posrefine.metrics.results import CocoMetrics

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="file or zoo name")
    parser.add_argument("--score-weights", required=True, help="of the rescoring network")
    parser.add_argument("--model", default="posrefine_tiny")
    parser.add_argument("--scales", default="1,1.5,2,2.5")
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--annotations", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help="of the run and its evaluation")
    parser.add_argument("--store", type=Path, default=RESULTS / "on_photographs.json")
    given = parser.parse_args()
    run, evaluation = given.output / "run", given.output / "evaluation"
    job(
        "annotate.py", "run", "--input", given.images, "--output", run, "--model", given.model,
        "--weights", given.weights, "--score-weights", given.score_weights, "--scales", given.scales,
        "--actors", 2, "--num-cpus-per-actor", 0.5,
    )  # fmt: skip
    job(
        "evaluate.py", "--predictions", run, "--annotations", given.annotations, "--protocol", "coco",
        "--output", evaluation,
    )  # fmt: skip
    success = json.loads((run / "tables" / "_SUCCESS.json").read_text())
    numbers = json.loads((evaluation / "metrics.json").read_text())
    result = {
        "machine": machine(),
        "weights": given.weights,
        "score_weights": given.score_weights,
        "scales": given.scales,
        "photographs": success["ok"],
        "failed": success["failed"],
        "metrics": {name: numbers[name] for name in CocoMetrics.model_fields},
        "intervals": {name: numbers["diagnosis"]["intervals"][name] for name in ("AP", "AP50")},
    }
    text = json.dumps(result, indent=2)
    print(text)
    given.store.write_text(text + "\n")


def job(script: str, *arguments: Any) -> None:
    """Runs one of the jobs to its end; its words are this script's."""
    subprocess.run([sys.executable, ROOT / "jobs" / script, *map(str, arguments)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
