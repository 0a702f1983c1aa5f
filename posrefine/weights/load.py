"""Weights into a network and out of it: the public doors of this room."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from posrefine.errors import WeightsError
from posrefine.inference.protocol import PROTOCOLS
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import SKELETONS
from posrefine.weights.checkpoint import decode_checkpoint, encode_safetensors
from posrefine.weights.download import fetch
from posrefine.weights.fit import fit
from posrefine.weights.info import WeightsInfo
from posrefine.weights.readers.detect import read_as
from posrefine.weights.readers.reading import Part, Reading
from posrefine.weights.zoo import ZOO, zoo_entry_of

__all__ = ["load_weights", "load_weights_bytes", "save_weights"]

_FORMAT_KEY, _FORMAT = "format", "posrefine"


def load_weights(model: nn.Module, source: str | Path, *, strict: bool = True) -> WeightsInfo:
    """Fill a pose network or a ScoreNet from a file.

    Args:
        model: what `build_model` returned, or a `ScoreNet`; changed in place, wholly or not at all.
        source: a name of the zoo, or a safetensors or PyTorch file.
        strict: refuse a file whose tensor names are not the network's; shapes must fit in any case.

    Raises:
        WeightsError: the file is missing or cannot be downloaded, is no checkpoint, is of no known format, or
            does not fit.
    """
    return load_weights_bytes(model, _read(source), str(source), strict=strict)


def load_weights_bytes(model: nn.Module, data: bytes, name: str, *, strict: bool = True) -> WeightsInfo:
    """As `load_weights`, from a file already in memory, called `name` in messages and in the result."""
    checkpoint = decode_checkpoint(data, name)
    entry = zoo_entry_of(checkpoint.sha256)
    mmpose_limbs = entry is not None and entry.protocol == "mmpose"
    reading = read_as(_part_of(model), checkpoint, mmpose_limbs=mmpose_limbs)
    # Only our own files are believed: other tools use the same keys for other things (`format: pt`).
    own = checkpoint.metadata if checkpoint.metadata.get(_FORMAT_KEY) == _FORMAT else {}
    _check_metadata(own, name)
    result = fit(model, reading, name, strict=strict)
    return WeightsInfo(
        sha256=checkpoint.sha256,
        origin=name,
        format=own.get(_FORMAT_KEY, reading.format),
        protocol=own.get("protocol", reading.protocol),
        skeleton=own.get("skeleton") or _skeleton_name(reading),
        licence=own.get("licence") or (entry.licence if entry else None),
        note=own.get("note"),
        not_in_file=result.not_in_file,
        not_used=result.not_used,
        metadata=checkpoint.metadata,
    )


def save_weights(
    model: nn.Module,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    stored_as: torch.dtype | None = None,
) -> str:
    """Write a network's tensors as safetensors, whole or not at all; equal input gives equal bytes.

    Args:
        model: a pose network or a ScoreNet.
        path: the file to write or replace.
        metadata: text that goes with it: variant, skeleton, protocol, data, licence, ...
        stored_as: of the convolutions' weights, by default as they are; float16 halves a file. Norms, biases
            and gains are always stored as they are.

    Returns:
        The hex sha256 of the file.

    Raises:
        WeightsError: a metadata value is not text, `protocol` or `skeleton` names an unknown one, or a weight
            is too large for `stored_as`.
    """
    metadata = metadata or {}
    _check_metadata(metadata, str(path))
    tensors = {key: _stored(value, stored_as, key, path) for key, value in model.state_dict().items()}
    data = encode_safetensors(tensors, {**metadata, _FORMAT_KEY: _FORMAT})
    _replace(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def _stored(tensor: Tensor, dtype: torch.dtype | None, key: str, path: str | Path) -> Tensor:
    if dtype is None or tensor.ndim <= 1 or not tensor.is_floating_point():
        return tensor
    stored = tensor.to(dtype)
    if not torch.isfinite(stored).all():
        raise WeightsError(
            f"weights {path}: tensor {key} reaches {float(tensor.abs().max()):g}, too much for {dtype}: "
            "store it as float32"
        )
    return stored


def _part_of(model: nn.Module) -> Part:
    return Part.SCORE if isinstance(model, ScoreNet) else Part.POSE


def _read(source: str | Path) -> bytes:
    entry = ZOO.get(str(source))
    path = Path(source) if entry is None else fetch(entry)
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"weights {source}: cannot be read ({error.strerror}); name a safetensors or PyTorch file "
            f"on this machine, or one of {', '.join(ZOO)}"
        ) from error


def _skeleton_name(reading: Reading) -> str | None:
    heatmap, first = reading.tensors.get("head_heatmap.1.weight"), reading.tensors.get("l1.weight")
    for skeleton in SKELETONS.values():
        if heatmap is not None and heatmap.shape[0] == skeleton.num_joints + 1:
            return skeleton.name
        if first is not None and first.shape[1] == 3 * len(skeleton.score_limbs) + skeleton.num_joints:
            return skeleton.name
    return None


def _check_metadata(metadata: Mapping[str, str], name: str) -> None:
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise WeightsError(
                f"weights {name}: metadata {key!r}: {value!r} is a {type(value).__name__}; "
                "safetensors holds text alone: pass it as a string"
            )
    for key, known in (("protocol", tuple(PROTOCOLS)), ("skeleton", tuple(SKELETONS))):
        if key in metadata and metadata[key] not in known:
            raise WeightsError(
                f"weights {name}: metadata {key!r}: {metadata[key]!r} is unknown; "
                f"wanted one of {', '.join(known)}"
            )


def _replace(path: Path, data: bytes) -> None:
    """One rename publishes the file, so nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
