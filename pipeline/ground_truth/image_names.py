"""The one rule by which file names find images: exact path, else the one that ends alike, else refusal.

Doubled slashes and `./` make no other path, unless the annotations list both spellings as two images.

Two paths end alike where the shorter one is the end of the longer, whole folders at a time: `val2017/1.jpg`
and `1.jpg` do, `val2017/1.jpg` and `coco/val2017/1.jpg` do, `val2017/1.jpg` and `train2017/1.jpg` do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError

__all__ = ["NO_IMAGE", "FoundImages", "ImageNames", "NamedImages", "NumericNames"]

NO_IMAGE = -1
_SEVERAL = -2
_KEYS_AT_ONCE = 100_000
_MAX_DIGITS = 18  # fits int64
_NUL = b"\xff"
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True)
class FoundImages:
    """Which annotated image each of N image keys is.

    Attributes:
        keys: [N] str, of the input.
        ids: [N] int64, `NO_IMAGE` where no file name of the annotations is the key's.
        exact: [N] bool, where the file name is the key itself, letter by letter.
    """

    keys: NDArray[np.object_]
    ids: NDArray[np.int64]
    exact: NDArray[np.bool_]

    @staticmethod
    def merge(parts: Sequence[FoundImages]) -> FoundImages:
        """The keys of all parts, one part after the other."""
        return FoundImages(
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.exact for part in parts]),
        )

    @staticmethod
    def settled_together(parts: Sequence[FoundImages]) -> list[NDArray[np.bool_]]:
        """Of every part, [its N] bool: which keys are annotated images, once all parts are settled as one.

        Raises:
            ConfigurationError: as `settled`, of keys of whichever parts.
        """
        if not parts:
            return []
        ends = np.cumsum([len(part.ids) for part in parts])
        return np.split(FoundImages.merge(parts).settled() != NO_IMAGE, ends[:-1])

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> FoundImages:
        """Some of the keys."""
        return FoundImages(self.keys[rows], self.ids[rows], self.exact[rows])

    def settled(self) -> NDArray[np.int64]:
        """[N] int64 ids; of several keys that found one image, the one that is its exact path keeps it.

        The same key more than once is no contest: each keeps the id.

        Raises:
            ConfigurationError: different keys end like one file name, and none is equal to it.
        """
        ids = self.ids.copy()
        found, counts = np.unique(ids[ids != NO_IMAGE], return_counts=True)
        rows = np.flatnonzero(np.isin(ids, found[counts > 1]))
        if len(rows) == 0:
            return ids
        has_exact = np.isin(ids[rows], ids[rows][self.exact[rows]])
        ids[rows[has_exact & ~self.exact[rows]]] = NO_IMAGE
        first: dict[int, str] = {}
        for row in rows[~has_exact].tolist():
            key, image_id = str(self.keys[row]), int(ids[row])
            if first.setdefault(image_id, key) != key:
                raise ConfigurationError(
                    f"images {first[image_id]} and {key}: which of them is image {image_id} of the "
                    "annotations, whose file name both end like? Give these file names their folders"
                )
        return ids


@dataclass(frozen=True)
class ImageNames:
    """File names of an annotation file and the ids of their images.

    Attributes:
        names: [N] bytes, UTF-8 with 0xFF for NUL, in any order; arrays, so that Ray's workers share one copy.
        ids: [N] int64.
    """

    names: NDArray[np.bytes_]
    ids: NDArray[np.int64]

    @staticmethod
    def of(names: Iterable[tuple[str, int]]) -> ImageNames:
        """From pairs of a file name and an id."""
        pairs = list(names)
        for name, image_id in pairs:
            if type(image_id) is not int:
                raise TypeError(f"image {name!r} has id {image_id!r}, expected an integer")
        return ImageNames(
            np.array([_encoded(name) for name, _ in pairs] or [], np.bytes_),
            np.array([image_id for _, image_id in pairs], np.int64),
        )

    def __len__(self) -> int:
        return len(self.names)

    def find(self, keys: Sequence[str]) -> FoundImages:
        """The annotated images that the keys are.

        Raises:
            ConfigurationError: a key is the name of several annotated images; both are named.
        """
        found = self._find(keys)
        for row in np.flatnonzero(found.ids == _SEVERAL):
            raise ConfigurationError(self._both(str(found.keys[row])))
        return found

    def id_of(self, key: str) -> int | None:
        """The id of one image; None where it is not annotated.

        Raises:
            ConfigurationError: the key is the name of several annotated images; both are named.
        """
        image_id = int(self.find([key]).ids[0])
        return None if image_id == NO_IMAGE else image_id

    def require_one_image_each(self, keys: Iterable[str]) -> None:
        """Refuse keys of which nobody can say which annotated image they are.

        Raises:
            ConfigurationError: a key is the name of several annotated images, or two keys are that of one;
                both are named.
        """
        found = [self.find([])]
        rest = iter(keys)
        while some := list(islice(rest, _KEYS_AT_ONCE)):
            named = self.find(some)
            found.append(named.select(named.ids != NO_IMAGE))
        FoundImages.merge(found).settled()

    @cached_property
    def _backwards(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.bool_]]:
        """Plain names with their bytes backwards, ascending: those that end alike are neighbours.

        With them their ids, and which of them are listed in that very spelling.
        """
        listed = self.names.tolist()
        plain = _all_plain(listed)
        other = np.array([len(a) != len(b) for a, b in zip(listed, plain, strict=True)], bool)
        turned = np.array([name[::-1] for name in plain] or [b""], np.bytes_)[: len(self)]
        order = np.lexsort((other, self.ids, turned))
        turned, ids, other = turned[order], self.ids[order], other[order]
        new = np.ones(len(ids), bool)
        new[1:] = (turned[1:] != turned[:-1]) | (ids[1:] != ids[:-1])
        return turned[new], ids[new], ~other[new]

    @cached_property
    def _respelled(self) -> dict[bytes, list[tuple[bytes, int]]]:
        """The listed names that are not plain, with their ids, by their plain names."""
        found: dict[bytes, list[tuple[bytes, int]]] = {}
        listed = self.names.tolist()
        plain_names = _all_plain(listed)
        if plain_names is listed:
            return found
        for name, plain, image_id in zip(listed, plain_names, self.ids.tolist(), strict=True):
            if plain != name:
                found.setdefault(plain, []).append((name, image_id))
        return found

    def _find(self, keys: Sequence[str]) -> FoundImages:
        spelled = [_encoded(key) for key in keys]
        plain = _all_plain(spelled)
        turned = [key[::-1] for key in plain]
        ids, hits = self._between(turned, turned, right=True)
        same, exact = hits > 0, hits > 0
        # An object store tells `a/1.jpg` from `a//1.jpg`, so the very spelling goes before the same path.
        for row in np.flatnonzero(same).tolist() if self._respelled or plain is not spelled else []:
            if plain[row] != spelled[row] or plain[row] in self._respelled:
                found = self._in_this_spelling(spelled[row], plain[row])
                exact[row] = len(found) > 0
                if found:
                    ids[row], hits[row] = found[0], len(found)
        ids[hits > 1] = _SEVERAL
        open_rows = np.flatnonzero(~same).tolist()
        # File names that go on where the key begins: all that begin with the key and a slash, backwards.
        longer = [turned[row] for row in open_rows]
        sums = np.zeros(len(keys), np.int64)
        some, hits = self._between([k + b"/" for k in longer], [k + b"0" for k in longer], right=False)
        _note(ids, sums, np.array(open_rows, np.int64), some, hits)
        # File names that begin within the key.
        tails = [(row, tail) for row in open_rows for tail in _tails(turned[row])]
        some, hits = self._between([tail for _, tail in tails], [tail for _, tail in tails], right=True)
        _note(ids, sums, np.array([row for row, _ in tails], np.int64), some, hits)
        ids[sums > 1] = _SEVERAL
        return FoundImages(np.array(keys, object), ids, exact)

    def _in_this_spelling(self, key: bytes, plain: bytes) -> list[int]:
        """The ids of the images that are listed by this very name."""
        if key != plain:
            return sorted({image_id for name, image_id in self._respelled.get(plain, ()) if name == key})
        names, ids, as_listed = self._backwards
        first, end = (int(np.searchsorted(names, np.bytes_(plain[::-1]), side)) for side in _SIDES)
        found: list[int] = ids[first:end][as_listed[first:end]].tolist()
        return found

    def _between(
        self, low: list[bytes], high: list[bytes], *, right: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each range of backward names the first one's id, and how many there are."""
        names, ids, _ = self._backwards
        if not low or len(names) == 0:
            return np.full(len(low), NO_IMAGE, np.int64), np.zeros(len(low), np.int64)
        first = np.searchsorted(names, np.array(low, np.bytes_), side="left")
        end = np.searchsorted(names, np.array(high, np.bytes_), side="right" if right else "left")
        hits = end - first
        return np.where(hits > 0, ids[np.minimum(first, len(ids) - 1)], NO_IMAGE), hits

    def _both(self, key: str) -> str:
        """A refusal that names two of the annotated images that the key can be."""
        spelled = _encoded(key)
        path = b"/" + _plain(spelled)
        paths = [(name, image_id, b"/" + _plain(name)) for name, image_id in _pairs(self)]
        very = [one for one in paths if one[0] == spelled]
        same = [one for one in paths if one[2] == path]
        alike = [one for one in paths if one[2].endswith(path) or path.endswith(one[2])]
        several = next(found for found in (very, same, alike) if len({one[1] for one in found}) > 1)
        first, second = (f"{_decoded(name)} (id {image_id})" for name, image_id, _ in several[:2])
        return (
            f"image {key}: is it {first} or {second} of the annotations? Both names end alike; "
            "give both sides the same folders"
        )


