"""Every code block of README and docs runs, on small things in place of large ones.

One run of rendered scenes is shared by all blocks. A new block is found out: the table below must say how it
is tried.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from support.checkout import copied_checkout, users_environment
from support.code_blocks import ROOT, CodeBlock, code_blocks
from support.ports import free_port
from support.ray_cluster import RAY, started_cluster, started_head, wait_for_jobs
from support.small_benchmarks import run_small

from posrefine import COCO
from posrefine.metrics import DetectionsBuilder, GroundTruthBuilder, oks_rules
from posrefine.synthetic import coco_annotations, render_scenes

# Ray's, of its own settings, and that the few images of a test could be shared out among more actors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]

SCENES = 3
IN_PLACE_OF = {
    "s3://bucket/photographs": "data/shards",
    "s3://bucket/run1": "run1",
    "s3://bucket/run1-bfloat16": "run1-bfloat16",
    "s3://bucket/poses": "poses",
    "s3://bucket/for-review": "for-review",
    "person_keypoints_val2017.json": "data/annotations.json",
    "person_keypoints_train2017.json": "half.json",
    "crowdpose_val.json": "data/annotations.json",
    "image_info_test-dev2017.json": "images.json",
    "RUN_OR_RESULTS.json": "run1",
    "GT.json": "data/annotations.json",
    "RUN": "run1",
    "DIR": "results",
    "coco|crowdpose": "coco",
    "crowdpose": "coco",
    "dekr_w32": "posrefine_tiny",
    "mmpose:dekr_w32_coco": "posrefine:tiny_coco",
    "dekr_w48": "posrefine_tiny",
    "mmpose:dekr_w48_coco": "untrained",
}
"""Words of the pages, and what they are called here."""
IN_A_TRAINING = {
    "s3://bucket/coco": "packed",
    "s3://photos/train2017": "photos",
    "person_keypoints_train2017.json": "data/annotations.json",
    "10000": "2",
    "s3://bucket/dekr": "runs/dekr",
    "hrnet_w32_imagenet.pth": "posrefine:tiny_coco",
    "s3://photos/val2017": "data/shards",
    "s3://bucket/coco/shards": "data/shards",
    "s3://bucket/coco/annotations.json": "data/annotations.json",
    "s3://bucket/coco/shards,s3://bucket/ours": "data/shards,data/shards",
    "s3://bucket/coco/annotations.json,ours.json": "data/annotations.json,data/annotations.json",
    "20000": "4",
    "6400": "4",
    "200000": "8",
    "posrefine/weights/bundled/posrefine_tiny.yaml": str(
        ROOT / "posrefine/weights/bundled/posrefine_tiny.yaml"
    ),
    "s3://bucket/train-poses": "train-poses",
    "…": "posrefine:tiny_coco",
}
TRAINED_SMALL = [
    "--device",
    "cpu",
    "--workers",
    "1",
    "--worker-cpus",
    "0.5",
    "--views",
    "8",
    "--batch-size",
    "2",
]
TRAINED_SMALL += ["--input-sizes", "0:128", "--val-scenes", "2", "--val-count", "2"]
ONE_SMALL_FILE = "tests/posrefine/test_skeletons.py"
"""Of the suite, in place of all of it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages speak of: a packed data set, annotation files, the run of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as session:
        # Workers find relative addresses where the cluster was started.
        patch.chdir(folder)
        session.enter_context(started_cluster({}))
        assert run_job("pack.py", ["--output", "data", "--synthetic", str(SCENES), "--seed", "8000000"]) == 0
        for shard in (folder / "data" / "shards").glob("*.tar"):
            shutil.unpack_archive(shard, folder / "photos", filter="data")
        truth = json.loads((folder / "data" / "annotations.json").read_text())
        half = truth["images"][:1]
        persons = [p for p in truth["annotations"] if p["image_id"] == half[0]["id"]]
        (folder / "half.json").write_text(json.dumps(truth | {"images": half, "annotations": persons}))
        (folder / "images.json").write_text(json.dumps(truth | {"annotations": []}))
        (block,) = (
            one
            for one in code_blocks()
            if one.page == "docs/photographs.md" and "annotate.py plan" in one.text
        )
        run_commands(block)
        yield folder


