"""Rendered scenes as a source of labelled images, kept on disk once rendered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from posrefine.skeletons import Skeleton
from posrefine.synthetic.render import render_scene
from posrefine.synthetic.scene import Scene
from posrefine.synthetic.spec import SceneSpec
from posrefine.training.samples import LabelledImage

__all__ = ["SyntheticSource", "label_scene"]

_KEPT = ("pixels", "keypoints", "areas_px2", "diagonals_px")


@dataclass(frozen=True)
class SyntheticSource:
    """`count` scenes of consecutive seeds; the specs take turns, and a scene's seed alone says whose it is.

    Attributes:
        skeleton: whose joints the labels are.
        specs: what the scenes contain.
        count: number of scenes.
        first_seed: of scene 0; keep it away from the seeds of scenes that are evaluated on.
        cache: a folder where scenes are kept, which sources of one skeleton and the same specs may share:
            rendering one takes longer than learning from it. Pixels are kept plain (0.5 MB a scene): grain
            compresses by a third at most, and decoding would cost a quarter of what learning costs. None
            renders every time.
    """

    skeleton: Skeleton
    specs: tuple[SceneSpec, ...]
    count: int
    first_seed: int
    cache: Path | None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> LabelledImage:
        if self.cache is None:
            return self._render(position)
        path = self.cache / f"{self.first_seed + position}.safetensors"
        if not path.exists():
            _keep(self._render(position), path)
        return _recall(path)

    def _render(self, position: int) -> LabelledImage:
        seed = self.first_seed + position
        # By the seed, not the position: sources that overlap then agree on what a kept scene is.
        return label_scene(render_scene(seed, self.specs[seed % len(self.specs)]), self.skeleton)


def label_scene(scene: Scene, skeleton: Skeleton) -> LabelledImage:
    """A scene as a labelled image; its persons' boxes are those of the visible segments."""
    persons = len(scene.persons)
    boxes = np.array([person.bbox for person in scene.persons], np.float32).reshape(persons, 4)
    keypoints = [person.keypoints(skeleton) for person in scene.persons]
    return LabelledImage(
        pixels=scene.image,
        keypoints=np.array(keypoints, np.float32).reshape(persons, skeleton.num_joints, 3),
        areas_px2=np.array([person.area for person in scene.persons], np.float32),
        diagonals_px=np.hypot(boxes[:, 2], boxes[:, 3]),
        ignored=np.zeros(scene.image.shape[:2], np.bool_),
    )


def _keep(labelled: LabelledImage, path: Path) -> None:
    """Write whole or not at all: several processes may render the same scene at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    save_file({name: np.ascontiguousarray(getattr(labelled, name)) for name in _KEPT}, partial)
    partial.replace(path)


def _recall(path: Path) -> LabelledImage:
    kept = load_file(path)
    return LabelledImage(**kept, ignored=np.zeros(kept["pixels"].shape[:2], np.bool_))
