"""What persons look like: skin, hair, clothes, and their patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.mesh import Mesh, Region

__all__ = ["SKIN_TONES_RGB", "Outfit", "cloth_rgb"]

Array = NDArray[np.float64]
Rng = np.random.Generator

SKIN_TONES_RGB: Array = np.array(
    [
        (246, 214, 190), (232, 190, 160), (220, 172, 134), (198, 148, 108), (168, 118, 82), (138, 92, 62),
        (104, 68, 48), (76, 50, 38),
    ],
    np.float64,
)  # fmt: skip
_HAIR_RGB: Array = np.array(
    [
        (24, 20, 18), (48, 34, 26), (84, 56, 36), (128, 88, 52), (196, 158, 96), (222, 196, 140),
        (150, 66, 36), (170, 168, 166),
    ],
    np.float64,
)  # fmt: skip

_BARE = (Region.FACE, Region.JAW, Region.NECK, Region.EAR, Region.NOSE, Region.HAND, Region.NECKLINE)
_SLEEVES = (Region.SLEEVE_TOP, Region.SLEEVE_LOW, Region.FOREARM_TOP, Region.FOREARM_LOW)
_LEGS = (Region.THIGH_TOP, Region.THIGH_LOW, Region.SHANK_TOP, Region.SHANK_LOW)
_UPPER = (Region.TORSO, *_SLEEVES)
_LOWER = (Region.PELVIS, *_LEGS, Region.SKIRT_TOP, Region.SKIRT_LOW)
_OPTIONAL = (
    Region.HAIR, Region.LONG_HAIR, Region.HAT, Region.BRIM, Region.SKIRT_TOP, Region.SKIRT_LOW,
    Region.BACKPACK,
    Region.PLACKET,
)  # fmt: skip


def cloth_rgb(rng: Rng) -> Array:
    """[3] a colour cloth is dyed in: greys, blues and browns more often than bright ones."""
    if rng.random() < 0.4:
        grey = rng.uniform(15, 245)
        return np.asarray(np.clip(grey + rng.normal(0, 10, 3), 0, 255))
    if rng.random() < 0.4:
        base = np.array(
            [(40, 52, 84), (58, 78, 120), (96, 74, 52), (72, 84, 58), (120, 28, 36), (196, 182, 152)]
        )
        return np.asarray(
            np.clip(base[rng.integers(len(base))] * rng.uniform(0.7, 1.3) + rng.normal(0, 8, 3), 0, 255)
        )
    return np.asarray(rng.uniform(10, 250, 3))


@dataclass(frozen=True)
class Outfit:
    """Appearance of one person, by `Region`.

    Attributes:
        rgb: [R, 3] 0..255.
        worn: [R] whether the region's quads are drawn at all.
        thickness: [R] how far cloth stands off the body, 1 for skin.
        pattern: [R] 0 plain, 1 rings around the limb, 2 stripes along it, 3 checks, 4 mottled.
        pattern_rgb: [R, 3] second colour of the pattern.
        stripe_quads: width of a stripe in quads.
    """

    rgb: Array
    worn: NDArray[np.bool_]
    thickness: Array
    pattern: NDArray[np.intp]
    pattern_rgb: Array
    stripe_quads: int

    @staticmethod
    def sample(rng: Rng) -> Outfit:
        """A random person's skin, hair and clothes."""
        count = len(Region)
        outfit = Outfit(
            rgb=np.zeros((count, 3)),
            worn=np.ones(count, np.bool_),
            thickness=np.ones(count),
            pattern=np.zeros(count, np.intp),
            pattern_rgb=np.zeros((count, 3)),
            stripe_quads=int(rng.integers(1, 4)),
        )
        outfit.worn[list(_OPTIONAL)] = False
        skin = _dress_skin(outfit, rng)
        _dress_upper(outfit, rng)
        _dress_lower(outfit, rng, skin)
        _dress_head(outfit, rng, skin)
        return outfit

    def quad_rgb(self, mesh: Mesh, rng: Rng) -> Array:
        """[F, 3] colour of every quad before light falls on it."""
        base = self.rgb[mesh.regions]
        pattern = self.pattern[mesh.regions]
        ring, side = mesh.rings // self.stripe_quads % 2 == 0, mesh.sides // self.stripe_quads % 2 == 0
        mottled = rng.random(len(mesh.regions)) < 0.4
        second = np.select(
            [pattern == 1, pattern == 2, pattern == 3, pattern == 4],
            [ring, side, ring != side, mottled],
            False,
        )
        return np.where(second[:, None], self.pattern_rgb[mesh.regions], base)