def run_job(script: str, arguments: list[str]) -> int:
    return import_module(f"jobs.{script.removesuffix('.py')}").main(arguments)


def job_of(words: list[str]) -> tuple[str, list[str]]:
    """Script and arguments of `python jobs/<script> ...`."""
    assert words[0] == "python", words
    folder, _, script = words[1].partition("/")
    assert folder == "jobs", words
    return script, words[2:]


def run_commands(block: CodeBlock, _world: Path | None = None) -> None:
    """Each job with its own words, in this process."""
    for words in block.commands():
        if words[:2] == ["source", ".venv/bin/activate"]:
            continue
        if words[:2] == ["pip", "install"]:
            assert extras_of(words[-1]) <= known_extras(), words
            continue
        script, arguments = job_of(words)
        code = run_job(script, [IN_PLACE_OF.get(word, word) for word in arguments])
        assert code == 0, words


def run_small_training(block: CodeBlock, world: Path) -> None:
    """Each job with its own words, of data sets and views a handful; packed and trained on one CPU."""
    for words in block.commands():
        script, arguments = job_of(words)
        arguments = [IN_A_TRAINING.get(word, IN_PLACE_OF.get(word, word)) for word in arguments]
        if script == "train.py":
            arguments += TRAINED_SMALL
        if script == "annotate.py":
            arguments += ["--input-size", "128"]
        assert run_job(script, arguments) == 0, words
    if "jobs/pack.py" in block.text:
        assert list(world.glob("packed/shards/*.tar"))
        assert list(world.glob("scenes/shards/*.tar"))


def run_in_fixture(_block: CodeBlock, world: Path) -> None:
    """`world` has run it by now."""
    assert (world / "run1" / "outcome.json").exists()


def extras_of(requirement: str) -> set[str]:
    assert requirement.startswith("."), f"{requirement}: is on no index"
    return set(requirement.partition("[")[2].rstrip("]").split(",")) - {""}


def known_extras() -> set[str]:
    content = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    return set(re.findall(r"^([a-z]+) = \[", content, re.MULTILINE))


def run_python(block: CodeBlock, _world: Path) -> None:
    text = block.text
    for word in sorted(IN_PLACE_OF, key=len, reverse=True):
        text = re.sub(f'"{re.escape(word)}(?=["/])', f'"{IN_PLACE_OF[word]}', text)
    # Five hundred scenes take minutes.
    text = text.replace("render_scenes(500,", "render_scenes(2,")
    exec(compile(text, block.page, "exec"), names_in_scope(block))


def names_in_scope(block: CodeBlock) -> dict[str, Any]:
    """What a block takes as given."""
    if "MatchTable.merge" not in block.text:
        return {}
    rules = oks_rules("coco")
    truth, found = GroundTruthBuilder(rules), DetectionsBuilder(COCO.num_joints, 1)
    content = coco_annotations(render_scenes(2, first_seed=1), COCO)
    truth.add_categories(content["categories"])
    truth.add_images(content["images"])
    truth.add_persons(content["annotations"])
    names = ("image_id", "category_id", "keypoints")
    found.add([{name: one[name] for name in names} | {"score": 0.5} for one in content["annotations"]])
    whole = truth.build()[0]
    parts = [whole.select(np.array([0])), whole.select(np.array([1]))]
    return {"parts": parts, "detections": found.build()[0], "crowd_index": whole.crowd_index}


def run_growing(block: CodeBlock, world: Path) -> None:
    """To an output of its own, on CPUs in place of GPUs; of the 64 actors most find no place, and wait."""
    (words,) = block.commands()
    own = {"s3://bucket/run1": "run-growing", "cuda": "cpu"}
    script, arguments = job_of(words)
    assert run_job(script, [own.get(word, IN_PLACE_OF.get(word, word)) for word in arguments]) == 0
    assert_complete(world / "run-growing")


