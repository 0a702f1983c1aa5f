"""A pose network as an ONNX file, for runtimes that know no Torch."""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from posrefine.errors import ConfigurationError
from posrefine.modeling.network import PoseMaps, PoseNetwork
from posrefine.weights.info import WeightsInfo

__all__ = ["export_onnx"]

_MULTIPLE_PX, _MOST_MULTIPLES, _MOST_IMAGES = 32, 512, 4096
_TWO_GIB = 2**31


def export_onnx(network: PoseNetwork, path: str | Path, info: WeightsInfo | None = None) -> None:
    """Write a network as one ONNX file, normalisation included.

    Input `pixels`: [B, 3, H, W] float32 RGB in 0..255, any B, H and W multiples of 32. Outputs `heatmap`
    [B, K+1, H/4, W/4] and `offset` [B, 2K, H/4, W/4] as in `PoseMaps`; finding persons in them is not in the
    file. Its metadata names variant, skeleton, joints, input size, protocol and, where known, the weights.

    Args:
        network: not changed.
        path: the file to write or replace.
        info: what is known about the weights.

    Raises:
        ConfigurationError: the packages that write ONNX are not installed, or the folder is not there.
    """
    path = Path(path)
    _require_packages()
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path}: the folder {path.parent} does not exist; make it first")
    batch = Dim("batch", min=1, max=_MOST_IMAGES)
    rows, columns = (Dim(name, min=1, max=_MOST_MULTIPLES) for name in ("rows", "columns"))
    with warnings.catch_warnings():
        # Torch's exporter uses what Torch has deprecated.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _FromPixels(copy.deepcopy(network).cpu().float()).eval(),
            (torch.zeros(2, 3, 2 * _MULTIPLE_PX, 3 * _MULTIPLE_PX),),
            dynamo=True,
            dynamic_shapes=({0: batch, 2: _MULTIPLE_PX * rows, 3: _MULTIPLE_PX * columns},),
            input_names=["pixels"],
            output_names=["heatmap", "offset"],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(_metadata(network, info))
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        program.save(str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _FromPixels(nn.Module):
    def __init__(self, network: PoseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> PoseMaps:
        return self.network(self.network.normalise(pixels))  # type: ignore[no-any-return]


def _metadata(network: PoseNetwork, info: WeightsInfo | None) -> dict[str, str]:
    trained_for = network.trained_for
    metadata = {
        "variant": network.variant.name,
        "skeleton": network.skeleton.name,
        "joints": json.dumps(network.skeleton.joints),
        "input_size": str(trained_for.input_size_px),
        "protocol": trained_for.protocol,
    }
    if info is not None:
        about = {
            "weights": info.origin,
            "weights_sha256": info.sha256,
            "licence": info.licence,
            "note": info.note,
        }
        metadata |= {key: value for key, value in about.items() if value is not None}
    return metadata


def _require_packages() -> None:
    for name in ("onnx", "onnxscript"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(
                f"writing ONNX needs the package {name} ({error}); pip install {name}"
            ) from error
