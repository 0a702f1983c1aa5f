from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.images import encode, exif_block, gradient

from pipeline.images.gate import DecodedImage, ImageLimits, decode_image
from posrefine.errors import ImageError, ImageStatus

LIMITS = ImageLimits()
LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
}
ENCODED = {
    "jpeg": encode(gradient()),
    "jpeg progressive": encode(gradient(), progressive=True),
    "jpeg grey": encode(gradient(), mode="L"),
    "jpeg cmyk": encode(gradient(), mode="CMYK"),
    "jpeg exif": encode(gradient(), exif=exif_block(6)),
    "png": encode(gradient(), "PNG"),
    "png palette": encode(gradient(), "PNG", mode="P"),
    "bmp": encode(gradient(), "BMP"),
    "gif": encode(gradient(), "GIF"),
    "tiff": encode(gradient(), "TIFF"),
    "tiff lzw": encode(gradient(), "TIFF", compression="tiff_lzw"),
    "webp": encode(gradient(), "WEBP"),
    "webp lossless": encode(gradient(), "WEBP", lossless=True),
}


def decode(data: bytes, exif="apply", limits: ImageLimits = LIMITS) -> DecodedImage:
    return decode_image(data, limits=limits, exif=exif)


def status_of(data: bytes, limits: ImageLimits = LIMITS) -> ImageStatus:
    with pytest.raises(ImageError) as caught:
        decode(data, limits=limits)
    return caught.value.status


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_image_keeps_every_pixel(name):
    decoded = decode(encode(gradient(), name.split()[0], **LOSSLESS[name]))
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.writeable
    np.testing.assert_array_equal(decoded.pixels, gradient())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_a_jpeg_decodes_to_what_pillow_decodes(options):
    data = encode(gradient(), **options)
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(kind):
    pixels = decode(encode(gradient(), kind, mode="L")).pixels
    assert pixels.shape == (32, 48, 3)
    assert (pixels == pixels[:, :, :1]).all()


def test_a_cmyk_jpeg_has_its_colours_right():
    pixels = decode(encode(gradient(), mode="CMYK", quality=95)).pixels
    assert np.abs(pixels.astype(int) - gradient()).mean() < 4


def test_sixteen_bit_grey_keeps_its_high_byte_instead_of_clipping():
    values = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48) * 40
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue()).pixels[:, :, 1], values >> 8)


def test_alpha_is_dropped_and_the_colours_below_it_stay():
    rgba = np.dstack([gradient(), np.zeros((32, 48), np.uint8)])
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue()).pixels, gradient())


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert (decode(file.getvalue()).pixels == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_each_exif_orientation_is_applied_as_pillow_applies_it(kind, orientation):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    data = encode(gradient(), kind, exif=exif_block(orientation), **options)
    decoded = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert decoded.exif_orientation == orientation
    np.testing.assert_array_equal(decoded.pixels, upright)
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_ignore_rule_leaves_the_pixels_as_stored_and_still_tells_the_orientation(kind, orientation):
    decoded = decode(encode(gradient(), kind, exif=exif_block(orientation)), exif="ignore")
    assert decoded.exif_orientation == orientation
    np.testing.assert_array_equal(decoded.pixels, gradient())


@given(st.binary(max_size=60))
def test_a_broken_exif_block_does_not_break_its_image(garbage):
    data = encode(gradient())
    block = b"Exif\0\0MM\0*" + garbage
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    decoded = decode(data[:2] + segment + data[2:])
    assert 1 <= decoded.exif_orientation <= 8


@pytest.mark.parametrize("name", ENCODED)
def test_an_image_cut_anywhere_is_truncated_or_still_whole_but_never_something_else(name):
    data, whole = ENCODED[name], decode(ENCODED[name])
    for length in range(len(data)):
        try:
            decoded = decode(data[:length])
        except ImageError as error:
            assert error.status is ImageStatus.TRUNCATED, (length, len(data), str(error))  # noqa: PT017
        else:
            np.testing.assert_array_equal(decoded.pixels, whole.pixels, err_msg=f"cut at {length}")


@given(st.sampled_from(sorted(ENCODED)), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_never_raises_anything_but_an_image_error(name, position, flip):
    data = bytearray(ENCODED[name])
    data[position % len(data)] ^= flip
    try:
        decoded = decode(bytes(data))
    except ImageError:
        return
    assert decoded.pixels.ndim == 3


@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise_anything_but_an_image_error(data):
    with pytest.raises(ImageError):
        decode(data)


@pytest.mark.parametrize(
    "data", [b"<html>not a photo</html>", b"RIFF\x10\0\0\0WAVEfmt ", bytes(4096), b"%PDF-1.7"], ids=repr
)
def test_what_is_no_image_is_unsupported(data):
    assert status_of(data) is ImageStatus.UNSUPPORTED


def test_no_bytes_at_all_are_a_truncated_image():
    assert status_of(b"") is ImageStatus.TRUNCATED


def test_overwritten_bytes_within_a_jpeg_scan_are_corrupt():
    data = bytearray(encode(gradient(200, 200), quality=95))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes([0xFF, 0xC4]) * 200
    assert status_of(bytes(data)) is ImageStatus.CORRUPT


def test_filling_before_the_end_marker_of_a_jpeg_is_harmless():
    data = encode(gradient())
    assert data.endswith(b"\xff\xd9")
    padded = data[:-2] + b"\x55\x55" + data[-2:]
    np.testing.assert_array_equal(decode(padded).pixels, decode(data).pixels)


def test_floating_point_samples_are_unsupported():
    file = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(file, "TIFF")
    assert status_of(file.getvalue()) is ImageStatus.UNSUPPORTED


def bomb_jpeg() -> bytes:
    """A small JPEG whose header claims 60,000 by 60,000."""
    data = bytearray(encode(gradient()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    return bytes(data)


def bomb_png() -> bytes:
    """A small PNG whose header claims 60,000 by 60,000."""
    import zlib

    data = bytearray(encode(gradient(), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("bomb", [bomb_jpeg, bomb_png])
def test_a_decompression_bomb_is_refused_by_its_header_and_tells_its_size(bomb):
    with pytest.raises(ImageError, match="60000 x 60000 px") as caught:
        decode(bomb())
    assert caught.value.status is ImageStatus.TOO_LARGE
    assert (caught.value.width, caught.value.height) == (60_000, 60_000)


def test_the_limit_on_encoded_bytes_holds_before_decoding():
    data = encode(gradient())
    assert status_of(data, ImageLimits(max_encoded_bytes=len(data) - 1)) is ImageStatus.TOO_LARGE
    assert decode(data, limits=ImageLimits(max_encoded_bytes=len(data))).pixels.shape == (32, 48, 3)


def test_the_limit_on_pixels_is_inclusive():
    data = encode(gradient(48, 32), "PNG")
    assert decode(data, limits=ImageLimits(max_pixels=48 * 32)).pixels.shape == (32, 48, 3)
    assert status_of(data, ImageLimits(max_pixels=48 * 32 - 1)) is ImageStatus.TOO_LARGE


def test_running_out_of_memory_is_not_called_a_bad_image(monkeypatch):
    def no_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        decode(ENCODED["png"])
