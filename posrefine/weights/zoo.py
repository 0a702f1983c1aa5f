"""Checkpoints that can be loaded by name: where they are, what they are, what they are said to reach.

The figures of public checkpoints are the publishers' (mmpose v1's model pages, single scale with flip test),
not measured here; those of the weights that come with the package are `benchmarks/held_out.py`'s and
`benchmarks/on_photographs.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posrefine.text_table import text_table

__all__ = ["ZOO", "ZooEntry", "zoo_entry_of", "zoo_table"]

_DEKR = "https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/dekr"
_PRETRAINED = "https://download.openmmlab.com/mmpose/pretrain_models"
_PACKAGE, _BUNDLED = "package:", Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class ZooEntry:
    """One file of the zoo.

    Attributes:
        name: what `load_weights` is given.
        url: address of the file; its last part is the name in the cache. A file that comes with the package
            has `package:` and its name.
        sha256_prefix: the first eight hex digits of the file's sha256, which publishers put into its name.
        licence: SPDX name.
        variant: name for `build_model`; `score_net` for a rescoring network.
        skeleton: name of the skeleton, None for a bare backbone.
        input_size_px: short side the network was trained for, None where it reads no images.
        protocol: test-time protocol the weights belong to.
        published_ap: the publisher's AP in percent, None where the file is not a whole network.
        published_on: data set of that figure.
        scales: test scales that are recommended with these weights.
        score_weights: name of the entry that holds the rescoring network trained beside them.
    """

    name: str
    url: str
    sha256_prefix: str
    licence: str
    variant: str
    skeleton: str | None
    input_size_px: int | None
    protocol: str
    published_ap: float | None = None
    published_on: str | None = None
    scales: tuple[float, ...] = (1.0,)
    score_weights: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the file in the cache."""
        return self.url.removeprefix(_PACKAGE).rpartition("/")[2]

    @property
    def bundled(self) -> Path | None:
        """The file, if it comes with the package."""
        return _BUNDLED / self.file_name if self.url.startswith(_PACKAGE) else None


def _network(width: int, skeleton: str, file: str, sha256_prefix: str, ap: float) -> ZooEntry:
    return ZooEntry(
        name=f"mmpose:dekr_w{width}_{skeleton}",
        url=f"{_DEKR}/{skeleton}/{file}",
        sha256_prefix=sha256_prefix,
        licence="Apache-2.0",
        variant=f"dekr_w{width}",
        skeleton=skeleton,
        input_size_px={32: 512, 48: 640}[width],
        protocol="mmpose",
        published_ap=ap,
        published_on={"coco": "COCO val2017", "crowdpose": "CrowdPose test"}[skeleton],
        score_weights=f"mmpose:rescore_{skeleton}",
    )


def _rescore(skeleton: str, sha256_prefix: str) -> ZooEntry:
    return ZooEntry(
        name=f"mmpose:rescore_{skeleton}",
        url=f"{_PRETRAINED}/kpt_rescore_{skeleton}-{sha256_prefix}.pth",
        sha256_prefix=sha256_prefix,
        licence="Apache-2.0",
        variant="score_net",
        skeleton=skeleton,
        input_size_px=None,
        protocol="mmpose",
    )


def _backbone(width: int, sha256_prefix: str) -> ZooEntry:
    return ZooEntry(
        name=f"imagenet:hrnet_w{width}",
        url=f"{_PRETRAINED}/hrnet_w{width}-{sha256_prefix}.pth",
        sha256_prefix=sha256_prefix,
        licence="Apache-2.0",
        variant=f"dekr_w{width}",
        skeleton=None,
        input_size_px=None,
        protocol="official",
    )


_ENTRIES = (
    _network(32, "coco", "dekr_hrnet-w32_8xb10-140e_coco-512x512_ac7c17bf-20221228.pth", "ac7c17bf", 68.6),
    _network(48, "coco", "dekr_hrnet-w48_8xb10-140e_coco-640x640_74796c32-20230124.pth", "74796c32", 71.4),
    _network(
        32, "crowdpose", "dekr_hrnet-w32_8xb10-300e_crowdpose-512x512_147bae97-20221228.pth", "147bae97", 66.3
    ),
    _network(
        48, "crowdpose", "dekr_hrnet-w48_8xb5-300e_crowdpose-640x640_4ea6031e-20230128.pth", "4ea6031e", 67.9
    ),
    _rescore("coco", "33d58c5c"),
    _rescore("crowdpose", "300c7efe"),
    _backbone(32, "36af842e"),
    _backbone(48, "8ef0771d"),
    ZooEntry(
        name="posrefine:tiny_coco",
        url=f"{_PACKAGE}posrefine_tiny_coco.safetensors",
        sha256_prefix="796a7535",
        licence="Apache-2.0",
        variant="posrefine_tiny",
        skeleton="coco",
        input_size_px=256,
        protocol="posrefine",
        published_ap=26.5,
        published_on="481 photographs",
        scales=(1.0, 1.5, 2.0, 2.5),
        score_weights="posrefine:tiny_coco_score",
    ),
    ZooEntry(
        name="posrefine:tiny_coco_score",
        url=f"{_PACKAGE}posrefine_tiny_coco_score.safetensors",
        sha256_prefix="35edd3e0",
        licence="Apache-2.0",
        variant="score_net",
        skeleton="coco",
        input_size_px=None,
        protocol="posrefine",
    ),
)

ZOO: Mapping[str, ZooEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""All entries by name."""


def zoo_entry_of(sha256: str) -> ZooEntry | None:
    """The entry that a file with this hex digest is, wherever it came from; None for any other file."""
    return next((entry for entry in ZOO.values() if sha256.startswith(entry.sha256_prefix)), None)


def zoo_table() -> str:
    """The zoo as aligned text columns, one line an entry, for a terminal."""
    header = ("name", "build_model", "skeleton", "input px", "published AP", "licence", "sha256", "address")
    return text_table([header, *(_row(entry) for entry in ZOO.values())])


def _row(entry: ZooEntry) -> tuple[str, ...]:
    published = "-" if entry.published_ap is None else f"{entry.published_ap:.1f} {entry.published_on}"
    size = "-" if entry.input_size_px is None else str(entry.input_size_px)
    return (
        entry.name,
        entry.variant,
        entry.skeleton or "-",
        size,
        published,
        entry.licence,
        entry.sha256_prefix,
        entry.url,
    )
