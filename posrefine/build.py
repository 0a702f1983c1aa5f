"""Named networks: every number of a variant stands here, with its input size, source and licence."""

from __future__ import annotations

from dataclasses import replace

from posrefine.errors import ConfigurationError
from posrefine.modeling.hrnet import HRNetSpec, StageSpec
from posrefine.modeling.network import NetworkSpec, PoseNetwork, Variant
from posrefine.modeling.refine import RefineSpec
from posrefine.skeletons import COCO, Skeleton

__all__ = ["VARIANTS", "build_model"]

_DEKR_SOURCE = "DEKR, Geng et al., CVPR 2021 (github.com/HRNet/DEKR)"
_POSREFINE_SOURCE = "DEKR with PosRefine's DCM and HSM on every branch"
_NO_CONTEXT = RefineSpec(dcm=False, hsm=False)
_CONTEXT = RefineSpec(dcm=True, hsm=True)

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(
            name="dekr_w32",
            network=NetworkSpec(HRNetSpec(width=32), _NO_CONTEXT, heatmap_channels=32),
            input_size=512,
            source=_DEKR_SOURCE,
            licence="MIT",
        ),
        Variant(
            name="dekr_w48",
            network=NetworkSpec(HRNetSpec(width=48), _NO_CONTEXT, heatmap_channels=48),
            input_size=640,
            source=_DEKR_SOURCE,
            licence="MIT",
        ),
        Variant(
            name="posrefine_w32",
            network=NetworkSpec(HRNetSpec(width=32), _CONTEXT, heatmap_channels=32),
            input_size=512,
            source=_POSREFINE_SOURCE,
            licence="Apache-2.0",
        ),
        Variant(
            name="posrefine_w48",
            network=NetworkSpec(HRNetSpec(width=48), _CONTEXT, heatmap_channels=48),
            input_size=640,
            source=_POSREFINE_SOURCE,
            licence="Apache-2.0",
        ),
        Variant(
            name="posrefine_tiny",
            network=NetworkSpec(
                HRNetSpec(
                    width=16,
                    stem_channels=24,
                    bottlenecks=1,
                    bottleneck_planes=16,
                    stages=(StageSpec(1, 1), StageSpec(1, 2), StageSpec(2, 2)),
                ),
                # Trained from scratch: there is no output that the context must leave alone at first.
                RefineSpec(dcm=True, hsm=True, gain=0.1, mlp_ratio=4),
                heatmap_channels=24,
                # The adaptive block is what costs most on a CPU, in both directions.
                offset_channels=8,
                adaptive_blocks=1,
            ),
            input_size=256,
            source="PosRefine at a size that trains from scratch on two CPU cores",
            licence="Apache-2.0",
        ),
    )
}


def build_model(name: str, *, skeleton: Skeleton = COCO, refine: RefineSpec | None = None) -> PoseNetwork:
    """A network with freshly drawn weights, in training mode.

    Args:
        name: one of `VARIANTS`.
        skeleton: whose joints it finds.
        refine: other context modules than the variant's, for ablations.

    Raises:
        ConfigurationError: no variant has that name, or the skeleton is none.
    """
    if name not in VARIANTS:
        raise ConfigurationError(f"no network is called {name!r}; choose one of {', '.join(VARIANTS)}")
    if not isinstance(skeleton, Skeleton):
        raise ConfigurationError(
            f"skeleton is {skeleton!r}, expected a Skeleton, such as posrefine.COCO or posrefine.CROWDPOSE"
        )
    variant = VARIANTS[name]
    if refine is not None:
        variant = replace(variant, network=replace(variant.network, refine=refine))
    return PoseNetwork(variant, skeleton)
