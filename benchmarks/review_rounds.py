"""Three rounds of review: what correcting the queue is worth beside correcting as many images at random.

The small network annotates photographs with COCO's annotations that it has not learnt from, of which it finds some,
and as many rendered scenes, which it knows better. A simulated reviewer gets the images of a queue and labels the persons that the
annotations have, each joint where they have it plus an error of `--error` times what COCO's own annotators
differ by; `select` makes the queues, and `import` takes the answers as CVAT exports them. After each round the corrected
table is scored. Nothing is trained anew: the curve is that of the table, which gets better where people looked.
The same budget is spent on random images, `--draws` times.

    python benchmarks/review_rounds.py --photographs ../shared/data/coco_photos/train --val-share 0.1

With `--val-share` the photographs are those that a training with the same option kept apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, store
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kept_apart import kept_apart  # noqa: E402

from jobs.annotate import main as annotate  # noqa: E402
from jobs.review import main as review  # noqa: E402
from pipeline.evaluation.benchmark import Benchmark, ScoreOptions  # noqa: E402
from pipeline.output.review_queue import read_queue  # noqa: E402
from pipeline.output.run_output import RunOutput  # noqa: E402
from pipeline.storage import Storage  # noqa: E402
from posrefine.skeletons import COCO  # noqa: E402
from posrefine.synthetic import coco_annotations, render_scenes  # noqa: E402

ROUNDS = 3
FIRST_SCENE = 9_500_000
NETWORK = ("--model", "posrefine_tiny", "--weights", "posrefine:tiny_coco", "--precision", "float32")


@dataclass
class Reviewer:
    """Labels what COCO labelled, with an error.

    Attributes:
        content: COCO's annotation file.
        error: in units of the standard deviation of COCO's annotators, of each joint and person.
        rng: of the error.
    """

    content: dict[str, Any]
    error: float
    rng: np.random.Generator

    def answers(self, keys: list[str], hashes: dict[str, str]) -> dict[str, Any]:
        """The images with these keys, in COCO's form, as a labelling tool exports them."""
        images = [image for image in self.content["images"] if image["file_name"] in keys]
        ids = {image["id"] for image in images}
        people = [
            self._person(person)
            for person in self.content["annotations"]
            if person["image_id"] in ids and person["num_keypoints"] and not person["iscrowd"]
        ]
        return {
            "images": [image | {"sha256": hashes[image["file_name"]]} for image in images],
            "annotations": people,
            "categories": [COCO.coco_category()],
        }

    def _person(self, person: dict[str, Any]) -> dict[str, Any]:
        joints = np.array(person["keypoints"], float).reshape(-1, 3)
        spread_px = self.error * np.array(COCO.sigmas) * np.sqrt(person["area"])
        image = next(image for image in self.content["images"] if image["id"] == person["image_id"])
        moved = joints[:, :2] + self.rng.normal(size=(len(joints), 2)) * spread_px[:, None]
        moved = moved.clip(0, (image["width"] - 1, image["height"] - 1))
        joints[:, :2] = np.where(joints[:, 2:] > 0, moved, 0)
        return person | {"category_id": 1, "keypoints": joints.reshape(-1).tolist()}


@dataclass
class Trial:
    """One output on its way through the rounds."""

    output: str
    benchmark: Benchmark
    reviewer: Reviewer
    folder: Path

    def ap(self, source: str = "corrected") -> float:
        options = ScoreOptions(diagnosis=False, source=source)  # type: ignore[arg-type]
        return float(self.benchmark.score(self.output, options).evaluation.AP)

    def rows(self) -> list[Any]:
        return list(RunOutput.at(self.output, Storage()).images())

    def correct(self, keys: list[str]) -> dict[str, Any]:
        """Have the reviewer look at these images, and take the answers in."""
        hashes = {row.image_key: row.sha256 for row in self.rows()}
        file = self.folder / f"{len(list(self.folder.iterdir()))}.json"
        file.write_text(json.dumps(self.reviewer.answers(keys, hashes)))
        said = StringIO()
        with redirect_stdout(said):
            looked = ["--reviewer", "simulated", "--unchanged-is-reviewed"]
            assert review(["import", str(file), "--output", self.output, *looked]) == 0
        corrected = [row for row in self.rows() if row.source != "model"]
        people = next(line for line in said.getvalue().splitlines() if line.startswith("persons"))
        return {
            "corrected": len(corrected),
            "persons_labelled": sum(len(row.poses) for row in corrected),
            "ap": round(self.ap(), 4),
            "persons": people.split(None, 1)[1],
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder with images/ and annotations.json"
    )
    parser.add_argument("--val-share", type=float, default=1.0, help="of the photographs, those kept apart")
    parser.add_argument("--images", type=int, default=67, help="of each data set")
    parser.add_argument("--budget", type=int, default=8, help="images a round")
    parser.add_argument("--error", type=float, default=0.5, help="of the reviewer, in COCO's own")
    parser.add_argument("--draws", type=int, default=10, help="random choices of images to compare with")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="review-rounds-") as name:
        scenes, photographs = Path(name) / "scenes", Path(name) / "photographs"
        render(given.images, scenes)
        take(given.photographs, given.val_share, given.images, photographs)
        sets = {"photographs": photographs, "rendered scenes": scenes}
        result = {
            "machine": machine(("ray", "pyarrow", "deltalake")),
            "budget": given.budget,
            "reviewer_error": given.error,
            "random_draws": given.draws,
            "seed": given.seed,
            "sets": {
                words: measured(Path(name) / f"set{number}", data, given)
                for number, (words, data) in enumerate(sets.items())
            },
        }
    store("review_rounds", result)


