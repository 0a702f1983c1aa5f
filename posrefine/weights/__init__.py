"""Weights in and out: our own safetensors, readers for the checkpoints of DEKR, mmpose and HRNet, the zoo."""

from posrefine.weights.info import WeightsInfo
from posrefine.weights.load import load_weights, load_weights_bytes, save_weights
from posrefine.weights.zoo import ZOO, ZooEntry, zoo_table

__all__ = [
    "ZOO",
    "WeightsInfo",
    "ZooEntry",
    "load_weights",
    "load_weights_bytes",
    "save_weights",
    "zoo_table",
]
