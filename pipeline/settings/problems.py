"""What pydantic finds wrong with a stored record, in a line."""

from __future__ import annotations

from pydantic import ValidationError

__all__ = ["problems_of"]

_SHOWN = 3


def problems_of(error: ValidationError) -> str:
    """`units: Field required; seed: Input should be a valid integer; and 2 more`."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = []
    for problem in problems[:_SHOWN]:
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        said.append(f"{place}: {message}" if place else message)
    more = len(problems) - len(said)
    return "; ".join([*said, f"and {more} more"] if more > 0 else said)
