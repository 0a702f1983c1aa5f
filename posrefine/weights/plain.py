"""Only plain tensors go past the door: dense real numbers in memory, as many as the shape says.

Everything behind it (readers, the fit) computes with what it is given. A checkpoint may also hold quantized,
sparse, nested, complex or storage-less tensors, or a view that repeats one number a billion times; each of
them fails somewhere else, some after half of a network has been overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from posrefine.errors import WeightsError

__all__ = ["plain_tensors", "shown_name"]

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_PLAIN = frozenset({*_FLOATS, *_INTEGERS})
_LONGEST_NAME = 120


def plain_tensors(tensors: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """The same tensors, detached from autograd.

    Raises:
        WeightsError: a tensor is none of the plain kind; it is named with what it is.
    """
    for name, tensor in tensors.items():
        oddity = _oddity(tensor)
        if oddity is not None:
            raise WeightsError(
                f"weights {file}: tensor {shown_name(name)} is {oddity}; wanted a dense tensor of "
                "plain numbers (float16 to float64, integers for counters): convert it before saving"
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def shown_name(name: object) -> str:
    """A key of a file as messages show it: foreign names may be of any length and any kind."""
    if not isinstance(name, str):
        return f"a {type(name).__name__}"
    printable = name if name.isprintable() else ascii(name)
    return printable if len(printable) <= _LONGEST_NAME else printable[:_LONGEST_NAME] + "..."


def _oddity(tensor: Tensor) -> str | None:
    """What keeps a tensor from being plain; None for a plain one."""
    if tensor.is_meta:
        return f"without its numbers (on the meta device, shape {list(tensor.shape)})"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout is not torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return f"quantized ({str(tensor.dtype).removeprefix('torch.')})"
    if tensor.dtype not in _PLAIN:
        return f"of type {str(tensor.dtype).removeprefix('torch.')}"
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > held:
        return f"a view of shape {list(tensor.shape)} that repeats {held} stored numbers"
    return None
