"""Anything at all as picture, mask, box, video or label file: it is read, or refused by an error of ours."""

import io
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import torch
import video_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.cli.options import parse_box, parse_settings
from msdeaot_tracker.cli.results import check_folder
from msdeaot_tracker.data.masks.training_boxes import list_videos
from msdeaot_tracker.images import as_rgb, mask_objects, palette, read_image, read_mask
from msdeaot_tracker.targets import as_mask, check_targets
from msdeaot_tracker.types import InputError
from msdeaot_tracker.video import open_source

HEIGHT, WIDTH = 40, 56


def fuzz(examples: int):
    """The same examples every time, as many as are named."""
    return settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# Files of pictures and masks


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def whole_files() -> list[bytes]:
    colour = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image, grey = Image.fromarray(colour), Image.fromarray(colour[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    palette_image = Image.fromarray(colour[..., 0] % 5)
    palette_image.putpalette(palette().tobytes())
    return [
        encoded(image, "PNG", exif=exif),
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image, "WEBP"),
        encoded(image, "BMP"),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "GIF"),
        encoded(palette_image, "PNG", transparency=0),
        encoded(grey, "TIFF"),
        encoded(Image.fromarray(colour[..., 0].astype(np.uint16) * 257), "PNG"),
        encoded(Image.fromarray(colour[..., 0].astype(np.float32)), "TIFF"),
        encoded(Image.fromarray(colour[..., 0].astype(np.int32) - 5), "TIFF"),
        encoded(Image.fromarray(colour[..., 0] > 99), "PNG"),
        encoded(image.convert("CMYK"), "TIFF"),
        encoded(Image.fromarray(np.dstack([colour, colour[..., :1]])), "PNG"),
        encoded(Image.fromarray(colour[..., :2].copy(), "LA"), "PNG"),
        b"",
        b"P6\n3 2\n255\n" + bytes(18),
    ]


@st.composite
def damaged(draw, files: list[bytes]) -> bytes:
    """One of the files with some bytes changed, cut off, put in or left out."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        piece = draw(st.binary(max_size=6))
        kind = draw(st.sampled_from(["over", "in", "out", "cut"]))
        if kind == "over":
            data[at : at + len(piece)] = piece
        elif kind == "in":
            data[at:at] = piece
        elif kind == "out":
            del data[at : at + draw(st.integers(1, 40))]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@fuzz(300)
@given(data=damaged(whole_files()))
def test_files_of_pictures_and_masks(folder, data):
    path = folder / "file.png"
    path.write_bytes(data)
    for read in (read_image, read_mask):
        try:
            pixels = read(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            expected = (np.uint8, 3) if read is read_image else (np.int32, 2)
            assert (pixels.dtype, pixels.ndim) == expected and pixels.size
            if read is read_mask:
                assert all(mask.any() for mask in mask_objects(pixels).values())


# What a caller gives


@pytest.mark.filterwarnings("ignore")
@fuzz(200)
@given(
    image=hnp.arrays(
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=2), hnp.array_shapes(min_dims=0, max_dims=4, max_side=5)
    )
    | st.none()
    | st.text(max_size=5)
    | st.lists(st.integers(0, 255), max_size=4)
)
def test_images_of_any_kind(image):
    try:
        pixels = as_rgb(image)
    except InputError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    assert sorted(np.unique(pixels)) == sorted(np.unique(image if image.dtype == np.uint8 else image >> 8)) or (
        4 in (image.shape[0], image.shape[-1])  # without alpha
    )


@pytest.mark.filterwarnings("ignore")
@fuzz(200)
@given(values=hnp.arrays(hnp.scalar_dtypes(), st.sampled_from([(4, 6), (1, 4, 6), (4, 6, 1), (6, 4), (2, 4, 6)])))
def test_masks_of_any_values(values):
    try:
        mask = as_mask(values, 4, 6)
    except InputError:
        return
    flat = values.reshape(4, 6)
    assert mask.dtype == bool and mask.any()
    if np.issubdtype(values.dtype, np.floating):
        assert (flat >= 0).all() and (flat <= 1).all() and np.array_equal(mask, flat >= 0.5)
    else:
        assert flat.min() >= 0 and np.array_equal(mask, flat != 0) and len(np.unique(flat[mask])) == 1


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**30), 10**30)


@fuzz(200)
@given(box=st.lists(numbers, max_size=6) | st.text(max_size=12) | st.lists(st.text(max_size=3), min_size=4, max_size=4))
def test_boxes_of_any_numbers(box):
    try:
        x, y, w, h = check_targets({1: box}, HEIGHT, WIDTH)[1]
    except InputError:
        return
    assert all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0
    assert x >= 0 and x + w <= WIDTH + 1e-6 and y >= 0 and y + h <= HEIGHT + 1e-6


# One shape in any spelling


@st.composite
def shapes(draw) -> np.ndarray:
    """bool [H, W]: an ellipse or a rectangle of some size, inside the frame."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    centre = draw(st.integers(12, WIDTH - 13)), draw(st.integers(12, HEIGHT - 13))
    sides = draw(st.integers(4, 10)), draw(st.integers(4, 10))
    if draw(st.booleans()):
        cv2.ellipse(canvas, centre, sides, draw(st.integers(0, 180)), 0, 360, 1, -1)
    else:
        cv2.rectangle(canvas, np.subtract(centre, sides).tolist(), np.add(centre, sides).tolist(), 1, -1)
    return canvas > 0


