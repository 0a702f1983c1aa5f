"""`posrefine export`: a network for runtimes that know no Torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from posrefine.loading import load_network
from posrefine.onnx_export import export_onnx
from posrefine.redaction import redacted

__all__ = ["export"]


def export(arguments: argparse.Namespace) -> int:
    """Writes the file and says what is in it."""
    path = Path(arguments.onnx)
    network, info = load_network(arguments.weights, model=arguments.model)
    export_onnx(network, path, info)
    print(
        f"{path}: {network.variant.name} with {redacted(info.origin)}, "
        f"{path.stat().st_size / 2**20:.1f} MiB; "
        f"pixels [B, 3, H, W] float32 RGB 0..255 to heatmap and offset, made for "
        f"{network.trained_for.input_size_px} px"
    )
    if info.note:
        print(redacted(f"note: {info.note}"))
    return 0
