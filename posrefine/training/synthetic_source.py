"""Rendered scenes as a source of labelled images, kept on disk once rendered."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from posrefine import synthetic
from posrefine.skeletons import Skeleton
from posrefine.synthetic.render import render_scene
from posrefine.synthetic.scene import Scene
from posrefine.synthetic.spec import SceneSpec
from posrefine.training.samples import LabelledImage

__all__ = ["SyntheticSource", "label_scene"]

_KEPT = ("pixels", "keypoints", "areas_px2", "diagonals_px", "instances")


@dataclass(frozen=True)
class SyntheticSource:
    """`count` scenes of consecutive seeds; the specs take turns by the seed.

    Attributes:
        skeleton: whose joints the labels are.
        specs: what the scenes contain.
        count: number of scenes.
        first_seed: of scene 0; keep it away from the seeds of scenes that are evaluated on.
        cache: a folder where scenes are kept, which any sources may share: what is kept is named by seed,
            spec and joints of the scene and by the renderer's code. Rendering one takes longer than learning
            from it. Pixels are kept plain (0.5 MB a scene): grain compresses by a third at most, and decoding
            would cost a quarter of what learning costs. None renders every time.
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
        seed = self.first_seed + position
        path = self.cache / _kind(self._spec(seed), self.skeleton) / f"{seed}.safetensors"
        if not path.exists():
            _keep(self._render(position), path)
        return _recall(path)

    def _render(self, position: int) -> LabelledImage:
        seed = self.first_seed + position
        return label_scene(render_scene(seed, self._spec(seed)), self.skeleton)

    def _spec(self, seed: int) -> SceneSpec:
        # By the seed, not the position: sources that overlap then share their scenes.
        return self.specs[seed % len(self.specs)]


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
        instances=scene.instance_map,
    )


@lru_cache(maxsize=64)
def _kind(spec: SceneSpec, skeleton: Skeleton) -> str:
    """Name of the cache's folder for this spec, skeleton and renderer."""
    what = json.dumps([asdict(spec), skeleton.joints, _renderer()])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _renderer() -> str:
    """Digest of the code that renders."""
    digest = hashlib.sha256()
    for path in sorted(Path(synthetic.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _keep(labelled: LabelledImage, path: Path) -> None:
    """Write whole or not at all: several processes may render the same scene at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    save_file({name: np.ascontiguousarray(getattr(labelled, name)) for name in _KEPT}, partial)
    partial.replace(path)


def _recall(path: Path) -> LabelledImage:
    kept = load_file(path)
    return LabelledImage(**kept, ignored=np.zeros(kept["pixels"].shape[:2], np.bool_))