def spell(mask: np.ndarray, kind: str, level: int) -> Image.Image:
    white = mask.astype(np.uint8) * 255
    colour = (level, 255 - level, level // 2)
    painted = mask[..., None] * np.uint8(colour)
    alpha = np.dstack([np.full_like(painted, 1) * np.uint8(colour), white])
    indexed = Image.fromarray(mask.astype(np.uint8) * (1 + level % 254))
    indexed.putpalette(palette().tobytes())
    return {
        "white": lambda: Image.fromarray(white),
        "level": lambda: Image.fromarray(mask.astype(np.uint8) * level),
        "bits": lambda: Image.fromarray(mask),
        "16 bits": lambda: Image.fromarray(white.astype(np.uint16) * 257),
        "float": lambda: Image.fromarray(mask.astype(np.float32)),
        "colour": lambda: Image.fromarray(painted),
        "alpha": lambda: Image.fromarray(alpha),
        "white below alpha": lambda: Image.fromarray(np.where(alpha[..., 3:] > 0, alpha, np.uint8([255, 255, 255, 0]))),
        "palette": lambda: indexed,
        "adaptive": lambda: Image.fromarray(painted).quantize(4),
        "adaptive grey": lambda: Image.fromarray(white).quantize(),
    }[kind]()


KINDS = ["white", "level", "bits", "16 bits", "float", "colour", "alpha", "white below alpha"]
KINDS += ["palette", "adaptive", "adaptive grey"]


@fuzz(250)
@given(mask=shapes(), kind=st.sampled_from(KINDS), level=st.integers(1, 255))
def test_a_mask_in_any_spelling_is_its_shape(folder, mask, kind, level):
    image = spell(mask, kind, level)
    path = folder / "mask.tiff"
    image.save(path)
    (found,) = mask_objects(read_mask(path)).values()
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(as_mask(image, HEIGHT, WIDTH), mask)


SOFTENED = ["twice", "thrice", "half", "blur", "jpeg", "webp"]


@fuzz(150)
@given(mask=shapes(), kind=st.sampled_from(SOFTENED), amount=st.integers(1, 9))
def test_a_mask_with_soft_edges_is_its_shape(folder, mask, kind, amount):
    large = cv2.resize(mask.astype(np.uint8) * 255, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    truth = large > 0
    if kind in ("twice", "thrice", "half"):
        scale = {"twice": 2, "thrice": 3, "half": 0.5}[kind]
        soft = cv2.resize(large, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        truth = cv2.resize(large, soft.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    else:
        soft = cv2.GaussianBlur(large, (0, 0), amount / 4) if kind == "blur" else large
    path = folder / {"jpeg": "soft.jpg", "webp": "soft.webp"}.get(kind, "soft.png")
    Image.fromarray(soft).save(path, quality=50 + 5 * amount)
    (found,) = mask_objects(read_mask(path)).values()
    assert (found & truth).sum() / (found | truth).sum() > 0.85


# Videos


@pytest.fixture(scope="module")
def videos(folder) -> list[bytes]:
    times = [index / 25 for index in range(12)]
    made = [video_files.write(folder / name, times) for name in ("a.mp4", "a.mkv", "a.ts")]
    return [path.read_bytes() for path in [*made, video_files.write(folder / "a.webm", times, "libvpx")]]


@fuzz(100)
@given(data=st.data())
def test_video_files(folder, videos, data):
    path = folder / "video.mp4"
    path.write_bytes(data.draw(damaged(videos)))
    try:
        for frame in open_source(path):
            assert frame.image.dtype == np.uint8 and frame.image.ndim == 3
    except InputError as error:
        assert str(path) in str(error) or path.name in str(error)


# Label files of datasets of boxes

fields = st.sampled_from(["1", "0", "-3", "2.5", "nan", "inf", "1e999", "", " ", "x", "\x00", "\ufeff1", "10,12,20,16"])


@fuzz(150)
@given(
    lines=st.lists(st.lists(fields, max_size=6).map(",".join), max_size=6),
    flags=st.lists(fields, max_size=6).map(",".join) | st.none(),
    layout=st.sampled_from(["lasot", "got10k"]),
)
def test_label_files(lines, flags, layout):
    with TemporaryDirectory() as name:
        video = Path(name, "cat", "cat-1") if layout == "lasot" else Path(name, "train", "GOT-10k_Train_000001")
        images = video / "img" if layout == "lasot" else video
        images.mkdir(parents=True)
        for index in range(len(lines)):
            (images / f"{index + 1:08d}.jpg").write_bytes(b"")
        (video / "groundtruth.txt").write_text("\n".join(lines), encoding="utf-8")
        if flags is not None:
            hidden = ["full_occlusion.txt", "out_of_view.txt"] if layout == "lasot" else ["absence.label"]
            for file in hidden:
                (video / file).write_text(flags, encoding="utf-8")
        try:
            for found in list_videos(layout, Path(name)):
                sequence = found.read()
                assert np.isfinite(np.asarray(sequence.boxes)[sequence.visible]).all()
        except InputError:
            pass


# The command line

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "boxes.txt"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["files", "frames", "first", "count", "status"]) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@fuzz(200)
@given(summary=json_values, cut=st.integers(0, 200))
def test_what_an_earlier_run_left_is_never_more_than_it_lists(folder, summary, cut):
    out = folder / "out"
    (out / "masks").mkdir(parents=True, exist_ok=True)
    for name in ("boxes.txt", "masks/00000001.png", "mine.txt"):
        (out / name).write_text("1,2,3,4\n")
    text = json.dumps(summary)
    (out / "result.json").write_text(text[: len(text) - cut % (len(text) + 1)] if cut > 150 else text)
    try:
        earlier = check_folder(out, [1], [])
    except InputError:
        return
    assert {path.parent for path in earlier} <= {out, out / "masks"} and out / "mine.txt" not in earlier


pieces = ["1", "-1", "0", "nan", "inf", "1e9", ",", ",,", "=", "x", "255", "1=1,2,3,4", "tracker."]
options = st.lists(st.sampled_from(pieces), max_size=6).map("".join)


@fuzz(150)
@given(text=options)
def test_texts_of_options(text):
    for parse in (parse_box, lambda value: parse_settings([value])):
        try:
            parse(text)
        except Exception as error:
            assert type(error).__name__ in ("ArgumentTypeError", "InputError"), repr(error)


@pytest.fixture(scope="module")
def frames(folder) -> Path:
    path = folder / "frames"
    path.mkdir()
    for index in range(2):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90 + index, np.uint8)).save(path / f"{index}.png")
    return path


@pytest.mark.filterwarnings("ignore")
@fuzz(40)
@given(box=options, mask=damaged(whole_files()) | st.none())
def test_track_touches_nothing_outside_its_folder(folder, frames, box, mask):
    """Only what is refused, so that no model is loaded."""
    torch.set_num_threads(1)
    (folder / "given.png").write_bytes(mask or b"")
    target = ["--mask", str(folder / "given.png")] if mask is not None else [f"--box={box}"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    try:
        code = main(["track", str(frames), *target, "--preset", "none", "--out", str(folder / "fresh")])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