@dataclass(frozen=True)
class NumericNames:
    """Ids from file names that are numbers: what a run without an annotation file goes by."""

    def id_of(self, key: str) -> int | None:
        """`val2017/000000000042.jpg` is 42; None for any name that is no number."""
        stem = PurePosixPath(key).stem
        return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= _MAX_DIGITS else None


NamedImages = ImageNames | NumericNames
"""The two ways in which a run finds the id of an image: by an annotation file, or by a number as name."""


def _note(
    ids: NDArray[np.int64],
    sums: NDArray[np.int64],
    rows: NDArray[np.int64],
    some: NDArray[np.int64],
    hits: NDArray[np.int64],
) -> None:
    """Write the ids found for `rows` and add up how many names were hit."""
    np.add.at(sums, rows, hits)
    ids[rows[hits > 0]] = some[hits > 0]


def _tails(turned: bytes) -> list[bytes]:
    """The shorter and shorter ends of a path, backwards as the path is."""
    parts = turned.split(b"/")
    return [b"/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _pairs(names: ImageNames) -> list[tuple[bytes, int]]:
    """Names and their ids, each pair once, in the order of the paths."""
    pairs = set(zip(names.names.tolist(), names.ids.tolist(), strict=True))
    return sorted(pairs, key=lambda pair: (_plain(pair[0]), pair[1], pair[0]))


def _encoded(path: str) -> bytes:
    """JSON can hold halves of characters (`\\ud800`): a name with one is no file's, and no reason to stop.

    NumPy drops NUL at the end of bytes, so a byte that UTF-8 does not have stands for it.
    """
    return path.encode(errors="surrogatepass").replace(b"\0", _NUL)


def _decoded(path: bytes) -> str:
    return path.replace(_NUL, b"\0").decode(errors="surrogatepass")


def _all_plain(paths: list[bytes]) -> list[bytes]:
    """The plain form of every path: the very list where they all are, which one search tells."""
    together = b"\0" + b"\0".join(paths)
    if not any(mark in together for mark in (b"//", b"/./", b"\0/", b"\0.")):
        return paths
    return [_plain(path) for path in paths]


def _plain(path: bytes) -> bytes:
    """A path without `./`, doubled slashes and one at its front: these say nothing about the image."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))
