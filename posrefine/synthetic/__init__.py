"""Rendered scenes of people with exact ground truth, by seed, without any download."""

from posrefine.synthetic.coco import coco_annotations
from posrefine.synthetic.contact_sheet import contact_sheet
from posrefine.synthetic.crowding import crowd_index
from posrefine.synthetic.render import render_scene, render_scenes
from posrefine.synthetic.scene import Scene, ScenePerson
from posrefine.synthetic.spec import EASY, HARD, MEDIUM, SCENE_KINDS, TRAIN, SceneSpec

__all__ = [
    "EASY",
    "HARD",
    "MEDIUM",
    "SCENE_KINDS",
    "TRAIN",
    "Scene",
    "ScenePerson",
    "SceneSpec",
    "coco_annotations",
    "contact_sheet",
    "crowd_index",
    "render_scene",
    "render_scenes",
]
