"""`posrefine predict`: the persons in photographs, on the terminal, as JSON and drawn."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posrefine.errors import ConfigurationError, ImageError
from posrefine.image_formats import IMAGE_SUFFIXES
from posrefine.inference.predictor import Predictor
from posrefine.loading import load
from posrefine.photographs import pixels_of
from posrefine.poses import Poses
from posrefine.redaction import redacted

__all__ = ["predict"]

_COMPLETE, _OVER_ERROR_BUDGET = 0, 3
_STANDARD_OUTPUT = "-"


def predict(arguments: argparse.Namespace) -> int:
    """Finds the persons in every photograph; those that cannot be used are named, and the rest goes on."""
    paths = list(_photographs(arguments.images))
    drawings = None if arguments.draw is None else _drawings(paths, Path(arguments.draw))
    if arguments.json not in (None, _STANDARD_OUTPUT) and not Path(arguments.json).parent.is_dir():
        raise ConfigurationError(f"--json {arguments.json}: its folder does not exist; make it first")
    if math.isnan(arguments.min_score):
        raise ConfigurationError("--min-score nan: expected a number, such as 0.3")
    predictor = load(
        arguments.weights,
        not arguments.no_rescore,
        arguments.device,
        model=arguments.model,
        scales=arguments.scales,
    )
    if predictor.weights is not None and predictor.weights.note:
        print(redacted(f"note: {predictor.weights.note}"), file=sys.stderr)
    rows, failed = [], 0
    for path in paths:
        try:
            pixels = pixels_of(path)
            everyone = predictor(pixels)
        except ImageError as error:
            failed += 1
            print(redacted(f"{path}: {error.status}: {error}"), file=sys.stderr)
            row = {"image": _named(path), "status": str(error.status), "error": redacted(str(error))}
            rows.append(row)
            continue
        poses = everyone.filter(min_score=arguments.min_score)
        height, width = pixels.shape[:2]
        size = {"width": width, "height": height}
        below = len(everyone) - len(poses)
        persons = {"persons": poses.to_dict()["persons"], "persons_below": below}
        rows.append({"image": _named(path), "status": "ok", **size, **persons})
        if arguments.json != _STANDARD_OUTPUT:
            more = f"; {below} more below {arguments.min_score:g}" if below else ""
            print(f"{_named(path)}: {_summary(poses)}{more}")
        if drawings is not None:
            drawings[path].parent.mkdir(parents=True, exist_ok=True)
            poses.draw(pixels).save(drawings[path])
    if arguments.json is not None:
        _write_json(arguments.json, {**_about(predictor, arguments.min_score), "images": rows})
    return _OVER_ERROR_BUDGET if failed else _COMPLETE


def _photographs(named: Sequence[str]) -> Iterator[Path]:
    """The files that are named, and the images in the folders that are, once each."""
    seen: set[Path] = set()
    for name in map(Path, named):
        inside = sorted(path for path in name.rglob("*") if _is_photograph(path))
        if name.is_dir() and not inside:
            raise ConfigurationError(f"{name}: the folder holds no images ({', '.join(IMAGE_SUFFIXES)})")
        for path in inside if name.is_dir() else [name]:
            if path not in seen:
                seen.add(path)
                yield path


def _named(path: Path) -> str:
    """A file by its name, whatever that holds; what is none may be an address that was taken for one."""
    return str(path) if path.exists() else redacted(str(path))


def _is_photograph(path: Path) -> bool:
    """By its name: macOS leaves `._photo.jpg` and `__MACOSX/` beside photographs, which are none."""
    is_left_by_macos = path.name.startswith("._") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_left_by_macos


def _drawings(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each photograph's drawing goes: below `folder` as the photographs lie below what they share."""
    absolute = [path.parent.resolve() / path.name for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in absolute]))
    drawings = {path: folder / full.relative_to(shared) for path, full in zip(paths, absolute, strict=True)}
    for path, drawing in drawings.items():
        if drawing.exists() and path.exists() and drawing.samefile(path):
            raise ConfigurationError(f"--draw {folder}: would overwrite {path}; name another folder")
    return drawings


def _summary(poses: Poses) -> str:
    persons = "1 person" if len(poses) == 1 else f"{len(poses)} persons"
    scores = ", ".join(f"{score:.2f}" for score in poses.scores)
    return f"{persons}, scores {scores}" if len(poses) else persons


def _about(predictor: Predictor, min_score: float) -> dict[str, Any]:
    info = predictor.weights
    return {
        "weights": info and redacted(info.origin),
        "weights_sha256": info and info.sha256,
        "note": info and info.note and redacted(info.note),
        "input_size": predictor.input_size,
        "protocol": predictor.protocol.name,
        "scales": list(predictor.scales),
        "min_score": min_score,
        "skeleton": predictor.skeleton.name,
        "joints": list(predictor.skeleton.joints),
    }


def _write_json(name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    if name == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    temporary = Path(f"{name}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)
