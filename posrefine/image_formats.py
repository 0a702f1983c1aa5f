"""Which formats this installation reads, and by which suffixes files of them go."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import features

__all__ = ["IMAGE_SUFFIXES", "PILLOW_FORMATS", "UNREAD_SUFFIXES"]

_HEIF_SUFFIXES = (".heic", ".heif", ".hif")


def _readable() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pillow's names of the formats, and their suffixes in lower case."""
    formats = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
    suffixes = [".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"]
    suffixes += [".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"]
    if features.check("avif"):
        formats.append("AVIF")
        suffixes.append(".avif")
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        # Without previews and depth maps: only the picture is wanted of hostile files.
        register_heif_opener(thumbnails=False, depth_images=False)
        formats.append("HEIF")
        suffixes.extend(_HEIF_SUFFIXES)
    return tuple(formats), tuple(suffixes)


PILLOW_FORMATS, IMAGE_SUFFIXES = _readable()

UNREAD_SUFFIXES = {
    suffix: package
    for suffix, package in {".avif": "pillow>=11.3", **dict.fromkeys(_HEIF_SUFFIXES, "pillow-heif")}.items()
    if suffix not in IMAGE_SUFFIXES
}
"""Suffixes of photographs that this installation does not read, with the package that would."""
