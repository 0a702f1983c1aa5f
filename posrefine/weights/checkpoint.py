"""Checkpoint files as bytes: safetensors in and out, PyTorch pickles in, by the restricted loader only."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from posrefine.errors import WeightsError
from posrefine.weights.plain import plain_tensors, shown_name

__all__ = ["Checkpoint", "decode_checkpoint", "encode_safetensors"]

_HEADER_LENGTH_BYTES = 8
_ALIGNMENT_BYTES = 8
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
# What the unpickler's parser trips over, depending on where a file is cut or scrambled.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """The named tensors of one file, as they lie in it.

    Attributes:
        name: what to call the file in messages.
        sha256: hex digest of the file's bytes.
        tensors: by the file's own names, on the CPU, all of them plain (`plain_tensors`).
        metadata: safetensors' text metadata; empty for pickles.
    """

    name: str
    sha256: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def decode_checkpoint(data: bytes, name: str) -> Checkpoint:
    """Read a checkpoint from memory; the container is told by its first bytes, not by a suffix.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        WeightsError: the bytes are no checkpoint, are cut short, hold more than tensors and plain values, or
            a tensor that is not plain.
    """
    digest = hashlib.sha256(data).hexdigest()
    if data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + 1] == b"{":
        tensors = plain_tensors(_safetensors_tensors(data, name), name)
        return Checkpoint(name, digest, tensors, _checked_metadata(data, name))
    if data.startswith((_ZIP_MAGIC, _PICKLE_MAGIC)):
        return Checkpoint(name, digest, plain_tensors(_pickle_tensors(data, name), name))
    raise WeightsError(
        f"weights {name}: {len(data)} bytes beginning with {data[:16]!r} are neither safetensors nor a "
        "PyTorch checkpoint; download the file again or name another one"
    )


def encode_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The safetensors file of `tensors`: equal tensors and metadata give equal bytes.

    The library promises no order of metadata entries, which it keeps in a hash map; so the header is written
    here, sorted, over the library's own data section.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    blob = safetensors.torch.save(plain)
    (length,) = struct.unpack_from("<Q", blob)
    data_start = _HEADER_LENGTH_BYTES + length
    entries = json.loads(blob[_HEADER_LENGTH_BYTES:data_start])
    header = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    text = json.dumps(header | entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return struct.pack("<Q", len(text)) + text + blob[data_start:]


def _checked_metadata(data: bytes, name: str) -> dict[str, str]:
    """The metadata of a file that the library could read, which lets more pass than the format allows."""

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = Counter(key for key, _ in pairs)
        for key, count in keys.items():
            if count > 1:
                raise WeightsError(
                    f"weights {name}: the header names {shown_name(key)!r} twice, so nobody knows which is "
                    "meant; save the network again"
                )
        return dict(pairs)

    (length,) = struct.unpack_from("<Q", data)
    entries = json.loads(
        data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length], object_pairs_hook=each_once
    )
    metadata: dict[str, str] | None = entries.get("__metadata__", {})
    if metadata is None:
        raise WeightsError(
            f"weights {name}: the header's metadata is null, wanted an object of texts or none at "
            "all; save the network again"
        )
    return metadata


def _safetensors_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, *_DAMAGE) as error:
        raise WeightsError(
            f"weights {name}: broken safetensors file of {len(data)} bytes ({error}); download it again"
        ) from error


def _pickle_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].splitlines() or str(error).splitlines()
        raise WeightsError(
            f"weights {name}: refused, because it holds more than tensors and plain values, or is damaged "
            f"({reason[0].strip()}); save its state dict alone, or convert it to safetensors"
        ) from error
    except _DAMAGE as error:
        raise WeightsError(
            f"weights {name}: broken PyTorch checkpoint of {len(data)} bytes ({error}); download it again"
        ) from error
    return _state_dict(loaded, name)


def _state_dict(loaded: object, name: str) -> dict[str, Tensor]:
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(inner, dict):
        raise WeightsError(
            f"weights {name}: holds a {type(inner).__name__}; "
            "wanted a state dict, plain or under `state_dict`"
        )
    tensors = {
        key: value for key, value in inner.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not tensors:
        seen = ", ".join(map(shown_name, list(inner)[:5])) or "nothing"
        raise WeightsError(
            f"weights {name}: holds no tensors under names (it holds {seen}); "
            "wanted a state dict, plain or under `state_dict`"
        )
    return tensors


def _numpy_globals() -> list[Any]:
    """NumPy's array constructors, which mmpose's `meta` (sigmas, joint weights) needs and which run no code.

    Named twice because NumPy 2 moved the module that pickles of NumPy 1 name.
    """
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    functions = [
        (function, f"numpy.{core}.multiarray.{label}")
        for core in ("core", "_core")
        for function, label in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
    ]
    dtypes = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [*functions, np.ndarray, np.dtype, *dtypes]
