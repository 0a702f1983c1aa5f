"""One photograph in whatever form somebody has it: a file, a Pillow image, or pixels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from posrefine.eight_bit_rgb import eight_bit_rgb, has_eight_bit_meaning
from posrefine.errors import ImageError, ImageStatus

__all__ = ["Photograph", "is_photograph", "pixels_of"]

Photograph = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A path, a Pillow image, or [H, W, 3] uint8 RGB."""

_ORIENTATION = 274
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""


def is_photograph(thing: object) -> bool:
    """Whether this is one photograph, rather than a sequence of them or something else."""
    if isinstance(thing, np.ndarray):
        return thing.ndim == 3
    return isinstance(thing, str | os.PathLike | Image.Image)


def pixels_of(photograph: Photograph, name: str = "image") -> NDArray[np.uint8]:
    """RGB pixels.

    Files and Pillow images are turned upright by their EXIF orientation; an array is taken as it is. Of an
    animation the first frame counts. Grey becomes three equal channels, 16-bit grey keeps its high byte,
    alpha is dropped.

    Args:
        photograph: a path, a Pillow image, or [H, W, 3] uint8 RGB.
        name: what to call it in messages; a file is called by its path as well.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ImageError: it is missing, cannot be decoded, or is none of these.
    """
    if isinstance(photograph, np.ndarray):
        return _checked(photograph, name)
    if isinstance(photograph, Image.Image):
        return _decoded(photograph, name)
    if isinstance(photograph, str | os.PathLike):
        return _read(Path(photograph), name)
    raise _refused(name, type(photograph).__name__)


def _read(path: Path, name: str) -> NDArray[np.uint8]:
    name = f"{name} {str(path)!r}"
    if "\0" in str(path):
        raise ImageError(ImageStatus.MISSING, f"{name}: no file has a NUL in its name")
    try:
        with Image.open(path) as image:
            return _decoded(image, name)
    except FileNotFoundError as error:
        raise ImageError(ImageStatus.MISSING, f"{name}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            ImageStatus.UNSUPPORTED,
            f"{name}: no image that Pillow knows; wanted JPEG, PNG, WebP, BMP or TIFF",
        ) from error
    except OSError as error:
        # A file that cannot be opened has an errno; what decoders say about its content has none.
        if error.errno is not None:
            raise ImageError(
                ImageStatus.MISSING, f"{name}: cannot be read ({error.strerror}); name an image file"
            ) from error
        raise ImageError(ImageStatus.CORRUPT, f"{name}: {error}") from error
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise _not_decoded(name, error) from error


def _decoded(image: Image.Image, name: str) -> NDArray[np.uint8]:
    try:
        image.load()
        upright = _upright(image)
    except MemoryError:
        raise
    except Exception as error:
        raise _not_decoded(name, error) from error
    if not has_eight_bit_meaning(upright):
        raise _refused(name, f"a Pillow image of mode {upright.mode}")
    return np.array(eight_bit_rgb(upright))


def _upright(image: Image.Image) -> Image.Image:
    """Turned by the EXIF orientation; damaged EXIF is none, and costs no picture."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as from decoders
        turn = None
    return image if turn is None else image.transpose(turn)


def _not_decoded(name: str, error: Exception) -> ImageError:
    status = ImageStatus.TRUNCATED if "truncated" in str(error) else ImageStatus.CORRUPT
    if isinstance(error, Image.DecompressionBombError):
        status = ImageStatus.TOO_LARGE
    return ImageError(status, f"{name}: {str(error) or type(error).__name__}")


def _checked(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _refused(name, f"{list(pixels.shape)} {pixels.dtype}")
    return pixels


def _refused(name: str, found: str) -> ImageError:
    return ImageError(
        ImageStatus.UNSUPPORTED,
        f"{name}: expected a path, a Pillow image or a [H, W, 3] uint8 RGB array, got {found}; convert it "
        'first, for instance with Pillow\'s `image.convert("RGB")`',
    )
