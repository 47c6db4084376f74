"""Clips from stills and videos: image and labels stay together, objects stay in, everything follows from the seed."""

import random
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from msdeaot_tracker.data.augmentation import (
    FILL,
    Augmentation,
    MaskedClip,
    _colours,
    _path,
    _spline_basis,
    clip_of_still,
    clip_of_video,
    paste,
)
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.types import InputError

SIZE = 97
PLAIN = Augmentation(recolour=0, blur=0)  # only moved
STILL = replace(PLAIN, rotation=0, shift=0, scale=0, shear=0, bend=0)
DARK, BRIGHT = 40, 220


def picture(height: int = 120, width: int = 200, box: tuple[int, int, int, int] = (60, 30, 70, 50)):
    """Dark, with a bright ellipse that is object 1, and some of what is void below it."""
    labels = np.zeros((height, width), np.uint8)
    x, y, w, h = box
    cv2.ellipse(labels, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, 1, cv2.FILLED)
    image = np.where(labels[..., None] == 1, BRIGHT, DARK).astype(np.uint8).repeat(3, axis=2)
    labels[-10:] = 255
    return image, labels


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(kind: str, seed: int, how: Augmentation) -> MaskedClip:
    image, labels = picture()
    if kind == "still":
        return clip_of_still(generator(seed), image, labels, 4, SIZE, how)
    images = [np.roll(image, 3 * t, axis=1) for t in range(4)]
    return clip_of_video(generator(seed), images, [np.roll(labels, 3 * t, axis=1) for t in range(4)], SIZE, how)


@pytest.mark.parametrize("kind", ["still", "video"])
@pytest.mark.parametrize("seed", range(8))
def test_labels_lie_on_their_object(kind, seed):
    clip = make(kind, seed, PLAIN)
    assert clip.frames.shape == (4, SIZE, SIZE, 3) and clip.labels.shape == (4, SIZE, SIZE)
    assert clip.frames.dtype == clip.labels.dtype == np.uint8
    assert set(np.unique(clip.labels)) <= {0, 1, 255}, "labels are never blended"
    for frame, labels in zip(clip.frames, clip.labels, strict=True):
        seen = frame[..., 1] > (DARK + BRIGHT) // 2  # FILL is darker
        assert mask_iou(seen, labels == 1) > 0.97


@pytest.mark.parametrize("kind", ["still", "video"])
def test_a_clip_follows_from_its_generator_alone(kind):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (make(kind, seed, Augmentation(recolour=1, blur=1)) for seed in (3, 3, 4))
    assert (first.frames == again.frames).all() and (first.labels == again.labels).all()
    assert (first.frames != other.frames).any()
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("box", [(0, 0, 12, 12), (185, 95, 12, 12), (90, 50, 40, 40)])
def test_an_object_that_fits_is_whole(box):
    image, labels = picture(box=box)
    labels[labels == 255] = 0
    for seed in range(20):
        clip = clip_of_video(generator(seed), [image], [labels], 2 * 120, PLAIN)
        counted = cv2.connectedComponents((clip.labels[0] == 1).astype(np.uint8))[0]
        touches = clip.labels[0].copy()
        touches[1:-1, 1:-1] = 0
        inside = box[0] > 0 and box[0] + box[2] < 190
        assert counted == 2
        assert not (inside and touches.any()), "cut off, although there was room"


def test_an_object_larger_than_the_cut_out_fills_it():
    image, labels = picture(box=(-100, -100, 400, 320))
    for seed in range(10):
        assert (clip_of_video(generator(seed), [image], [labels], SIZE, PLAIN).labels == 0).mean() < 0.2


def test_a_picture_of_one_pixel():
    image, labels = np.full((1, 1, 3), 7, np.uint8), np.ones((1, 1), np.uint8)
    for seed in range(10):
        assert (clip_of_video(generator(seed), [image], [labels], 16, PLAIN).labels == 1).all()
        assert clip_of_still(generator(seed), image, labels, 2, 16, PLAIN).labels.shape == (2, 16, 16)
    with pytest.raises(InputError, match=r"zoom=0\.5"):
        Augmentation(zoom=0.5)


def test_a_still_moves_steadily():
    clip = make("still", 5, replace(PLAIN, vigour=(1, 1)))
    ious = [mask_iou(clip.labels[0] == 1, labels == 1) for labels in clip.labels]
    assert ious[0] == 1 and ious[1] > ious[3], "further from the first frame, the later"


def test_a_still_without_motion_stands_still():
    clip = make("still", 2, STILL)
    assert (clip.frames == clip.frames[:1]).all() and (clip.labels == clip.labels[:1]).all()


def test_paths_begin_at_rest_and_end_about_one_away():
    ends = np.array([_path(generator(seed), 5, 1)[-1, 0] for seed in range(500)])
    assert (_path(generator(0), 5, 3)[0] == 0).all() and _path(generator(0), 1, 2).shape == (1, 2)
    assert 0.9 < ends.std() < 1.3 and abs(ends.mean()) < 0.15


