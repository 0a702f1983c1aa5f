"""What a predictor can be told, and the refusal of everything else by name."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

from posrefine.errors import ConfigurationError
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.test_protocols import TestProtocol

__all__ = ["check_networks", "check_pixels", "check_settings"]

_NETWORK_MULTIPLE = 32


def check_networks(model: object, score_net: object) -> None:
    """Whether these are a pose network and its score network, or None.

    Raises:
        ConfigurationError: one of them is something else, or they are for different skeletons.
    """
    if not isinstance(model, PoseNetwork):
        raise ConfigurationError(
            f"model is {_shown(model)}, expected a network of build_model; posrefine.load takes the names of "
            "weights, too"
        )
    if score_net is None:
        return
    if not isinstance(score_net, ScoreNet):
        raise ConfigurationError(
            f"score_net is {_shown(score_net)}, expected a ScoreNet, such as the one that "
            "posrefine.load(..., rescore=WEIGHTS) makes"
        )
    if score_net.skeleton != model.skeleton:
        raise ConfigurationError(
            f"the score network is for the skeleton {score_net.skeleton.name}, the pose network for "
            f"{model.skeleton.name}; load the score network of the same data set"
        )


def check_settings(
    input_size: object, scales: object, flip: object, nms_threshold: object, protocol: object
) -> None:
    """Whether a predictor can work so.

    Args:
        input_size: short side of the scale-1 network input, input px.
        scales: test scales, 1 among them.
        flip: whether every scale also sees the mirrored image.
        nms_threshold: in units of the box diagonal, 0..1; None is the protocol's.
        protocol: the test-time arithmetic.

    Raises:
        ConfigurationError: one of them is of another kind, or cannot work, alone or with the others.
    """
    check_pixels("input_size", input_size)
    if not isinstance(protocol, TestProtocol):
        raise ConfigurationError(
            f"protocol is {protocol!r}, expected a TestProtocol, such as "
            "posrefine.test_protocols.TEST_PROTOCOLS['official']"
        )
    if not isinstance(flip, bool):
        raise ConfigurationError(f"flip is {flip!r}, expected True or False")
    _check_scales(scales, protocol)
    if nms_threshold is not None and not (isinstance(nms_threshold, Real) and 0 <= float(nms_threshold) <= 1):
        raise ConfigurationError(f"nms_threshold is {nms_threshold!r}, expected a share of the box, 0 to 1")


def check_pixels(name: str, pixels: object) -> None:
    """Whether this is a number of pixels, 1 or more.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(pixels, bool) or not isinstance(pixels, Integral):
        raise ConfigurationError(f"{name} is {pixels!r}, expected a whole number of pixels")
    if pixels < 1:
        raise ConfigurationError(f"{name} is {pixels}, expected a positive number of pixels")


def _check_scales(given: object, protocol: TestProtocol) -> None:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"scales is {given!r}, expected numbers such as (0.5, 1, 2)")
    scales = tuple(given)
    if not all(isinstance(scale, Real) for scale in scales):
        raise ConfigurationError(f"scales is {scales}, expected numbers such as (0.5, 1, 2)")
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ConfigurationError(f"scales are {scales}, expected different numbers with 1 among them")
    if len(scales) > 1 and not protocol.multi_scale:
        raise ConfigurationError(
            f"scales are {scales}, but the protocol {protocol.name} is defined for one scale; use "
            "scales=(1.0,), or the protocol official"
        )
    for scale in scales:
        side = scale * protocol.pad_multiple
        if not (side > 0 and side % _NETWORK_MULTIPLE == 0):
            raise ConfigurationError(
                f"scale {scale} makes inputs of multiples of {side:g} px; the network takes multiples of "
                f"{_NETWORK_MULTIPLE} px, so choose among 0.5, 1, 1.5, 2, ..."
            )


def _shown(thing: object) -> str:
    """A module is told by its kind: its own text has a line for each layer."""
    return repr(thing) if thing is None or isinstance(thing, str) else f"a {type(thing).__name__}"
