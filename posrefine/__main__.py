"""`python -m posrefine variants`: the named networks with their sizes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from posrefine.build import VARIANTS
from posrefine.modeling.complexity import measure_complexity
from posrefine.skeletons import SKELETONS


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m posrefine", description="PosRefine's networks.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("variants", help="list the networks with parameters and multiply-adds")
    parser.parse_args(arguments)
    console = Console()
    console.print(variants_table())
    for variant in VARIANTS.values():
        console.print(f"{variant.name}: {variant.source}", highlight=False)


def variants_table() -> Table:
    """One row for every variant and skeleton, measured at the variant's input size."""
    table = Table(title="Networks: one image of input size x input size")
    for heading in ("variant", "skeleton"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input px", "params M", "MAdds G"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for variant in VARIANTS.values():
        for skeleton in SKELETONS.values():
            size = measure_complexity(variant, skeleton)
            table.add_row(
                variant.name,
                skeleton.name,
                str(variant.input_size),
                f"{size.parameters / 1e6:.2f}",
                f"{size.multiply_adds / 1e9:.1f}",
                variant.licence,
            )
    return table


if __name__ == "__main__":
    main()
