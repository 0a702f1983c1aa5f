"""The whole network: HRNet, optional context modules on its branches, and DEKR's two heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree

from posrefine.modeling.heads import AdaptiveStack, OffsetLayer, heatmap_head
from posrefine.modeling.hrnet import HRNet, HRNetSpec, conv_bn_relu
from posrefine.modeling.refine import RefineSpec, refine_block
from posrefine.modeling.trained_for import TrainedFor
from posrefine.skeletons import Skeleton

__all__ = ["NetworkSpec", "PoseMaps", "PoseNetwork", "Variant", "enlarged"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PoseMaps(NamedTuple):
    """Heatmaps and offsets at a quarter of the input's resolution.

    Attributes:
        heatmap: [B, K+1, H/4, W/4], about 0..1; joints in the skeleton's order, then the centre of persons.
        offset: [B, 2K, H/4, W/4], heatmap cells, x and y of joint 0, of joint 1, ...; for a person whose
            centre is at cell p, a joint lies at p - offset.
    """

    heatmap: Tensor
    offset: Tensor


# Exported programs name the type of what they return; `torch.export.save` refuses a type without such a name.
_pytree._register_namedtuple(PoseMaps, serialized_type_name=f"{PoseMaps.__module__}.{PoseMaps.__name__}")


@dataclass(frozen=True)
class NetworkSpec:
    """All numbers of a network.

    Attributes:
        backbone: the HRNet.
        refine: the context modules between the backbone and the heads.
        heatmap_channels: width of the heatmap head.
        offset_channels: width of the offset head, per joint.
        adaptive_blocks: adaptive blocks per joint.
    """

    backbone: HRNetSpec
    refine: RefineSpec
    heatmap_channels: int
    offset_channels: int = 15
    adaptive_blocks: int = 2


@dataclass(frozen=True)
class Variant:
    """A named network.

    Attributes:
        name: what `build_model` calls it.
        network: its numbers.
        input_size: short side of the input it is trained and published for, input px.
        source: where the architecture is described.
        licence: of the public code and checkpoints that it follows.
    """

    name: str
    network: NetworkSpec
    input_size: int
    source: str
    licence: str


class PoseNetwork(HRNet):
    """Images to heatmaps and offsets.

    Without context modules this is DEKR, state-dict names included; `refine.*` holds what PosRefine adds.

    Args:
        variant: which network.
        skeleton: whose joints it finds.

    Attributes:
        trained_for: input size and protocol to test it with; as built the variant's, then that of the weights
            that `load_weights` puts in.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, variant: Variant, skeleton: Skeleton) -> None:
        spec, joints = variant.network, skeleton.num_joints
        super().__init__(spec.backbone)
        self.variant = variant
        self.skeleton = skeleton
        self.trained_for = TrainedFor(variant.input_size)
        features = sum(spec.backbone.branch_channels)
        offset_features = joints * spec.offset_channels
        widths = spec.backbone.branch_channels
        self.refine = nn.ModuleList(
            refine_block(width, 2 ** (len(widths) - 1 - level), spec.refine)
            for level, width in enumerate(widths)
        )
        self.at_finest = AtFinest()
        self.transition_heatmap = conv_bn_relu(features, spec.heatmap_channels, kernel=1)
        self.transition_offset = conv_bn_relu(features, offset_features, kernel=1)
        self.head_heatmap = heatmap_head(spec.heatmap_channels, joints)
        self.offset_feature_layers = AdaptiveStack(joints, spec.offset_channels, spec.adaptive_blocks)
        self.offset_final_layer = OffsetLayer(joints, spec.offset_channels)
        self.register_buffer("pixel_mean", _per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("pixel_std", _per_channel(IMAGENET_STD), persistent=False)
        _initialise(self)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB pixels to what `forward` takes.

        Args:
            images: [B, 3, H, W], uint8 or float in 0..255.

        Returns:
            [B, 3, H, W] of the network's dtype.
        """
        return (images.to(self.pixel_mean.dtype) / 255 - self.pixel_mean) / self.pixel_std

    def forward(self, images: Tensor, flat_cells: Tensor | None = None) -> PoseMaps:
        """Heatmaps and offsets at a quarter of the resolution.

        Args:
            images: [B, 3, H, W] float, normalised; H and W multiples of 32.
            flat_cells: [B, M] int64, each y * (W/4) + x; where given, offsets are computed at these cells
                alone and are [B, 2K, M, 1]. Training needs no others, and they cost more than a third of a
                small network.
        """
        maps = [refine(x) for refine, x in zip(self.refine, self.branches(images), strict=True)]
        features = self.at_finest(maps)
        heatmap = self.head_heatmap(self.transition_heatmap(features))
        of_joints = self.offset_feature_layers(self.transition_offset(features), flat_cells)
        offset = self.offset_final_layer(of_joints)
        return PoseMaps(heatmap, offset)


class AtFinest(nn.Module):
    """Enlarges every map bilinearly to the first one's resolution and concatenates them; has no weights."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C_i, H_i, W_i], finest first, to [B, sum of C_i, H_0, W_0]."""
        height, width = maps[0].shape[-2:]
        return torch.cat([maps[0], *(enlarged(x, (height, width)) for x in maps[1:])], dim=1)


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`F.interpolate(x, size, mode="bilinear")` as two matrix products, rows first.

    Interpolating is linear and the same for all channels. The products have fast gradients, where those of
    `F.interpolate` are slow on a CPU.
    """
    batch, channels, height, width = x.shape
    rows = _interpolation(height, size[0], x) @ x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    columns = _interpolation(width, size[1], x) @ rows.view(batch * size[0], width, channels)
    return columns.view(batch, *size, channels).permute(0, 3, 1, 2)


def _interpolation(length: int, wanted: int, like: Tensor) -> Tensor:
    """[wanted, length]: weights of linear interpolation."""
    unit = torch.eye(length, dtype=torch.float32, device=like.device)
    weights = F.interpolate(unit[None], size=wanted, mode="linear", align_corners=False)
    return weights[0].T.to(like.dtype)


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def _initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions without bias, which are those in front of a batch norm.

    DEKR draws all weights with a standard deviation of 0.001 and replaces most of them by ImageNet's. From
    scratch, Adam's first steps would be as large as such weights. Other layers start as their modules say.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
