"""Reproduce a published table with weights and images of your own: annotate, evaluate, print both side by side.

    python benchmarks/reproduce.py coco-val-single --weights dekr_w32=mmpose:dekr_w32_coco \\
        --images val2017 --annotations person_keypoints_val2017.json --output table

Tables: coco-val-single, coco-val-multi, coco-test-dev-single, coco-test-dev-multi, crowdpose-single,
crowdpose-multi. Each --weights names one network of the table, and may be given again for another. Arguments
after -- go to `jobs/annotate.py run`, such as `-- --precision bfloat16`. Running again resumes. Of test-dev no
ground truth is public: the archive for COCO's server is written, and the server says the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posrefine.metrics.analysis.published import PUBLISHED, PublishedRow
from posrefine.metrics.results import CocoMetrics, CrowdPoseMetrics

ROOT = Path(__file__).resolve().parents[1]
SCALES = {"single": "1", "multi": "0.5,1,2"}
NUMBERS = {"coco": tuple(CocoMetrics.model_fields), "crowdpose": tuple(CrowdPoseMetrics.model_fields)}
TEST_DEV = "test-dev2017"
TITLE_WIDTH, CELL_WIDTH = 44, 11


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        name: for the command line.
        protocol: `coco` or `crowdpose`.
        split: of the published rows.
        scales: `single` or `multi`.
    """

    name: str
    protocol: str
    split: str
    scales: str

    @property
    def published(self) -> list[PublishedRow]:
        """Everybody's rows of it."""
        wanted = (self.protocol, self.split, self.scales)
        return [row for row in PUBLISHED if (row.protocol, row.split, row.scales) == wanted]


TABLES = {
    table.name: table
    for scales in SCALES
    for table in (
        Table(f"coco-val-{scales}", "coco", "val2017", scales),
        Table(f"coco-test-dev-{scales}", "coco", TEST_DEV, scales),
        Table(f"crowdpose-{scales}", "crowdpose", "test", scales),
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    given, to_annotate = _parse(sys.argv[1:] if arguments is None else list(arguments))
    table: Table = TABLES[given.table]
    images, annotations = given.images, given.annotations
    if given.max_images is not None:
        subset = Path(given.output) / f"first-{given.max_images}-images"
        images, annotations = first_images(Path(images), Path(annotations), given.max_images, subset)
    if given.score_weights is not None:
        to_annotate = ["--score-weights", given.score_weights, *to_annotate]
    rows = {}
    for network, weights in given.weights:
        output = f"{str(given.output).rstrip('/')}/{table.name}/{network}"
        annotate(table, network, weights, images, annotations, output, to_annotate)
        rows[network] = evaluate(table, network, annotations, output)
    print("\n".join(lines(table, rows)))


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("table", choices=sorted(TABLES))
    add(
        "--weights",
        required=True,
        action="append",
        type=_named,
        metavar="NETWORK=REF",
        help="file or zoo name",
    )
    add("--score-weights", metavar="REF", help="of the rescoring network, which the published numbers use")
    add("--images", required=True, metavar="URI", help="folder, bucket prefix or shards")
    add("--annotations", required=True, metavar="URI", help="of the split; of test-dev its image_info file")
    add("--output", required=True, metavar="URI", help="folder or bucket prefix")
    add("--max-images", type=int, metavar="N", help="the first N only, of a local folder: to try the command")
    given = parser.parse_args(arguments[:cut])
    known = {row.model for row in TABLES[given.table].published}
    for network, _ in given.weights:
        if network not in known:
            parser.error(f"--weights {network}: not in this table; it has {', '.join(sorted(known))}")
    return given, arguments[cut + 1 :]


def _named(text: str) -> tuple[str, str]:
    network, separator, reference = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected NETWORK=REF, as in dekr_w32=mmpose:dekr_w32_coco"
        )
    return network, reference


def first_images(images: Path, annotations: Path, count: int, folder: Path) -> tuple[str, str]:
    """Copies of the first images that lie in the folder, and their part of the annotations."""
    whole: dict[str, Any] = json.loads(annotations.read_text())
    chosen = [image for image in whole["images"] if (images / image["file_name"]).exists()][:count]
    ids = {image["id"] for image in chosen}
    persons = [person for person in whole.get("annotations", ()) if person["image_id"] in ids]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for image in chosen:
        target = folder / "images" / image["file_name"]
        if not target.exists():  # a file that is newer than its run counts as changed
            shutil.copyfile(images / image["file_name"], target)
    part = {**whole, "images": chosen, "annotations": persons}
    (folder / "annotations.json").write_text(json.dumps(part))
    return str(folder / "images"), str(folder / "annotations.json")


def annotate(
    table: Table, network: str, weights: str, images: str, annotations: str, output: str, more: list[str]
) -> None:
    """By the settings of the published numbers: the network's own input size, mirrored views, COCO's frame."""
    job("annotate.py", "run", "--input", images, "--annotations", annotations, "--output", output,
        "--model", network, "--weights", weights, "--skeleton", table.protocol,
        "--scales", SCALES[table.scales], "--flip", "--exif", "ignore", *more)  # fmt: skip


def evaluate(table: Table, network: str, annotations: str, output: str) -> dict[str, float]:
    """The numbers; none of test-dev."""
    given = ["--predictions", output, "--annotations", annotations]
    if table.split == TEST_DEV:
        name = f"{network.replace('_', '-')}-{table.scales}"
        job("evaluate.py", "test-dev", *given, "--output", f"{output}/evaluation", "--name", name)
        return {}
    target = Path(f"{output}/evaluation")
    given += ["--protocol", table.protocol, "--output", str(target)]
    job("evaluate.py", "score", *given, "--numbers-only", "--no-results")
    metrics = json.loads((target / "metrics.json").read_text())
    return {name: metrics[name] for name in NUMBERS[table.protocol]}


def job(script: str, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "jobs" / script), *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    ended = subprocess.run(command, check=False, env=os.environ)
    if ended.returncode != 0:
        raise SystemExit(ended.returncode)


def lines(table: Table, measured: dict[str, dict[str, float]]) -> list[str]:
    """The table: what was measured here, and below it what others published for the same network."""
    names = NUMBERS[table.protocol]
    shown = [f"\n{table.name}: {table.protocol} {table.split}, {table.scales}-scale", line("", names)]
    published = [row for row in table.published if row.model in measured]
    sources = list(dict.fromkeys(row.source for row in published))
    for network, numbers in measured.items():
        here = [f"{numbers[name]:.3f}" for name in names] if numbers else ["ask the server"]
        shown.append(line(f"{network}, measured here", here))
        for row in published:
            if row.model == network:
                theirs = [f"{row.numbers[name]:.3f}" if name in row.numbers else "" for name in names]
                shown.append(line(f"{network}, published [{sources.index(row.source) + 1}]", theirs))
    notes = [f"[{number}] {source}; not measured here" for number, source in enumerate(sources, 1)]
    return shown + notes


def line(title: str, cells: Sequence[str]) -> str:
    return (f"{title:<{TITLE_WIDTH}}" + "".join(f"{cell:>{CELL_WIDTH}}" for cell in cells)).rstrip()


if __name__ == "__main__":
    main()
