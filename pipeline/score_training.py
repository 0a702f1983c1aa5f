"""The rescoring network from a finished run over annotated images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit import decode_table
from pipeline.ground_truth import Annotations, read_annotations
from pipeline.image_index import NO_IMAGE
from pipeline.layout import OutputTree
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
    run: str, annotations: str, skeleton_name: str, output: str, recipe: ScoreRecipe, storage: Storage
) -> PublishedScoreNet:
    """Train on the poses that a run found, and write the weights to `output`.

    Raises:
        ConfigurationError: there is no such run, or its skeleton is another one.
        TrainingError: no pose is near an annotated person.
    """
    skeleton = SKELETONS[skeleton_name]
    truth = read_annotations(storage, annotations, protocol_named(skeleton_name))
    parts = list(_examples(run, truth, skeleton, storage))
    if not parts:
        raise ConfigurationError(f"{run}: no units/*.parquet below it: name the output of an annotate run")
    examples = ScoreExamples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    network, error = train_score_net(examples, skeleton, recipe)
    metadata = {
        "skeleton": skeleton_name,
        "data": f"{len(examples.oks)} poses of {run}, judged by {annotations}",
    }
    with tempfile.TemporaryDirectory(prefix="posrefine-weights-") as folder:
        path = Path(folder) / "score.safetensors"
        sha256 = save_weights(network, path, metadata)
        storage.put(output, path.read_bytes())
    return PublishedScoreNet(output, sha256, len(examples.oks), error)


def _examples(
    run: str, annotations: Annotations, skeleton: Skeleton, storage: Storage
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Keypoints, keypoint scores and best OKS, one unit at a time."""
    for unit in storage.list(OutputTree.at(run).units):
        rows = decode_table(storage.read_bytes(unit.uri), ["image_key", "image_id", "persons"])
        _require_skeleton(rows, skeleton, run)
        lists = rows["persons"].combine_chunks()
        ids = np.repeat(_image_ids(rows, annotations), np.asarray(pc.list_value_length(lists), np.int64))
        persons, joints = lists.flatten(), skeleton.num_joints
        keypoints = _numbers(persons, "keypoints").reshape(-1, joints, 2)
        scores = _numbers(persons, "keypoint_scores").reshape(-1, joints)
        known = ids != NO_IMAGE
        oks = best_oks(keypoints[known].astype(np.float64), ids[known], annotations.truth, skeleton)
        yield keypoints[known], scores[known], oks.astype(np.float32)


def _numbers(persons: pa.StructArray, name: str) -> np.ndarray:
    return np.asarray(pc.list_flatten(pc.struct_field(persons, name)), np.float32)


def _image_ids(rows: pa.Table, annotations: Annotations) -> np.ndarray:
    """By file name, or else by the run's own image id where the annotations know it."""
    by_name = annotations.index.find(rows["image_key"].to_pylist())
    stated = np.asarray(pc.fill_null(rows["image_id"], NO_IMAGE), np.int64)
    known = np.isin(stated, annotations.truth.image_ids)
    return np.where(by_name != NO_IMAGE, by_name, np.where(known, stated, NO_IMAGE))


def _require_skeleton(rows: pa.Table, skeleton: Skeleton, run: str) -> None:
    found = (rows.schema.metadata or {}).get(b"posrefine.skeleton", b"").decode()
    if found != skeleton.name:
        raise ConfigurationError(
            f"{run}: the run's skeleton is {found or 'not stated'}, wanted {skeleton.name}: choose --skeleton"
        )
