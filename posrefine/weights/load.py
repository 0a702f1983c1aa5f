"""Weights into a network and out of it: the public doors of this room."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from posrefine.errors import ConfigurationError, WeightsError
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.per_channel import is_per_channel
from posrefine.modeling.score_net import ScoreNet
from posrefine.modeling.trained_for import TrainedFor
from posrefine.skeletons import Skeleton
from posrefine.weights.checkpoint import Checkpoint, decode_checkpoint, encode_safetensors
from posrefine.weights.download import fetch
from posrefine.weights.fit import fit
from posrefine.weights.info import WeightsInfo
from posrefine.weights.metadata import (
    FORMAT,
    FORMAT_KEY,
    check_metadata,
    check_network,
    input_size_px,
    own_metadata,
)
from posrefine.weights.readers.detect import read_as
from posrefine.weights.readers.reading import Part, Reading
from posrefine.weights.zoo import ZOO, ZooEntry, zoo_entry_of

__all__ = ["load_checkpoint", "load_weights", "load_weights_bytes", "read_checkpoint", "save_weights"]


def load_weights(model: nn.Module, source: str | Path, *, strict: bool = True) -> WeightsInfo:
    """Fill a pose network or a ScoreNet from a file.

    Args:
        model: what `build_model` returned, or a `ScoreNet`; changed in place, wholly or not at all. A pose
            network's `trained_for` then says how these weights are tested.
        source: a name of the zoo, or a safetensors or PyTorch file.
        strict: refuse a file whose tensor names are not the network's; shapes must fit in any case.

    Raises:
        WeightsError: the file is missing or cannot be downloaded, is no checkpoint, is of no known format, or
            does not fit.
        ConfigurationError: `source` is neither a name nor a path.
    """
    return load_checkpoint(model, read_checkpoint(source), strict=strict)


def load_weights_bytes(model: nn.Module, data: bytes, name: str, *, strict: bool = True) -> WeightsInfo:
    """As `load_weights`, from a file already in memory, called `name` in messages and in the result."""
    return load_checkpoint(model, decode_checkpoint(data, name), strict=strict)


def read_checkpoint(source: str | Path) -> Checkpoint:
    """The tensors of a file, or of a zoo's entry, before anybody knows which network they are for.

    Raises:
        WeightsError: the file is missing or cannot be downloaded, or is no checkpoint.
        ConfigurationError: the source is neither a name nor a path.
    """
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(f"weights is {source!r}, expected a name of the zoo or a file")
    return decode_checkpoint(_read(source), str(source))


def load_checkpoint(model: nn.Module, checkpoint: Checkpoint, *, strict: bool = True) -> WeightsInfo:
    """As `load_weights`, from a file already decoded."""
    name = checkpoint.name
    entry = zoo_entry_of(checkpoint.sha256)
    mmpose_limbs = entry is not None and entry.protocol == "mmpose"
    reading = read_as(_part_of(model), checkpoint, mmpose_limbs=mmpose_limbs)
    skeleton = _skeleton_of(model)
    own = own_metadata(checkpoint, skeleton)
    check_network(own, name, model)
    trained_for = _trained_for(model, reading, own, entry, name)
    result = fit(model, reading, name, strict=strict)
    if trained_for is not None:
        model.trained_for = trained_for  # type: ignore[assignment]
    return WeightsInfo(
        sha256=checkpoint.sha256,
        origin=name,
        format=own.get(FORMAT_KEY, reading.format),
        protocol=own.get("protocol", reading.protocol),
        trained_for=trained_for,
        skeleton=own.get("skeleton") or (skeleton.name if skeleton and not reading.backbone_only else None),
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
        metadata: text that goes with it: variant, skeleton, protocol, input_size (px), data, licence, ...
        stored_as: of the convolutions' weights, by default as they are; float16 halves a file. Norms, biases
            and gains are always stored as they are.

    Returns:
        The hex sha256 of the file.

    Raises:
        WeightsError: a metadata value is not text, `protocol`, `skeleton` or `variant` names an unknown one
            or another than the network's, `input_size` is no number of pixels, or a weight is too large for
            `stored_as`.
    """
    metadata = metadata or {}
    check_metadata(metadata, str(path), _skeleton_of(model))
    check_network(metadata, str(path), model)
    tensors = {key: _stored(value, stored_as, key, path) for key, value in model.state_dict().items()}
    data = encode_safetensors(tensors, {**metadata, FORMAT_KEY: FORMAT})
    _replace(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def _stored(tensor: Tensor, dtype: torch.dtype | None, key: str, path: str | Path) -> Tensor:
    if dtype is None or is_per_channel(tensor) or not tensor.is_floating_point():
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
    if "\0" in str(source):
        raise WeightsError(f"weights {str(source)!r}: no file has a NUL in its name; correct it")
    entry = ZOO.get(str(source))
    path = Path(source) if entry is None else fetch(entry)
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"weights {source}: cannot be read ({error.strerror}); name a safetensors or PyTorch file "
            f"on this machine, or one of {', '.join(ZOO)}"
        ) from error


def _skeleton_of(model: nn.Module) -> Skeleton | None:
    return model.skeleton if isinstance(model, PoseNetwork | ScoreNet) else None


def _trained_for(
    model: nn.Module, reading: Reading, own: Mapping[str, str], entry: ZooEntry | None, name: str
) -> TrainedFor | None:
    """What the file says of itself, else what the zoo says, else what the variant is published for."""
    if not isinstance(model, PoseNetwork) or reading.backbone_only:
        return None
    listed = entry.input_size_px if entry is not None else None
    return TrainedFor(
        input_size_px=input_size_px(own, name) or listed or model.variant.input_size,
        protocol=own.get("protocol", reading.protocol),
        scales=entry.scales if entry is not None else (1.0,),
        score_weights=entry.score_weights if entry is not None else None,
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
