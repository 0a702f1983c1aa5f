"""The text that goes with the tensors of our own files: what is believed of it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from posrefine.build import VARIANTS
from posrefine.errors import WeightsError
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import SKELETONS, Skeleton
from posrefine.test_protocols import TEST_PROTOCOLS
from posrefine.weights.checkpoint import Checkpoint

__all__ = ["FORMAT", "FORMAT_KEY", "check_metadata", "check_network", "input_size_px", "own_metadata"]

FORMAT_KEY, FORMAT = "format", "posrefine"
_INPUT_SIZE_KEY, _INPUT_SIZE_DIGITS, _INPUT_MULTIPLE_PX = "input_size", 5, 32
_SCORE_NET = "score_net"


def own_metadata(checkpoint: Checkpoint, skeleton: Skeleton | None = None) -> Mapping[str, str]:
    """The metadata of a file of ours; nothing for others, which use the same keys for other things
    (`format: pt`).

    Raises:
        WeightsError: the file states what cannot be.
    """
    own = checkpoint.metadata if checkpoint.metadata.get(FORMAT_KEY) == FORMAT else {}
    check_metadata(own, checkpoint.name, skeleton)
    return own


def input_size_px(metadata: Mapping[str, str], name: str) -> int | None:
    """The input size that the metadata states, px; None where there is none.

    Raises:
        WeightsError: it is no number of pixels.
    """
    text = metadata.get(_INPUT_SIZE_KEY)
    if text is None:
        return None
    pixels = int(text) if text.isascii() and text.isdigit() and len(text) <= _INPUT_SIZE_DIGITS else 0
    if pixels == 0 or pixels % _INPUT_MULTIPLE_PX:
        raise WeightsError(
            f"weights {name}: metadata {_INPUT_SIZE_KEY!r}: {text!r} is no input size; wanted the short side "
            f"of the network's input in px, a multiple of {_INPUT_MULTIPLE_PX} such as '512'"
        )
    return pixels


def check_network(metadata: Mapping[str, str], name: str, network: nn.Module) -> None:
    """Refuse metadata of another network than this one, however well its tensors fit.

    A network with context modules takes the weights of the plain network with its trunk.

    Raises:
        WeightsError: the metadata names another skeleton or another network.
    """
    said = metadata.get("skeleton")
    skeleton = network.skeleton if isinstance(network, PoseNetwork | ScoreNet) else None
    if said is not None and skeleton is not None and not _same_joints(said, skeleton):
        raise WeightsError(
            f"weights {name}: the file says that it is for the skeleton {said}, the network is for "
            f"{skeleton.name}; build it with that skeleton"
        )
    said = metadata.get("variant")
    if said is not None and not _may_fill(said, network):
        own = network.variant.name if isinstance(network, PoseNetwork) else _SCORE_NET
        raise WeightsError(
            f"weights {name}: the file says that it is of {said}, the network is {own}; build that one, or "
            "take another file"
        )


def _same_joints(said: str, skeleton: Skeleton) -> bool:
    known = SKELETONS.get(said)
    return said == skeleton.name or (known is not None and known.joints == skeleton.joints)


def _may_fill(said: str, network: nn.Module) -> bool:
    if not isinstance(network, PoseNetwork):
        return said == _SCORE_NET
    own, other = network.variant, VARIANTS.get(said)
    if other is None or said == own.name:
        return said == own.name
    has_context = other.network.refine.dcm or other.network.refine.hsm
    return not has_context and replace(own.network, refine=other.network.refine) == other.network


def check_metadata(metadata: Mapping[str, str], name: str, skeleton: Skeleton | None = None) -> None:
    """Refuse values that are no text, and unknown protocols, skeletons, networks and sizes.

    A skeleton of somebody's own is known by the network that finds it, whose `skeleton` it is.

    Raises:
        WeightsError: naming the file, the entry and what is wanted.
    """
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise WeightsError(
                f"weights {name}: metadata {key!r}: {value!r} is a {type(value).__name__}; "
                "safetensors holds text alone: pass it as a string"
            )
    skeletons = dict.fromkeys([*SKELETONS, *([skeleton.name] if skeleton else [])])
    networks = (*VARIANTS, _SCORE_NET)
    for key, known in (("protocol", TEST_PROTOCOLS), ("skeleton", skeletons), ("variant", networks)):
        if key in metadata and metadata[key] not in known:
            raise WeightsError(
                f"weights {name}: metadata {key!r}: {metadata[key]!r} is unknown; "
                f"wanted one of {', '.join(known)}"
            )
    input_size_px(metadata, name)