def test_outside_of_a_picture_is_fill_and_background():
    image, labels = picture()
    image[:], labels[:] = 255, 1
    clip = clip_of_still(generator(0), image, labels, 3, SIZE, replace(PLAIN, shift=0.5))
    outside = clip.labels == 0
    assert outside.any()
    assert (abs(clip.frames[outside].astype(int) - FILL).max(axis=1) == 0).mean() > 0.9  # edges are blended


def test_large_pictures_are_not_left_out_pixel_by_pixel():
    """A fine checkerboard becomes grey, not moiré."""
    image = np.indices((900, 900)).sum(axis=0) % 2 * 255
    image = image.astype(np.uint8)[..., None].repeat(3, axis=2)
    labels = np.ones((900, 900), np.uint8)
    for clip in (
        clip_of_still(generator(1), image, labels, 2, SIZE, STILL),
        clip_of_video(generator(1), [image], [labels], SIZE, PLAIN),
    ):
        assert clip.frames.std() < 25


def test_a_large_still_shows_what_its_cut_out_does():
    image, labels = picture(600, 600, (150, 100, 200, 300))
    clip = clip_of_still(generator(1), image, labels, 1, SIZE, replace(STILL, zoom=1, aspect=1, flip=0))
    whole = cv2.resize(labels, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST_EXACT)
    assert mask_iou(clip.labels[0] == 1, whole == 1) > 0.97


def test_spline_is_that_of_scipy():
    interpolate = pytest.importorskip("scipy.interpolate", reason="the reference is scipy's")
    knots, points = (np.stack(np.meshgrid(*[np.linspace(-1, 1, n)] * 2), axis=-1).reshape(-1, 2) for n in (4, 31))
    moved = generator(0).normal(size=(16, 2))
    expected = interpolate.RBFInterpolator(knots, moved, kernel="thin_plate_spline")(points)
    np.testing.assert_allclose(_spline_basis().T @ moved, expected, atol=1e-7)


def test_spline_keeps_affine_maps_and_passes_through_its_knots():
    basis = _spline_basis()
    knots = np.stack(np.meshgrid(*[np.linspace(-1, 1, 4)] * 2)).reshape(2, -1)
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, 31)] * 2)).reshape(2, -1)
    affine = np.array([0.3, -1.2])
    np.testing.assert_allclose(affine @ knots @ basis + 0.7, affine @ points + 0.7, atol=1e-9)
    at_knots = [int(np.abs(points - knot[:, None]).sum(axis=0).argmin()) for knot in knots.T]
    np.testing.assert_allclose(basis[:, at_knots], np.eye(16), atol=1e-9)


def test_colours():
    image, _ = picture()
    none = _colours(generator(0), image, Augmentation(), 0.0)
    np.testing.assert_allclose(none, np.eye(4), atol=1e-3)
    only_hue = Augmentation(brightness=0, contrast=0, saturation=0, hue=0.4)
    turned = _colours(generator(0), image, only_hue, 1.0)[:3, :3]
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(weights @ turned, weights, atol=2e-3)  # the grey value stays
    assert abs(turned - np.eye(3)).max() > 0.1
    grey = make("video", 0, Augmentation(recolour=1, grey=1, blur=0)).frames
    assert np.ptp(grey.astype(int), axis=3).max() <= 1


def test_frames_of_a_video_are_recoloured_alike_and_those_of_a_still_flicker():
    image, labels = picture()
    how = replace(STILL, recolour=1, contrast=0)
    video = clip_of_video(generator(7), [image] * 3, [labels] * 3, SIZE, how)
    assert (video.frames == video.frames[:1]).all() and DARK not in video.frames
    still = clip_of_still(generator(7), image, labels, 3, SIZE, how)
    assert (still.frames[1] != still.frames[0]).any() and (still.labels == still.labels[:1]).all()


def test_paste_in_front_and_behind():
    def clip(left: int, value: int) -> MaskedClip:
        labels = np.zeros((2, 40, 40), np.uint8)
        labels[:, 10:30, left : left + 20] = 1
        labels[:, :, -2:] = 255
        return MaskedClip(np.where(labels[..., None] == 1, value, 0).astype(np.uint8).repeat(3, axis=3), labels)

    seen = set()
    for seed in range(20):
        merged = paste(generator(seed), clip(2, 100), clip(12, 200), offset=10)
        overlap = merged.labels[0, 20, 15]
        seen.add(int(overlap))
        assert merged.frames[0, 20, 15, 0] == {1: 100, 11: 200}[int(overlap)], "what is in front is seen"
        assert merged.labels[0, 20, 5] == 1 and merged.labels[0, 20, 28] == 11
        assert (merged.labels[..., -1] == 255).all() and 9 not in merged.labels, "void is no object"
    assert seen == {1, 11}
