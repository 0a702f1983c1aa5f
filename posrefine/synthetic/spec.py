"""What a rendered scene should contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from posrefine.errors import ConfigurationError

__all__ = ["EASY", "HARD", "MEDIUM", "SCENE_KINDS", "TRAIN", "SceneSpec"]


@dataclass(frozen=True)
class SceneSpec:
    """Size, number of people and crowdedness of a scene; everything else follows from the seed.

    Attributes:
        width_px, height_px: size of the image.
        people: fewest and most persons, both included.
        person_height: smallest and largest standing height of an adult, in image heights. Above 1 the person
            does not fit and is cut by the border. Low crowdedness with many people makes them smaller than
            this.
        crowd_index: CrowdPose's crowd index of the scene, low <= index < high (1.0 itself counts as below
            1.0). Reached by moving the persons together or apart; the closest of several tries is taken.
    """

    width_px: int = 320
    height_px: int = 320
    people: tuple[int, int] = (1, 5)
    person_height: tuple[float, float] = (0.25, 1.6)
    crowd_index: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px) < 64:
            raise ConfigurationError(
                f"scene of {self.width_px}x{self.height_px} px: wanted at least 64 px a side; make it larger"
            )
        if not 1 <= self.people[0] <= self.people[1] <= 16:
            raise ConfigurationError(
                f"people {self.people}: wanted (fewest, most) with 1 <= fewest <= most <= 16"
            )
        if not 0.05 <= self.person_height[0] <= self.person_height[1] <= 4.0:
            raise ConfigurationError(
                f"person_height {self.person_height}: wanted (low, high) between 0.05 and 4 image heights"
            )
        low, high = self.crowd_index
        if not 0.0 <= low < high <= 1.0:
            raise ConfigurationError(f"crowd_index {self.crowd_index}: wanted 0 <= low < high <= 1")
        if low > 0.0 and self.people[0] < 2:
            raise ConfigurationError(
                f"crowd_index from {low} with people {self.people}: one person alone has index 0; "
                "ask for at least 2 people"
            )

    def with_people(self, fewest: int, most: int) -> SceneSpec:
        """The same with so many persons; where they must meet, two at least if `most` allows."""
        least = 2 if self.crowd_index[0] > 0.0 else 1
        return replace(self, people=(min(max(fewest, least), most), most))


TRAIN = SceneSpec()
"""Everything from one person to a crowd, at the input size of the small network."""

EASY = SceneSpec(
    width_px=480, height_px=360, people=(1, 8), person_height=(0.25, 1.2), crowd_index=(0.0, 0.2)
)
MEDIUM = SceneSpec(
    width_px=480, height_px=360, people=(2, 8), person_height=(0.25, 1.2), crowd_index=(0.2, 0.8)
)
HARD = SceneSpec(width_px=480, height_px=360, people=(3, 8), person_height=(0.3, 1.2), crowd_index=(0.8, 1.0))
"""CrowdPose's three splits: index below 0.2, below 0.8, and from 0.8 on."""

SCENE_KINDS: Mapping[str, tuple[SceneSpec, ...]] = {
    "easy": (EASY,),
    "medium": (MEDIUM,),
    "hard": (HARD,),
    "all": (EASY, MEDIUM, HARD),
    "train": (TRAIN, EASY, MEDIUM, HARD),
}
"""Specs that take turns, by name."""
