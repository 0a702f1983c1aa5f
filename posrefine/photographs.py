"""One photograph in whatever form somebody has it: a file, a Pillow image, or pixels."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from posrefine.eight_bit_rgb import eight_bit_rgb, has_eight_bit_meaning
from posrefine.errors import ImageError, ImageStatus
from posrefine.image_formats import PILLOW_FORMATS, UNREAD_SUFFIXES
from posrefine.plain_png import PNG_SIGNATURE, plain_png

__all__ = ["Photograph", "is_photograph", "pixels_of"]

Photograph = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A path, a Pillow image, or [H, W, 3] uint8 RGB."""

MOST_PIXELS = 2 * 89_478_485
"""Of a file: where Pillow calls a picture a bomb, unless somebody in the process told it otherwise."""

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
        with path.open("rb") as file:
            begin = file.read(len(PNG_SIGNATURE))
            file.seek(0)
            # Neither size nor checksum of what is no picture matters to a PNG, and no text is inflated.
            return _opened(io.BytesIO(plain_png(file.read())) if begin == PNG_SIGNATURE else file, name)
    except FileNotFoundError as error:
        raise ImageError(ImageStatus.MISSING, f"{name}: there is no such file") from error
    except OSError as error:
        raise ImageError(
            ImageStatus.MISSING, f"{name}: cannot be read ({error.strerror}); name an image file"
        ) from error


def _opened(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ImageError(
                    ImageStatus.TOO_LARGE,
                    f"{name}: {image.width} x {image.height} px; the limit is {MOST_PIXELS} px in all",
                    width=image.width,
                    height=image.height,
                )
            return _decoded(image, name)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        lacking = "".join(f"; {suffix} needs {package}" for suffix, package in UNREAD_SUFFIXES.items())
        message = f"{name}: no image that Pillow knows; wanted {', '.join(PILLOW_FORMATS)}{lacking}"
        raise ImageError(ImageStatus.UNSUPPORTED, message) from error
    except OSError as error:
        # What the disk says has an errno; what decoders say about the content has none.
        if error.errno is not None:
            raise
        raise _not_decoded(name, error) from error
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
    said = str(error) or type(error).__name__
    status = ImageStatus.TRUNCATED if "truncated" in said else ImageStatus.CORRUPT
    if isinstance(error, NotImplementedError) or "nsupported" in said:
        status = ImageStatus.UNSUPPORTED
        said += "; nothing here reads this kind: convert it to PNG or an ordinary JPEG"
    if isinstance(error, Image.DecompressionBombError):
        status = ImageStatus.TOO_LARGE
    return ImageError(status, f"{name}: {said}")


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
