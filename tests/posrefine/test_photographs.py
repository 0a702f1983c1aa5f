"""Every form in which somebody has a photograph becomes the same pixels, or a message that helps."""

from __future__ import annotations

import contextlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from posrefine import photographs
from posrefine.errors import ImageError, ImageStatus
from posrefine.photographs import pixels_of

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def encoded(image: Image.Image, suffix: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def turned_by(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_a_pillow_image_and_an_array_give_the_same_pixels(tmp_path, as_text):
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    for photograph in (str(path) if as_text else path, Image.fromarray(PIXELS), PIXELS):
        np.testing.assert_array_equal(pixels_of(photograph), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_and_pillow_images_are_turned_upright(tmp_path, orientation):
    upright = PIXELS
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation]))
    exif = stored.getexif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    stored.save(path, exif=exif)
    np.testing.assert_array_equal(pixels_of(path), upright)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels_of(image), upright)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_other_modes_become_rgb(mode):
    pixels = pixels_of(Image.fromarray(PIXELS).convert(mode))
    assert pixels.shape == PIXELS.shape
    assert pixels.dtype == np.uint8


def test_grey_that_was_multiplied_by_its_alpha_is_divided_by_it_again():
    grey = Image.fromarray(PIXELS).convert("LA")
    grey.putalpha(128)
    multiplied = grey.convert("La")
    wanted = multiplied.convert("LA").convert("RGB")
    np.testing.assert_array_equal(pixels_of(multiplied), np.asarray(wanted))
    assert np.abs(pixels_of(multiplied).astype(int) - np.asarray(grey.convert("RGB"))).max() <= 1


def test_16_bit_grey_keeps_its_high_byte():
    grey = np.arange(240, dtype=np.uint16).reshape(12, 20) * 256 + 77
    pixels = pixels_of(Image.fromarray(grey))
    np.testing.assert_array_equal(pixels, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


def test_a_name_that_no_file_can_have_is_an_image_error_too():
    with pytest.raises(ImageError, match=r"'a\\x00\.jpg': no file has a NUL") as caught:
        pixels_of("a\0.jpg")
    assert caught.value.status is ImageStatus.MISSING


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (None, ImageStatus.MISSING, "there is no such file"),
        (b"", ImageStatus.UNSUPPORTED, "no image that Pillow knows"),
        (b"%PDF-1.7 and so on", ImageStatus.UNSUPPORTED, "no image that Pillow knows"),
        (encoded(Image.fromarray(PIXELS), "JPEG")[:-200], ImageStatus.TRUNCATED, "truncated"),
        (encoded(Image.fromarray(PIXELS))[:200], ImageStatus.TRUNCATED, "truncated"),
    ],
)
def test_a_file_that_is_no_photograph_is_an_image_error_with_its_path(tmp_path, data, status, message):
    path = tmp_path / "photo.jpg"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"photo\.jpg'.*{message}") as caught:
        pixels_of(path)
    assert caught.value.status is status


def test_a_folder_is_no_photograph(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        pixels_of(tmp_path)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.fromarray(PIXELS).save(path)
    # What other code of the process does, so that Pillow would not refuse it.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(photographs, "MOST_PIXELS", 100)
    with pytest.raises(ImageError) as caught:
        pixels_of(path)
    assert caught.value.status is ImageStatus.TOO_LARGE


@pytest.mark.parametrize(
    ("thing", "found"),
    [
        (PIXELS[..., 0], r"\[12, 20\] uint8"),
        (PIXELS.astype(np.float32), r"\[12, 20, 3\] float32"),
        (PIXELS.transpose(2, 0, 1), r"\[3, 12, 20\] uint8"),
        (Image.new("F", (3, 3)), "mode F"),
        (7, "int"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(thing, found):
    with pytest.raises(ImageError, match=rf"expected a path.*uint8 RGB.*got .*{found}"):
        pixels_of(thing)


def test_the_error_survives_the_way_out_of_a_worker_process():
    error = ImageError(ImageStatus.TOO_LARGE, "much", width=7, height=5)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.width, again.height) == ("much", ImageStatus.TOO_LARGE, 7, 5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM", "DDS"])
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_in_a_file_is_an_image_error_or_harms_nothing(tmp_path, kind):
    exif = {"exif": turned_by(6)} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    whole, rng = encoded(Image.fromarray(PIXELS), kind, **exif), np.random.default_rng(3)
    for damaged in range(150):
        data = bytearray(whole)
        for _ in range(1 + damaged % 4):
            data[rng.integers(min(len(data), 400))] = rng.integers(256)
        path = tmp_path / "damaged"
        path.write_bytes(data)
        with contextlib.suppress(ImageError):
            assert pixels_of(path).shape[2] == 3


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_exif_block_costs_no_picture(tmp_path):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 40
    path.write_bytes(encoded(Image.fromarray(PIXELS), "JPEG", exif=exif))
    whole = pixels_of(path)
    # The text is said to be numbers.
    path.write_bytes(path.read_bytes().replace(b"\x01\x0e\x00\x02", b"\x01\x0e\x00\x0b"))
    np.testing.assert_array_equal(pixels_of(path), whole)
