"""The photographs of a labelled folder that a training keeps apart."""

from __future__ import annotations

from pathlib import Path

from pipeline.storage import Storage
from pipeline.training.labelled_images import LabelledImages
from posrefine import COCO

__all__ = ["kept_apart"]


def kept_apart(folder: Path, share: float) -> LabelledImages:
    """Of the folder with images/ and annotations.json, what `jobs/train.py --val-share` keeps apart."""
    labelled = LabelledImages.open(
        str(folder / "images"), str(folder / "annotations.json"), COCO, Storage(), only_with_persons=False
    )
    _, apart = labelled.parted(share, frozenset())
    return apart
