"""Weights in and out: our own safetensors, and readers for the public checkpoints of DEKR and HRNet."""

from posrefine.weights.info import WeightsInfo
from posrefine.weights.load import load_weights, load_weights_bytes, save_weights

__all__ = ["WeightsInfo", "load_weights", "load_weights_bytes", "save_weights"]
