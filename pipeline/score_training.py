"""The rescoring network from finished runs over annotated images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit import decode_table
from pipeline.ground_truth import Annotations, read_annotations
from pipeline.image_index import NO_IMAGE
from pipeline.layout import OutputTree
from pipeline.schema import described
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import protocol_named
from posrefine.skeletons import SKELETONS, Skeleton
from posrefine.training.score import ScoreExamples, ScoreRecipe, best_oks, train_score_net
from posrefine.weights import save_weights

__all__ = ["PublishedScoreNet", "train_score"]


@dataclass(frozen=True)
class PublishedScoreNet:
    """Where the network is, what it learnt from, and how far off its predictions are there."""

    weights: str
    sha256: str
    poses: int
    error_oks: float


def train_score(
    runs: Sequence[str],
    annotations: str,
    skeleton_name: str,
    output: str,
    recipe: ScoreRecipe,
    storage: Storage,
    licence: str = "unstated",
) -> PublishedScoreNet:
    """Train on the poses that runs found, and write the weights to `output`.

    What must be known about a run's poses, such as that its network has met rendered people alone, must be
    known about what was learnt from them: its note and its protocol go into the metadata.

    Args:
        runs: outputs of the annotate job, for instance one with one test scale and one with several.
        annotations: of the images of all runs.
        skeleton_name: of the runs.
        output: URI of the safetensors file.
        recipe: how to train.
        storage: where all of these are.
        licence: of the weights, for their metadata.

    Raises:
        ConfigurationError: there is no such run, its skeleton is another one, its poses were rescored, or the
            runs are of different networks.
        TrainingError: no pose is near an annotated person.
    """
    skeleton = SKELETONS[skeleton_name]
    truth = read_annotations(storage, annotations, protocol_named(skeleton_name))
    origins = {run: _Origin.of(run, skeleton, storage) for run in runs}
    if len(set(origins.values())) > 1:
        raise ConfigurationError(
            "the runs are of different networks, and a rescoring network learns how one of them errs: "
            + "; ".join(f"{run} is of weights {origin.weights_sha256[:8]}" for run, origin in origins.items())
        )
    parts = [part for run in runs for part in _examples(run, truth, skeleton, storage)]
    examples = ScoreExamples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    network, error = train_score_net(examples, skeleton, recipe)
    metadata = {
        "skeleton": skeleton_name,
        "data": f"{len(examples.oks)} poses of {', '.join(runs)}, judged by {annotations}",
        "licence": licence,
        **origins[runs[0]].metadata(),
    }
    with tempfile.TemporaryDirectory(prefix="posrefine-weights-") as folder:
        path = Path(folder) / "score.safetensors"
        sha256 = save_weights(network, path, metadata)
        storage.put(output, path.read_bytes())
    return PublishedScoreNet(output, sha256, len(examples.oks), error)


@dataclass(frozen=True)
class _Origin:
    """What a run's files say of the network that found their poses."""

    weights_sha256: str
    protocol: str | None
    note: str | None

    @staticmethod
    def of(run: str, skeleton: Skeleton, storage: Storage) -> _Origin:
        """Of the run's first unit.

        Raises:
            ConfigurationError: there is none, of another skeleton, or rescored.
        """
        unit = next(iter(storage.list(OutputTree.at(run).units)), None)
        if unit is None:
            raise ConfigurationError(
                f"{run}: no units/*.parquet below it: name the output of an annotate run"
            )
        said = described(decode_table(storage.read_bytes(unit.uri), ["image_key"]).schema.metadata)
        found = said.get("skeleton")
        if found != skeleton.name:
            raise ConfigurationError(
                f"{run}: the run's skeleton is {found or 'not stated'}, wanted {skeleton.name}: choose "
                "--skeleton"
            )
        settings = json.loads(said["settings"])
        if settings.get("score_weights_sha256") is not None:
            raise ConfigurationError(
                f"{run}: its poses were rescored by {settings['score_weights_sha256'][:8]}: annotate the "
                "images without --score-weights"
            )
        return _Origin(said["weights_sha256"], settings.get("protocol"), said.get("note"))

    def metadata(self) -> dict[str, str]:
        """What weights learnt from the poses must say too."""
        return {
            key: value
            for key, value in (("protocol", self.protocol), ("note", self.note))
            if value is not None
        }


_COLUMNS = ["image_key", "image_id", "width", "height", "persons"]


def _examples(
    run: str, annotations: Annotations, skeleton: Skeleton, storage: Storage
) -> Iterator[tuple[np.ndarray, ...]]:
    """The fields of `ScoreExamples` in their order, one unit at a time."""
    for unit in storage.list(OutputTree.at(run).units):
        rows = decode_table(storage.read_bytes(unit.uri), _COLUMNS)
        lists = rows["persons"].combine_chunks()
        counts = np.asarray(pc.list_value_length(lists), np.int64)
        ids = np.repeat(_image_ids(rows, annotations), counts)
        short_sides_px = np.repeat(_short_sides_px(rows), counts)
        persons, joints = lists.flatten(), skeleton.num_joints
        keypoints = _numbers(persons, "keypoints").reshape(-1, joints, 2)
        scores = _numbers(persons, "keypoint_scores").reshape(-1, joints)
        known = ids != NO_IMAGE
        oks = best_oks(keypoints[known].astype(np.float64), ids[known], annotations.truth, skeleton)
        yield keypoints[known], scores[known], short_sides_px[known], oks.astype(np.float32)


def _short_sides_px(rows: pa.Table) -> np.ndarray:
    """[images] float32; images that could not be read have neither sides nor persons."""
    shorter = pc.min_element_wise(rows["width"], rows["height"])
    return np.asarray(pc.fill_null(shorter, 0), np.float32)


def _numbers(persons: pa.StructArray, name: str) -> np.ndarray:
    return np.asarray(pc.list_flatten(pc.struct_field(persons, name)), np.float32)


def _image_ids(rows: pa.Table, annotations: Annotations) -> np.ndarray:
    """By file name, or else by the run's own image id where the annotations know it."""
    by_name = annotations.index.find(rows["image_key"].to_pylist())
    stated = np.asarray(pc.fill_null(rows["image_id"], NO_IMAGE), np.int64)
    known = np.isin(stated, annotations.truth.image_ids)
    return np.where(by_name != NO_IMAGE, by_name, np.where(known, stated, NO_IMAGE))
