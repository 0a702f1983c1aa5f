"""Which category of an annotation file is the person, and whether its joints are the benchmark's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posrefine.errors import ConfigurationError
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.records import int64_of, whose_joints

__all__ = ["person_category", "person_record"]

Record = Mapping[str, Any]


def person_record(categories: Sequence[Record]) -> Record | None:
    """The category of persons: the one called `person`, or the only one; None if the file lists none at all.

    Raises:
        ConfigurationError: several categories and none called `person`, or several of that name.
    """
    if not categories:
        return None
    persons = [record for record in categories if record.get("name") == "person"] or list(categories)
    if len(persons) > 1:
        found = [record.get("name") for record in persons]
        raise ConfigurationError(
            f"annotations: which of the categories {found} is `person`? Keep one of that name"
        )
    return persons[0]


def person_category(categories: Sequence[Record], rules: OksRules) -> int:
    """Id of the category whose persons are scored; 1, as in COCO, if the file lists no category at all.

    Raises:
        ConfigurationError: several categories and none called `person`, or one with other joints than the
            protocol's.
    """
    person = person_record(categories)
    if person is None:
        return 1
    names, wanted = person.get("keypoints"), rules.skeleton.joints
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ConfigurationError(
            f"annotations: the person category has the keypoints {names!r:.80}, expected a list of names"
        )
    if names and tuple(names) != wanted:
        raise ConfigurationError(
            f"annotations: the person category has the {len(names)} joints {', '.join(map(str, names))}"
            f"{whose_joints(len(names), names)}; protocol {rules.name} wants the {len(wanted)} joints "
            f"{', '.join(wanted)}; choose the other protocol or another file"
        )
    return int64_of(person.get("id"), "annotations: the id of the person category")