def render(count: int, folder: Path) -> None:
    """Scenes that the bundled network was not trained on, as photographs lie: images/ and annotations."""
    scenes = list(render_scenes(count, first_seed=FIRST_SCENE))
    content = coco_annotations(scenes, COCO)
    (folder / "images").mkdir(parents=True)
    for scene, image in zip(scenes, content["images"], strict=True):
        image["file_name"] = f"{image['id']:06d}.jpg"
        Image.fromarray(scene.image).save(folder / "images" / image["file_name"], quality=92)
    (folder / "annotations.json").write_text(json.dumps(content))


def take(source: Path, share: float, count: int, folder: Path) -> None:
    """The first photographs, by name, of those that a training with `--val-share` keeps apart."""
    names = sorted(record["file_name"] for record in kept_apart(source, share).records)[:count]
    content = json.loads((source / "annotations.json").read_text())
    images = [image for image in content["images"] if image["file_name"] in names]
    ids = {image["id"] for image in images}
    people = [person for person in content["annotations"] if person["image_id"] in ids]
    (folder / "images").mkdir(parents=True)
    for name in names:
        shutil.copyfile(source / "images" / name, folder / "images" / name)
    (folder / "annotations.json").write_text(json.dumps(content | {"images": images, "annotations": people}))


def measured(folder: Path, data: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What rounds of review do for a data set, by the queue and at random."""
    annotations = data / "annotations.json"
    content = json.loads(annotations.read_text())
    benchmark = Benchmark.open(str(annotations), "coco", Storage())
    first = str(folder / "run")
    places = ["--input", str(data / "images"), "--output", first]
    assert annotate(["run", *places, "--replaced-grace-s", "0", *NETWORK]) == 0

    def trial(name: str, seed: int) -> Trial:
        shutil.copytree(first, folder / name)
        (folder / f"{name}-answers").mkdir()
        reviewer = Reviewer(content, given.error, np.random.default_rng(seed))
        return Trial(str(folder / name), benchmark, reviewer, folder / f"{name}-answers")

    by_queue = trial("queue", given.seed)
    start = round(by_queue.ap(), 4)
    queue_rounds = [by_queue.correct(next_queue(by_queue.output, given.budget)) for _ in range(ROUNDS)]
    random_rounds = []
    for draw in range(given.draws):
        by_chance = trial(f"random{draw}", given.seed + draw)
        keys = sorted(row.image_key for row in by_chance.rows())
        order = np.random.default_rng(1000 + draw).permutation(keys)
        parts = [order[n * given.budget : (n + 1) * given.budget] for n in range(ROUNDS)]
        random_rounds.append([by_chance.correct(part.tolist()) for part in parts])
    everything = trial("all", given.seed)
    aps, labelled = (
        np.array([[one[name] for one in rounds] for rounds in random_rounds])
        for name in ("ap", "persons_labelled")
    )
    return {
        "images": len(content["images"]),
        "ap_of_the_network": start,
        "ap_of_the_network_after_all_rounds": round(by_queue.ap("model"), 4),
        "queue": queue_rounds,
        "random": [
            {
                "corrected": (number + 1) * given.budget,
                "persons_labelled_mean": round(float(labelled[:, number].mean()), 1),
                "ap_mean": round(float(column.mean()), 4),
                "ap_least": round(float(column.min()), 4),
                "ap_most": round(float(column.max()), 4),
            }
            for number, column in enumerate(aps.T)
        ],
        "all_corrected": everything.correct([row.image_key for row in everything.rows()]),
    }


def next_queue(output: str, budget: int) -> list[str]:
    """Have `select` choose, and return the keys of the images that are tasks."""
    with redirect_stdout(StringIO()):
        assert review(["select", "--output", output, "--budget", str(budget)]) == 0
    queue = read_queue(RunOutput.at(output, Storage()))
    return [image.image_key for image in queue.images if not image.is_reviewed]


if __name__ == "__main__":
    main()