def run_submission(block: CodeBlock, world: Path) -> None:
    """On a cluster of one node, without a token; metrics are served at a port that is free."""
    (words,) = block.commands()
    assert words[:3] == ["ray", "job", "submit"]
    excluded = json.loads(words[words.index("--runtime-env-json") + 1])["excludes"]
    assert {".git", ".venv"} <= set(excluded)
    with started_head({"RAY_AUTH_MODE": "disabled"}) as head:
        own = {
            "http://HEAD:8265": head.dashboard,
            "s3://bucket/photographs": str(world / "data" / "shards"),
            "s3://bucket/run1": str(world / "run-submitted"),
            "9400": str(free_port()),
        }
        command = [str(RAY), *(own.get(word, IN_PLACE_OF.get(word, word)) for word in words[1:])]
        wait_for_jobs(head)
        assert_ends_well(command, ROOT, head.environment)
    assert_complete(world / "run-submitted")


def assert_complete(output: Path) -> None:
    outcome = json.loads((output / "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["images"]) == (0, {"ok": SCENES})
    assert list((output / "tables" / "persons").glob("*.parquet"))


def assert_ends_well(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What the command printed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def check_output_tree(block: CodeBlock, world: Path) -> None:
    """Every file that the tree names is in the run's output."""
    folders: list[str] = []
    for line in block.text.splitlines():
        drawing, name = re.match(r"([│├└─\s]*)(\S+)", line).groups()  # type: ignore[union-attr]
        depth = len(drawing) // 4
        folders = [*folders[:depth], name.rstrip("/")]
        pattern = re.sub(r"<\w+>|…", "*", "/".join(folders))
        # Of later syncs, and of people.
        if any(name in pattern for name in ("generations", "networks", "review")):
            continue
        assert list(world.glob(pattern)), pattern


def run_cron_line(block: CodeBlock, world: Path) -> None:
    """By `sh` with little in its environment, as cron does it; a copy of the checkout is /srv/posrefine.

    The page does not show nightly.yaml: here it has the settings of the page's first command.
    """
    *times, line = block.text.strip().split(maxsplit=5)
    assert len(times) == 5
    assert "%" not in line, "cron makes line ends of them"
    checkout = copied_checkout(world / "srv-posrefine")
    (first,) = (one for one in code_blocks() if one.page == block.page and tried(one) == [run_every_night])
    (words,) = first.commands()
    own = {"s3://bucket/photographs": world / "data" / "shards", "s3://bucket/poses": "cron-poses"}
    given = [str(own.get(word, IN_PLACE_OF.get(word, word))) for word in words[3:]]
    settings = {name.removeprefix("--"): value for name, value in zip(given[::2], given[1::2], strict=True)}
    (checkout / "nightly.yaml").write_text(yaml.safe_dump(settings))
    kept = ("HOME", "OMP_NUM_THREADS", "RAY_TMPDIR", "PYTHONPATH")
    environment = {name: value for name, value in users_environment(checkout).items() if name in kept}
    environment |= {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}

    assert "/srv/posrefine" in line
    said = assert_ends_well(
        ["sh", "-c", line.replace("/srv/posrefine", shlex.quote(str(checkout)))], world, environment
    )

    assert f"{SCENES} ok" in said
    assert_complete(checkout / "cron-poses")


def run_every_night(block: CodeBlock, world: Path) -> None:
    """The first of the page's syncs."""
    run_commands(block, world)


def run_make(block: CodeBlock, world: Path) -> None:
    """In a copy of the checkout, with two scenes in place of 24, and all that is installed installed already.

    A test cannot run the suite that it is part of: `make test` runs one file of it.
    """
    checkout = copied_checkout(world / "checkout")
    makefile = (checkout / "Makefile").read_text()
    assert "--synthetic 24 " in makefile
    (checkout / "Makefile").write_text(makefile.replace("--synthetic 24 ", "--synthetic 2 "))
    environment = users_environment(checkout) | {"PYTEST_ADDOPTS": ONE_SMALL_FILE}
    said = {words[1]: assert_ends_well(words, checkout, environment) for words in block.commands()}
    assert set(said) == {"demo", "test"}
    assert "pip install" not in "".join(said.values())
    assert (checkout / "demo-output" / "evaluation" / "report" / "index.html").exists()
    assert list((checkout / "demo-output" / "overlays").rglob("*.jpg"))
    assert re.search(r"\d+ passed", said["test"])


def run_benchmarks(block: CodeBlock, world: Path) -> None:
    """Each in this process, made small as support/small_benchmarks.py says; most of their jobs share Ray."""
    folder = world / "measured"
    folder.mkdir()
    before = stored_results()
    for words in block.commands():
        script, arguments = benchmark_of(words)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
            run_small(script, arguments, folder)
    assert stored_results() == before


def stored_results() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (ROOT / "benchmarks" / "results").iterdir()}


def benchmark_of(words: list[str]) -> tuple[str, list[str]]:
    """Script and arguments of `python benchmarks/<script> ...`."""
    assert words[0] == "python", words
    folder, _, script = words[1].partition("/")
    assert folder == "benchmarks", words
    return script, words[2:]


def run_reproduction(block: CodeBlock, world: Path) -> None:
    """Networks of the named kinds as they are built, untrained, on rendered scenes in a small input.

    The jobs that it starts are on this cluster.
    """
    (words,) = block.commands()
    script, arguments = benchmark_of(words)
    own = {
        "dekr_w32=mmpose:dekr_w32_coco": "dekr_w32=untrained",
        "dekr_w48=mmpose:dekr_w48_coco": "dekr_w48=untrained",
        "mmpose:rescore_coco": "posrefine:tiny_coco_score",
        "val2017": "photos",
        "tables": str(world / "tables"),
    }
    arguments = [own.get(word, IN_PLACE_OF.get(word, word)) for word in arguments]
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    command += ["--", "--input-size", "64", "--precision", "float32"]
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    said = assert_ends_well(command, world, environment)
    for network in ("dekr_w32", "dekr_w48"):
        assert re.search(f"^{network}, measured here ", said, re.MULTILINE), said
        assert re.search(f"^{network}, published ", said, re.MULTILINE), said


def elsewhere(*tests: str) -> Callable[[CodeBlock, Path], None]:
    """The block runs in other tests, which need what only they have."""

    def check(_block: CodeBlock, _world: Path) -> None:
        for test in tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(), test

    return check


TWO_LINES = "project/test_python_page.py::test_the_two_lines_of_the_readme_run"
COMMANDS = "project/test_python_page.py::test_the_commands_of_the_page_run"
TRAINED = "jobs/test_train.py::test_training_leaves_the_averaged_weights_a_card_and_a_log"
TASKS = "jobs/test_review_export.py::test_every_reviewer_gets_a_file_and_the_files_name_what_they_hold"
CORRECTIONS = "jobs/test_review_corrections.py::test_corrections_come_back_are_told_count_and_can_be_undone"
LEARNT = "jobs/test_review_training.py::test_photographs_are_annotated_corrected_packed_and_learnt_from"
FIFTYONE_AGAIN = (
    "pipeline/review/test_the_tools_themselves_read_tasks.py::"
    "test_fiftyone_makes_samples_and_what_it_writes_of_them_comes_back"
)
ON_KUBERNETES = (
    "infra/test_cluster_page.py::test_every_line_of_the_block_is_run_below",
    "infra/test_cluster_page.py::test_the_image_of_the_page_is_built_and_pushed_and_finds_people",
    "infra/test_cluster_page.py::test_the_token_and_the_run_of_the_page_come_to_the_cluster",
)
ON_PYTHON = elsewhere("project/test_python_page.py::test_the_python_of_the_page_runs_from_top_to_bottom")
HOW: list[tuple[str, str, Callable[[CodeBlock, Path], None]]] = [
    ("README.md", "make demo", run_make),
    ("README.md", "import posrefine", elsewhere(TWO_LINES)),
    # The same run again: it is complete, and says so.
    ("README.md", "jobs/annotate.py run", run_commands),
    ("docs/photographs.md", "jobs/annotate.py plan", run_in_fixture),
    ("docs/photographs.md", "├── run.json", check_output_tree),
    ("docs/photographs.md", "import duckdb", run_python),
    ("docs/photographs.md", "jobs/annotate.py export", run_commands),
    ("docs/cluster.md", "ray job submit", run_submission),
    ("docs/cluster.md", "kubectl apply", elsewhere(*ON_KUBERNETES)),
    ("docs/cluster.md", "--max-actors 64", run_growing),
    ("docs/evaluation.md", "evaluate.py score", run_commands),
    ("docs/evaluation.md", "evaluate.py agree", run_commands),
    ("docs/evaluation.md", "jobs/overlap.py", run_commands),
    ("docs/evaluation.md", "evaluate.py test-dev", run_commands),
    ("docs/evaluation.md", "benchmarks/reproduce.py", run_reproduction),
    ("docs/evaluation.md", "MatchTable.merge", run_python),
    ("docs/every_night.md", "mmpose:dekr_w32_coco", run_every_night),
    ("docs/every_night.md", "scan_delta", run_python),
    ("docs/every_night.md", "--replace", run_commands),
    ("docs/every_night.md", "30 1 * * *", run_cron_line),
    ("docs/formats.md", "jobs/annotate.py export", run_commands),
    ("docs/formats.md", "export_run", run_python),
    # FiftyOne keeps its data sets in a database; that it takes the samples is tried without one.
    (
        "docs/formats.md",
        "import fiftyone",
        elsewhere(
            "pipeline/export/test_the_tools_themselves_read_exports.py::test_fiftyone_makes_samples_of_every_line"
        ),
    ),
    ("docs/network.md", "Skeleton(", run_python),
    ("docs/performance.md", "benchmarks/network.py", run_benchmarks),
    ("docs/python.md", 'poses = posrefine.load("posrefine:tiny_coco")("photo.jpg")', ON_PYTHON),
    ("docs/python.md", "rescore=False", ON_PYTHON),
    ("docs/python.md", "poses.spread_px", ON_PYTHON),
    ("docs/python.md", "poses.to_supervision()", ON_PYTHON),
    ("docs/python.md", "import pickle", ON_PYTHON),
    ("docs/python.md", "by_hand", ON_PYTHON),
    (
        "docs/python.md",
        "posrefine predict",
        elsewhere(COMMANDS),
    ),
    ("docs/review.md", "review.py select", run_commands),
    ("docs/report.md", "pip install", run_commands),
    ("docs/report.md", "report_evaluation", run_python),
    ("docs/review.md", "jobs/review.py export", elsewhere(TASKS)),
    ("docs/review.md", "jobs/review.py import", elsewhere(CORRECTIONS)),
    ("docs/review.md", "fo.load_dataset", elsewhere(FIFTYONE_AGAIN)),
    ("docs/review.md", "jobs/pack.py", elsewhere(LEARNT)),
    ("docs/synthetic.md", "render_scene(7, TRAIN)", run_python),
    ("docs/synthetic.md", "jobs/train.py", run_small_training),
    ("docs/training.md", "jobs/pack.py", run_small_training),
    ("docs/training.md", "--weights hrnet_w32_imagenet.pth", run_small_training),
    ("docs/training.md", "--image-shares", run_small_training),
    ("docs/training.md", "--scene-cache", run_small_training),
    ("docs/training.md", "<output>/training.json", elsewhere(TRAINED)),
    ("docs/training.md", "jobs/train_score.py", run_small_training),
    ("docs/weights.md", "save_weights(", run_python),
    ("docs/weights.md", "ScoreNet(COCO)", run_python),
]
"""Page, words that only this block of the page has, and how it is tried."""


def tried(block: CodeBlock) -> list[Callable[[CodeBlock, Path], None]]:
    return [how for page, words, how in HOW if page == block.page and words in block.text]


def test_of_every_block_it_is_said_how_it_is_tried():
    for block in code_blocks():
        assert len(tried(block)) == 1, f"{block.page}: {len(tried(block))} ways for\n{block.text}"
    assert len(code_blocks()) == len(HOW)


@pytest.mark.slow
@pytest.mark.parametrize("block", code_blocks(), ids=lambda block: f"{block.page}: {block.text[:40]!r}")
def test_a_block_does_what_it_says(block: CodeBlock, world: Path):
    (how,) = tried(block)
    how(block, world)
