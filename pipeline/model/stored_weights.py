"""Weights by any name that a job takes: a name of the zoo, a path, or an address in an object store."""

from __future__ import annotations

from torch import nn

from pipeline.storage import Storage
from pipeline.storage.uris import is_s3
from posrefine.errors import ObjectMissing, WeightsError
from posrefine.weights import ZOO, WeightsInfo, load_weights, load_weights_bytes

__all__ = ["load_stored_weights"]


def load_stored_weights(model: nn.Module, weights: str, storage: Storage) -> WeightsInfo:
    """Fill a pose network or a rescoring network, wholly or not at all.

    Args:
        model: what is filled, in place.
        weights: name in the zoo, path of a file, or `s3://bucket/key`.
        storage: reads the address.

    Raises:
        WeightsError: there is no such file, or it does not fit the model.
        StorageError: the store could not be reached or refused, after all retries.
    """
    if not is_s3(weights):
        return load_weights(model, weights)
    try:
        data = storage.read_bytes(weights)
    except ObjectMissing as error:
        raise WeightsError(
            f"weights {error}; name a safetensors or PyTorch file that is there, or one of {', '.join(ZOO)}"
        ) from error
    return load_weights_bytes(model, data, weights)
