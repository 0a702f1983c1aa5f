"""What of an input is taken, by name alone, and under which word the rest is counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import cached_property

from pipeline.storage.uris import suffix_of
from posrefine.image_formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES

__all__ = ["EXCLUDED", "SYSTEM_FILES", "Form", "Selection"]

SYSTEM_FILES = "<system>"
"""Counts what operating systems leave beside files: `._photo.jpg`, `__MACOSX/`, `.DS_Store`, `Thumbs.db`."""
EXCLUDED = "<excluded>"
"""Counts what `include` and `exclude` leave out."""

_SYSTEM_NAMES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"}
_SYSTEM_FOLDERS = {"__MACOSX", ".Trashes", ".Spotlight-V100", ".fseventsd", "$RECYCLE.BIN", "@eaDir"}


class Form(StrEnum):
    """What an object of the input is."""

    IMAGE = "image"
    TAR = "tar"
    PARQUET = "parquet"


_SHARDS = {".tar": Form.TAR, ".parquet": Form.PARQUET}


@dataclass(frozen=True)
class Selection:
    """Which objects, and which members of tars, are input.

    Patterns are those of shells: `*` stands for any text, also across `/`, `?` for one character, `[ab]` for
    one of several. Upper and lower case differ.

    Attributes:
        image_suffixes: lower case, with the dot.
        include: patterns of keys below the input; where there are any, other objects are left out. A shard is
            taken with all its images.
        exclude: patterns of keys below the input, and of the names of members of tars, that are left out.
    """

    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def of_object(self, key: str) -> Form | str:
        """What the object is, or the word under which it is counted as skipped; `key` is below the input."""
        if _is_left_by_a_system(key):
            return SYSTEM_FILES
        suffix = suffix_of(key)
        form = Form.IMAGE if suffix in self.image_suffixes else _SHARDS.get(suffix)
        if form is None:
            return suffix
        if self.include and not self._included.match(key):
            return EXCLUDED
        return EXCLUDED if self._is_excluded(key) else form

    def of_member(self, name: str) -> Form | str:
        """The same of a regular file in a tar: an image, or a word.

        Photographs that are not read here are images as well, whose rows will say so: nobody counts members.
        """
        if _is_left_by_a_system(name):
            return SYSTEM_FILES
        suffix = suffix_of(name)
        if suffix not in self.image_suffixes and suffix not in UNREAD_SUFFIXES:
            return suffix
        return EXCLUDED if self._is_excluded(name) else Form.IMAGE

    def _is_excluded(self, name: str) -> bool:
        return bool(self.exclude) and self._excluded.match(name) is not None

    @cached_property
    def _included(self) -> re.Pattern[str]:
        return _any_of(self.include)

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        return _any_of(self.exclude)


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))


def _is_left_by_a_system(key: str) -> bool:
    *folders, name = key.split("/")
    return name.startswith("._") or name.lower() in _SYSTEM_NAMES or not _SYSTEM_FOLDERS.isdisjoint(folders)
