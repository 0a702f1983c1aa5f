"""`posrefine variants` and `posrefine zoo`: what can be built and what can be loaded."""

from __future__ import annotations

import argparse

from posrefine.text_table import text_table
from posrefine.weights.zoo import zoo_table

__all__ = ["variants", "variants_table", "zoo"]


def variants(_: argparse.Namespace) -> int:
    """Prints the networks."""
    from posrefine.build import VARIANTS

    print(variants_table())
    print()
    for variant in VARIANTS.values():
        print(f"{variant.name}: {variant.source}")
    return 0


def variants_table() -> str:
    """One line for every variant and skeleton, measured on one image of the variant's input size."""
    from posrefine.build import VARIANTS
    from posrefine.modeling.complexity import measure_complexity
    from posrefine.skeletons import SKELETONS

    rows = [("variant", "skeleton", "input px", "params M", "MAdds G", "licence")]
    for variant in VARIANTS.values():
        for skeleton in SKELETONS.values():
            size = measure_complexity(variant, skeleton)
            rows.append(
                (
                    variant.name,
                    skeleton.name,
                    str(variant.input_size),
                    f"{size.parameters / 1e6:.2f}",
                    f"{size.multiply_adds / 1e9:.1f}",
                    variant.licence,
                )
            )
    return text_table(rows)


def zoo(_: argparse.Namespace) -> int:
    """Prints the zoo."""
    print(zoo_table())
    return 0
