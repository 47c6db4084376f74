"""A mask in any spelling is one shape: files of all kinds, and what a caller gives in Python."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from msdeaot_tracker.data.dataset_check import SUSPECT, check_videos
from msdeaot_tracker.data.datasets.video_sets import open_folders
from msdeaot_tracker.images import as_rgb, mask_objects, palette, read_image, read_mask, write_image, write_mask
from msdeaot_tracker.mask_files import ALPHA, INVERTED, PALETTE, SOFT
from msdeaot_tracker.targets import as_mask, check_image, check_targets
from msdeaot_tracker.types import InputError

HEIGHT, WIDTH = 90, 120


def shape() -> np.ndarray:
    """bool [H, W]: a slanted ellipse with a tail, away from the border."""
    canvas = cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.uint8), (60, 45), (30, 17), 25, 0, 360, 1, -1)
    return cv2.line(canvas, (60, 45), (20, 20), 1, 5) > 0


def other() -> np.ndarray:
    return cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (102, 15), 9, 1, -1) > 0


def white(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def coloured() -> np.ndarray:
    """uint8 [H, W, 3]: two objects in the colours that DAVIS gives to 1 and 2."""
    return palette()[shape() + 2 * other().astype(int)]


def enlarged(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(white(mask), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)


def rgba(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.broadcast_to(np.uint8(colour), (HEIGHT, WIDTH, 3)), alpha]))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def read_one(path: Path) -> np.ndarray:
    (mask,) = mask_objects(read_mask(path)).values()
    return mask


# Files: one shape

SOFT_MASKS = {
    "enlarged.png": lambda: Image.fromarray(enlarged(shape())),
    "reduced.png": lambda: Image.fromarray(cv2.resize(white(shape()), None, fx=0.5, fy=0.5)),
    "blurred.png": lambda: Image.fromarray(cv2.GaussianBlur(white(shape()), (0, 0), 2)),
    "jpeg.jpg": lambda: Image.fromarray(white(shape())),
    "colour jpeg.jpg": lambda: Image.fromarray(np.repeat(white(shape())[..., None], 3, axis=2)),
    "webp.webp": lambda: Image.fromarray(white(shape())),
    "16 bits.png": lambda: Image.fromarray(cv2.GaussianBlur(white(shape()).astype(np.uint16) * 257, (0, 0), 2)),
    "palette.png": lambda: Image.fromarray(enlarged(shape())).quantize(64),
    "soft alpha.png": lambda: rgba([200, 30, 0], cv2.GaussianBlur(white(shape()), (0, 0), 2)),
}


@pytest.mark.parametrize("name", SOFT_MASKS)
def test_soft_edges_are_cut_at_half_with_a_warning(tmp_path, name, caplog):
    SOFT_MASKS[name]().save(tmp_path / name)
    mask = read_one(tmp_path / name)
    expected = cv2.resize(shape().astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert overlap(mask, expected) > 0.93
    assert SOFT in caplog.text and name in caplog.text


EXACT_MASKS = {
    "grey": lambda: Image.fromarray(white(shape())),
    "ones": lambda: Image.fromarray(shape().astype(np.uint8)),
    "bits": lambda: Image.fromarray(shape()),
    "16 bits": lambda: Image.fromarray(white(shape()).astype(np.uint16) * 257),
    "rgb": lambda: Image.fromarray(np.repeat(white(shape())[..., None], 3, axis=2)),
    "one colour": lambda: Image.fromarray(shape()[..., None] * np.uint8([255, 40, 0])),
    "quantized": lambda: Image.fromarray(white(shape())).quantize(),
    "quantized colour": lambda: Image.fromarray(shape()[..., None] * np.uint8([255, 40, 0])).quantize(),
    "alpha of white": lambda: rgba([255, 255, 255], white(shape())),
    "alpha of black": lambda: rgba([0, 0, 0], white(shape())),
    "white below": lambda: rgba(np.where(shape()[..., None], [0, 0, 0], [255, 255, 255]), white(shape())),
    "grey and alpha": lambda: Image.fromarray(np.dstack([np.full_like(white(shape()), 255), white(shape())]), "LA"),
    "opaque": lambda: rgba(white(shape())[..., None], np.full((HEIGHT, WIDTH), 255, np.uint8)),
    "float": lambda: Image.fromarray(shape().astype(np.float32)),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter")
@pytest.mark.parametrize("spelling", EXACT_MASKS)
def test_one_shape_in_any_spelling_is_that_shape(tmp_path, spelling):
    path = tmp_path / ("m.tiff" if spelling == "float" else "m.png")
    EXACT_MASKS[spelling]().save(path)
    np.testing.assert_array_equal(read_one(path), shape())


def test_masks_are_turned_as_their_pictures_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(white(shape())).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_one(tmp_path / "m.png"), np.rot90(shape(), -1))


# Files: several objects


@pytest.mark.parametrize("method", [Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE])
def test_an_adaptive_palette_is_read_by_colour(tmp_path, method, caplog):
    Image.fromarray(coloured()).quantize(method=method).save(tmp_path / "m.png")
    objects = mask_objects(read_mask(tmp_path / "m.png"))
    assert list(objects) == [1, 2] and PALETTE in caplog.text
    np.testing.assert_array_equal(objects[1], shape())
    np.testing.assert_array_equal(objects[2], other())


def test_colours_of_davis_and_transparency_around_them(tmp_path):
    Image.fromarray(coloured()).save(tmp_path / "rgb.png")
    seen = white(shape() | other())
    Image.fromarray(np.dstack([np.where(seen[..., None] > 0, coloured(), 255), seen])).save(tmp_path / "rgba.png")
    for name in ("rgb.png", "rgba.png"):
        objects = mask_objects(read_mask(tmp_path / name))
        assert list(objects) == [1, 2]
        np.testing.assert_array_equal(objects[2], other())


def many_ids(count: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    tiles = (rows // 9) * 10 + columns // 12  # 10 by 10
    return np.where((tiles > 0) & (tiles <= count), tiles, 0)


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_a_map_of_a_hundred_grey_ids_is_taken(tmp_path, bits, caplog):
    Image.fromarray(many_ids(99).astype(bits)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), many_ids(99))
    assert not caplog.text


def test_void_around_an_object_stays_void(tmp_path, caplog):
    labels = shape().astype(np.uint8)
    ring = cv2.dilate(labels, np.ones((5, 5))) > labels
    labels[ring] = 255
    Image.fromarray(labels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_one(tmp_path / "m.png"), shape())
    assert not caplog.text


def test_a_thin_object_of_any_id_is_taken(tmp_path):
    labels = cv2.line(np.zeros((HEIGHT, WIDTH), np.uint8), (5, 5), (100, 70), 20, 1)
    Image.fromarray(labels).save(tmp_path / "m.png")
    assert list(mask_objects(read_mask(tmp_path / "m.png"))) == [20]


# Files that are refused, and doubtful ones


def photograph() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


REFUSED = {
    "photograph.png": (lambda: Image.fromarray(photograph()), "picture in colours"),
    "photograph.jpg": (lambda: Image.fromarray(photograph()), "picture in colours"),
    "256 colours.png": (lambda: Image.fromarray(photograph()).quantize(256), "colours of a palette"),
    "dithered.png": (lambda: Image.fromarray(photograph()).convert("P"), "colours of a palette"),
    "grey.png": (lambda: Image.fromarray(photograph()[..., 1]), "grey levels"),
    "faint.png": (lambda: Image.fromarray(cv2.GaussianBlur(white(shape()) // 8, (0, 0), 4)), "grey levels"),
    "negative.tiff": (lambda: Image.fromarray(-shape().astype(np.int32)), "values from -1 to 0"),
    "logits.tiff": (lambda: Image.fromarray(np.where(shape(), 4, -4).astype(np.float32)), "-4 to 4"),
    "no black.png": (lambda: two_colours_of_a_palette(), r"index 0 is \(200, 0, 0\)"),
}


def two_colours_of_a_palette() -> Image.Image:
    image = Image.fromarray((~shape()).astype(np.uint8))
    image.putpalette([200, 0, 0, 0, 200, 0])
    return image


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mask_is_refused_by_name(tmp_path, name):
    make, words = REFUSED[name]
    make().save(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}.*{words}"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize(
    "image", [Image.fromarray(white(~shape())), Image.fromarray(white(~shape())).quantize(), Image.fromarray(~shape())]
)
def test_an_inverted_mask_is_asked_about(tmp_path, image, caplog):
    image.save(tmp_path / "m.png")
    read_mask(tmp_path / "m.png")
    assert INVERTED in caplog.text


def test_a_warning_comes_once_for_each_folder(tmp_path, caplog):
    for name in ("a.png", "b.png"):
        Image.fromarray(enlarged(shape())).save(tmp_path / name)
        read_mask(tmp_path / name)
    assert caplog.text.count(SOFT) == 1


def test_data_check_names_the_kinds(tmp_path):
    masks = {
        "soft": Image.fromarray(cv2.GaussianBlur(white(shape()), (0, 0), 2)),
        "inverted": Image.fromarray(white(~shape())),
        "alpha": rgba([255, 255, 255], white(shape())),
        "adaptive": Image.fromarray(coloured()).quantize(),
        "plain": Image.fromarray(white(shape())),
    }
    for name, mask in masks.items():
        for folder in ("JPEGImages", "Annotations"):
            (tmp_path / folder / name).mkdir(parents=True)
        for index in range(2):
            write_image(tmp_path / "JPEGImages" / name / f"{index}.jpg", photograph())
            mask.save(tmp_path / "Annotations" / name / f"{index}.png")
    report = check_videos(open_folders(tmp_path), sorted(masks))
    found = {name: kind for kind, texts in report.faults.items() for name in masks if texts[0].startswith(name)}
    assert set(found) == {"soft", "inverted", "alpha", "adaptive"}
    for name, word in {"soft": "soft edges", "inverted": "inverted", "alpha": "alpha", "adaptive": "palettes"}.items():
        assert word in found[name] and f"{name}: 2 of 2, as" in report.faults[found[name]][0]
    assert not report.is_sound
    del report.faults[SUSPECT]
    assert report.is_sound


# In Python


SPELLINGS = {
    "bool": shape(),
    "0 and 1": shape().astype(np.uint8),
    "0 and 255": white(shape()),
    "0 and 7": shape().astype(np.int64) * 7,
    "float": shape().astype(np.float64),
    "probabilities": np.where(shape(), 0.6, 0.4).astype(np.float32),
    "leading axis": shape()[None],
    "trailing axis": white(shape())[..., None],
    "tensor": torch.from_numpy(shape()),
    "tensor of floats": torch.from_numpy(np.where(shape(), 0.9, 0.1)).to(torch.bfloat16)[None].requires_grad_(),
    "PIL": Image.fromarray(white(shape())),
    "PIL with alpha": rgba([255, 255, 255], white(shape())),
    "PIL with a palette": Image.fromarray(white(shape())).quantize(),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_given_mask_in_any_spelling_is_that_shape(name):
    mask = check_targets({3: SPELLINGS[name]}, HEIGHT, WIDTH)[3]
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, shape())


@pytest.mark.parametrize(
    "mask, words",
    [
        (np.where(shape(), 4.0, -4.0), r"-4 to 4.*sigmoid"),
        (np.where(shape(), 255.0, 0.0), r"0 to 255"),
        (np.where(shape(), 1.0, np.nan), "NaN"),
        (np.where(shape(), 1, -1), "got -1, 1"),
        (np.where(shape(), 0, -1), "got -1"),
        (shape() + 2 * other().astype(np.uint8), "got 1, 2; of a map of several"),
        (white(shape()) // 2 + white(other()), "got 127, 255"),
        (np.where(shape(), "1", "0"), "<U1"),
        (np.where(shape(), 1, None), "object"),
        (shape().astype(complex), "complex128"),
        (shape()[:-1], r"\(89, 120\), the image \(90, 120\)"),
        (np.stack([shape()] * 3), r"\(3, 90, 120\)"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "empty"),
        (np.where(shape(), 0.4, 0.0), "empty: all below 0.5"),
        (torch.full((HEIGHT, WIDTH), 2.0), "2 to 2"),
        (Image.fromarray(coloured()), "2 objects"),
        (Image.fromarray(photograph()), "picture in colours"),
        ("1234", "four numbers"),
        ([[0, 1], [1, 0]], "four numbers"),
    ],
)
def test_masks_that_can_mean_anything_are_refused_by_name(mask, words):
    with pytest.raises(InputError, match=words):
        check_targets({3: mask}, HEIGHT, WIDTH)


def test_a_soft_mask_of_pil_warns(caplog):
    mask = as_mask(Image.fromarray(cv2.GaussianBlur(white(shape()), (0, 0), 2)), HEIGHT, WIDTH)
    assert overlap(mask, shape()) > 0.95 and SOFT in caplog.text
    assert as_mask(rgba([255, 255, 255], white(shape())), HEIGHT, WIDTH).any() and ALPHA in caplog.text


def images() -> dict[str, object]:
    picture = photograph()
    return {
        "array": picture,
        "mirrored": picture[:, ::-1][:, ::-1],
        "alpha": np.dstack([picture, white(shape())]),
        "16 bits": picture.astype(np.uint16) * 257,
        "channels first": picture.transpose(2, 0, 1),
        "tensor": torch.from_numpy(picture),
        "tensor, channels first": torch.from_numpy(picture).permute(2, 0, 1),
        "PIL": Image.fromarray(picture),
        "PIL with alpha": Image.fromarray(np.dstack([picture, white(shape())])),
    }


@pytest.mark.parametrize("name", images())
def test_an_image_in_any_spelling_is_those_pixels(name):
    pixels = check_image(images()[name], (HEIGHT, WIDTH))
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, photograph())


@pytest.mark.parametrize("kind", ["2-D", "[H, W, 1]", "[1, H, W]", "PIL", "16 bits", "PIL 16 bits"])
def test_grey_images_are_repeated(kind, tmp_path):
    grey = photograph()[..., 0]
    deep = grey.astype(np.uint16) * 256 + 9
    given = {
        "2-D": grey,
        "[H, W, 1]": grey[..., None],
        "[1, H, W]": grey[None],
        "PIL": Image.fromarray(grey),
        "16 bits": deep,
        "PIL 16 bits": Image.fromarray(deep),
    }
    np.testing.assert_array_equal(as_rgb(given[kind]), np.repeat(grey[..., None], 3, axis=2))
    if kind.startswith("PIL"):
        given[kind].save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), as_rgb(given[kind]))


@pytest.mark.parametrize(
    "image, words",
    [
        (photograph().astype(np.float32) / 255, r"float32 \(90, 120, 3\)"),
        (photograph().astype(np.int64), "int64"),
        (photograph()[None], r"\(1, 90, 120, 3\)"),
        (np.zeros((HEIGHT, WIDTH, 2), np.uint8), r"\(90, 120, 2\)"),
        (np.zeros((0, WIDTH, 3), np.uint8), "empty"),
        ([[1, 2]], "list"),
        (None, "NoneType"),
        ("frame.png", "str"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "floating-point"),
    ],
)
def test_images_that_can_mean_anything_are_refused_by_name(image, words):
    with pytest.raises(InputError, match=words):
        check_image(image, None)


def test_turned_images_of_pil_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(photograph()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(as_rgb(Image.open(tmp_path / "a.png")), np.rot90(photograph()))


def test_boxes_that_look_like_something_else_get_a_hint(caplog):
    with pytest.raises(InputError, match="four numbers"):
        check_targets({1: "1234"}, HEIGHT, WIDTH)
    with caplog.at_level(logging.WARNING):
        check_targets({1: (60, 40, 100, 80)}, HEIGHT, WIDTH)
        assert "clipped; if it was meant as two corners, (x, y, w, h) is (60, 40, 40, 40)" in caplog.text
        check_targets({1: (0.2, 0.3, 0.4, 0.5)}, HEIGHT, WIDTH)
        assert "(0.2, 0.3, 0.4, 0.5) lies in the first pixel; fractions" in caplog.text
        caplog.clear()
        check_targets({1: (-5, 10, 30, 30), 2: (100, 10, 30, 30), 3: (0, 0, 1.5, 1)}, HEIGHT, WIDTH)
        assert "corners" not in caplog.text and "fractions" not in caplog.text


def test_written_masks_return(tmp_path):
    labels = many_ids(99)
    write_mask(tmp_path / "m.png", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)
