"""The rescoring network from finished runs over annotated images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ground_truth.annotations import Annotations, read_annotations
from pipeline.ground_truth.image_names import NO_IMAGE, FoundImages
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.output.stored_poses import POSE_COLUMNS, stored_poses
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import oks_rules
from posrefine.skeletons import SKELETONS, Skeleton
from posrefine.training.score import ScoreExamples, ScoreRecipe, best_oks, train_score_net
from posrefine.weights import save_weights

__all__ = ["PublishedScoreNet", "train_score"]


@dataclass(frozen=True)
class PublishedScoreNet:
    """Address and sha256 of the weights, number of poses, and the error of the predicted OKS on them."""

    weights: str
    sha256: str
    poses: int
    error_oks: float


def train_score(
    runs: Sequence[str],
    annotations: Sequence[str],
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
        annotations: of the images of all runs: one file for all, or one for each.
        skeleton_name: of the runs.
        output: URI of the safetensors file.
        recipe: how to train.
        storage: where all of these are.
        licence: of the weights, for their metadata.

    Raises:
        ConfigurationError: there is no such run, its skeleton is another one, its poses were rescored, the
            runs are of different networks, or there are neither one annotation file nor as many as runs.
        TrainingError: no pose is near an annotated person.
    """
    skeleton = SKELETONS[skeleton_name]
    if len(annotations) not in (1, len(runs)):
        raise ConfigurationError(
            f"--annotations names {len(annotations)} files for {len(runs)} runs: give one for all, or one "
            "for each"
        )
    truths = {uri: read_annotations(storage, uri, oks_rules(skeleton_name)) for uri in annotations}
    rows = {run: RunOutput.rows_at(run, storage, source="model", units_first=True) for run in runs}
    origins = {run: _Origin.of(rows[run], skeleton) for run in runs}
    if len(set(origins.values())) > 1:
        raise ConfigurationError(
            "the runs are of different networks, and a rescoring network learns how one of them errs: "
            + "; ".join(f"{run} is of weights {origin.weights_sha256[:8]}" for run, origin in origins.items())
        )
    files = annotations if len(annotations) > 1 else [annotations[0]] * len(runs)
    parts = [
        part
        for run, file in zip(runs, files, strict=True)
        for part in _examples(rows[run], truths[file], skeleton)
    ]
    examples = ScoreExamples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    network, error = train_score_net(examples, skeleton, recipe)
    metadata = {
        "skeleton": skeleton_name,
        "data": f"{len(examples.oks)} poses of {', '.join(runs)}, judged by {', '.join(annotations)}",
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
    """Weights, protocol and note of a run's network, from the metadata of its files."""

    weights_sha256: str
    protocol: str | None
    note: str | None

    @staticmethod
    def of(run: RunRows, skeleton: Skeleton) -> _Origin:
        """Of a run.

        Raises:
            ConfigurationError: it is of another skeleton, or rescored.
        """
        if run.skeleton.name != skeleton.name:
            raise ConfigurationError(
                f"{run.uri}: the run's skeleton is {run.skeleton.name}, wanted {skeleton.name}: choose "
                "--skeleton"
            )
        if run.settings.get("score_weights_sha256") is not None:
            raise ConfigurationError(
                f"{run.uri}: its poses were rescored by {run.settings['score_weights_sha256'][:8]}: annotate "
                "the images without --score-weights"
            )
        return _Origin(run.weights_sha256, run.settings.get("protocol"), run.note)

    def metadata(self) -> dict[str, str]:
        """Protocol and note, for the metadata of weights learnt from the poses."""
        return {
            key: value
            for key, value in (("protocol", self.protocol), ("note", self.note))
            if value is not None
        }


_COLUMNS = ["image_key", "image_id", "width", "height"]
_FIELDS = POSE_COLUMNS


def _examples(run: RunRows, annotations: Annotations, skeleton: Skeleton) -> Iterator[tuple[np.ndarray, ...]]:
    """The fields of `ScoreExamples` in their order, one file at a time.

    Poses of images that are not annotated are left out, and those of which nobody can say how good they are.

    Raises:
        ConfigurationError: two images of the run may be one annotated image; both are named.
    """
    named, images, parts = list[FoundImages](), list[np.ndarray](), list[tuple[np.ndarray, ...]]()
    for found in run.persons(_COLUMNS, _FIELDS):
        rows, counts, persons, joints = found.images, found.per_image, found.persons, skeleton.num_joints
        named.append(_named(rows, annotations))
        ids = np.repeat(named[-1].ids, counts)
        short_sides_px = np.repeat(_short_sides_px(rows), counts)
        poses = stored_poses(persons, joints)
        known = ids != NO_IMAGE
        oks = np.full(len(ids), np.nan)
        oks[known] = best_oks(
            poses.keypoints[known].astype(np.float64), ids[known], annotations.truth, skeleton
        )
        judged = np.isfinite(oks)
        fields = poses.keypoints, poses.keypoint_scores, poses.spread_px, short_sides_px
        images.append(np.repeat(np.arange(len(rows)), counts)[judged])
        parts.append((*(field[judged] for field in fields), oks[judged].astype(np.float32)))
    # Which of two images of one name is the annotated one is known once all of them are.
    for annotated, rows_of, part in zip(FoundImages.settled_together(named), images, parts, strict=True):
        yield tuple(field[annotated[rows_of]] for field in part)


def _short_sides_px(rows: pa.Table) -> np.ndarray:
    """[images] float32; images that could not be read have neither sides nor persons."""
    shorter = pc.min_element_wise(rows["width"], rows["height"])
    return np.asarray(pc.fill_null(shorter, 0), np.float32)


def _named(rows: pa.Table, annotations: Annotations) -> FoundImages:
    """The annotated images that a file's images are, as the evaluation finds them."""
    stated = np.asarray(pc.fill_null(rows["image_id"], NO_IMAGE), np.int64)
    return annotations.find(rows["image_key"].to_pylist(), stated)