def _dress_skin(outfit: Outfit, rng: Rng) -> Array:
    skin = np.clip(SKIN_TONES_RGB[rng.integers(len(SKIN_TONES_RGB))] * rng.uniform(0.92, 1.06), 0, 255)
    outfit.rgb[:] = skin
    outfit.rgb[Region.EAR] = skin * (0.95, 0.86, 0.84)
    outfit.rgb[Region.NOSE] = np.clip(skin * (1.05, 0.98, 0.96), 0, 255)
    outfit.rgb[Region.LIPS] = skin * (0.86, 0.58, 0.58)
    outfit.rgb[Region.EYE] = 235, 235, 232
    outfit.rgb[Region.IRIS] = rng.uniform(15, 70, 3)
    return np.asarray(skin)


def _cover(outfit: Outfit, regions: tuple[Region, ...] | list[Region], rgb: Array, thickness: float) -> None:
    outfit.rgb[list(regions)] = rgb
    outfit.thickness[list(regions)] = thickness


def _pattern(outfit: Outfit, regions: tuple[Region, ...], rng: Rng, share: float) -> None:
    if rng.random() < share:
        outfit.pattern[list(regions)] = rng.integers(1, 5)
        outfit.pattern_rgb[list(regions)] = cloth_rgb(rng)


def _dress_upper(outfit: Outfit, rng: Rng) -> None:
    colour = cloth_rgb(rng)
    sleeve_regions = int(rng.choice([0, 1, 2, 4], p=[0.12, 0.28, 0.15, 0.45]))
    loose = rng.uniform(1.02, 1.14)
    covered = (Region.TORSO, *_SLEEVES[:sleeve_regions])
    _cover(outfit, covered, colour, loose)
    if rng.random() < 0.45:  # a collar or a round neck instead of an open one
        outfit.rgb[Region.NECKLINE] = colour * rng.uniform(0.7, 1.0)
    if rng.random() < 0.4:  # an open jacket, a tie or a row of buttons marks the front
        outfit.worn[Region.PLACKET] = True
        outfit.rgb[Region.PLACKET] = cloth_rgb(rng)
    _pattern(outfit, covered, rng, 0.4)
    if rng.random() < 0.1:
        outfit.worn[Region.BACKPACK] = True
        outfit.rgb[Region.BACKPACK] = cloth_rgb(rng)


def _dress_lower(outfit: Outfit, rng: Rng, skin: Array) -> None:
    colour = cloth_rgb(rng)
    kind = rng.choice(["trousers", "shorts", "skirt"], p=[0.6, 0.25, 0.15])
    leg_regions = {"trousers": 4, "shorts": int(rng.integers(1, 3)), "skirt": 0}[str(kind)]
    covered = (Region.PELVIS, *_LEGS[:leg_regions])
    _cover(outfit, covered, colour, rng.uniform(1.02, 1.10))
    outfit.thickness[Region.SHANK_LOW] *= rng.uniform(1.0, 1.35) if leg_regions == 4 else 1.0
    if kind == "skirt":
        skirt = [Region.SKIRT_TOP] + ([Region.SKIRT_LOW] if rng.random() < 0.5 else [])
        outfit.worn[skirt] = True
        dress = rng.random() < 0.5
        _cover(outfit, [*skirt, Region.PELVIS], outfit.rgb[Region.TORSO] if dress else colour, 1.0)
    outfit.rgb[Region.BELT] = colour if rng.random() < 0.5 else cloth_rgb(rng) * 0.5
    outfit.thickness[Region.BELT] = outfit.thickness[Region.PELVIS]
    _pattern(outfit, _LOWER, rng, 0.15)
    if leg_regions < 4 and rng.random() < 0.4:
        outfit.rgb[Region.SHANK_LOW] = (235, 235, 235) if rng.random() < 0.6 else cloth_rgb(rng)
    shoe = cloth_rgb(rng)
    if rng.random() < 0.12:
        shoe = skin
    _cover(outfit, [Region.FOOT], shoe, 1.08)
    outfit.rgb[Region.SOLE] = (230, 228, 222) if rng.random() < 0.4 else shoe * 0.5


def _dress_head(outfit: Outfit, rng: Rng, skin: Array) -> None:
    hair = np.clip(_HAIR_RGB[rng.integers(len(_HAIR_RGB))] * rng.uniform(0.8, 1.2), 0, 255)
    outfit.rgb[[Region.HAIR, Region.LONG_HAIR]] = hair
    outfit.rgb[Region.BROW] = 0.35 * skin + 0.65 * hair * 0.7
    style = rng.choice(["short", "long", "bald"], p=[0.55, 0.35, 0.10])
    outfit.worn[Region.HAIR] = style != "bald"
    outfit.worn[Region.LONG_HAIR] = style == "long"
    if style != "long" and rng.random() < 0.2:
        outfit.rgb[Region.JAW] = 0.4 * skin + 0.6 * hair
    if rng.random() < 0.15:
        outfit.worn[Region.HAT] = True
        outfit.worn[Region.BRIM] = rng.random() < 0.7
        outfit.rgb[[Region.HAT, Region.BRIM]] = cloth_rgb(rng)
