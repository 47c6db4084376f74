"""Procedural video: reproducible, exact truth, objects that move and can be away."""

import dataclasses
import subprocess
import sys
import zlib

import numpy as np
import pytest

from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.data.procedural.held_out import write_frames
from msdeaot_tracker.types import InputError

SEEDS = range(24)
LONG = ClipConfig(height=72, width=96, frames=40, max_objects=2, vigour=(0.25, 0.5))


def checksum(clip) -> int:
    return zlib.crc32(clip.labels.tobytes(), zlib.crc32(clip.frames.tobytes()))


@pytest.fixture(scope="module")
def clips():
    return [generate_clip(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def long_clips():
    config = dataclasses.replace(LONG, absence_probability=1.0)
    return [generate_clip(seed, config) for seed in SEEDS]


def test_shapes_and_types(clips):
    for clip in clips:
        objects = clip.visibility.shape[1]
        assert clip.frames.shape == (3, 192, 192, 3) and clip.frames.dtype == np.uint8
        assert clip.labels.shape == (3, 192, 192) and clip.labels.dtype == np.uint8
        assert clip.visibility.shape == (3, objects) and clip.visibility.dtype == np.float32
        assert 1 <= objects <= 4
        assert set(np.unique(clip.labels[0])) - {0} == set(range(1, objects + 1))
        assert clip.labels.max() == objects


def test_the_same_in_another_process_and_in_another_order(clips):
    code = (
        "import zlib, cv2\n"
        "from msdeaot_tracker.data.procedural import generate_clip\n"
        "cv2.setNumThreads(1)\n"
        "for seed in (5, 3):\n"
        "    clip = generate_clip(seed)\n"
        "    print(zlib.crc32(clip.labels.tobytes(), zlib.crc32(clip.frames.tobytes())))\n"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [int(crc) for crc in fresh] == [checksum(clips[5]), checksum(clips[3])]
    assert checksum(generate_clip(5)) == checksum(clips[5])


def test_seeds_differ(clips):
    assert len({checksum(clip) for clip in clips}) == len(clips)


def test_every_object_can_be_seen_in_the_first_frame(clips):
    config = ClipConfig()
    for clip in clips:
        areas = np.bincount(clip.labels[0].ravel())[1:]
        assert np.all(areas >= config.min_area * clip.labels[0].size)
        assert np.all(clip.visibility[0] >= config.min_visibility)


def test_visibility_boxes_and_labels_tell_the_same(clips, long_clips):
    for clip in clips + long_clips:
        assert np.all((clip.visibility >= 0) & (clip.visibility <= 1))
        for labels, visibility, boxes in zip(clip.labels, clip.visibility, clip.boxes, strict=True):
            assert labels.max() <= len(visibility) == len(boxes)
            for k, (share, box) in enumerate(zip(visibility, boxes, strict=True), start=1):
                rows, columns = np.nonzero(labels == k)
                assert (rows.size > 0) == (share > 0) == (box is not None)
                if box is not None:
                    expected = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
                    assert tuple(box) == expected


def test_visibility_is_the_share_of_the_whole_silhouette():
    """Alone, unblurred and rigid, an object's visible pixels over its visibility stay near its first area."""
    config = ClipConfig(
        height=96, width=96, frames=20, max_objects=1, max_distractors=0, object_size=(0.3, 0.5), deformation=0.0,
        articulated_probability=0.0, turning_probability=0.0, absence_probability=1.0, occluder_probability=0.0,
        screen_probability=0.0, motion_blur_probability=0.0, vigour=(0.2, 0.2),
    )  # fmt: skip
    partial = 0
    for seed in range(12):
        clip = generate_clip(seed, config)
        shares, areas = clip.visibility[:, 0], (clip.labels == 1).sum(axis=(1, 2))
        whole = areas[shares > 0.05] / shares[shares > 0.05]
        # it grows and shrinks slowly with its distance, so frames that follow each other agree
        assert np.all(np.abs(np.diff(np.log(whole))) < 0.35)
        partial += np.count_nonzero((shares > 0.05) & (shares < 0.9))
    assert partial >= 10


def test_absences_happen_as_often_as_asked(long_clips):
    absent = [bool(np.any(clip.visibility == 0)) for clip in long_clips]
    assert np.mean(absent) >= 0.9
    back = [np.any((clip.visibility[:-1] == 0) & (clip.visibility[1:] > 0)) for clip in long_clips]
    assert np.mean(back) >= 0.3
    never = dataclasses.replace(LONG, absence_probability=0.0, occluder_probability=0.0, max_distractors=0)
    assert np.mean([np.any(generate_clip(seed, never).visibility == 0) for seed in SEEDS]) <= 0.25


def test_everything_moves_and_no_frame_is_blank(clips, long_clips):
    for clip in clips + long_clips:
        assert np.all(clip.frames.std(axis=(1, 2)).max(axis=1) > 1)
        for before, after in zip(clip.frames[:-1], clip.frames[1:], strict=True):
            assert np.any(before != after)
    moved = [np.mean(clip.labels[0] != clip.labels[-1]) > 0 for clip in clips]
    assert all(moved)


def test_motion_is_continuous_in_long_clips():
    """Of calm clips without absences, the object overlaps with itself from frame to frame."""
    config = dataclasses.replace(
        LONG, max_objects=1, vigour=(0.2, 0.2), object_size=(0.3, 0.5), absence_probability=0.0,
        occluder_probability=0.0,
    )  # fmt: skip
    overlaps = []
    for seed in range(8):
        masks = generate_clip(seed, config).labels == 1
        both, either = (masks[1:] & masks[:-1]).sum(axis=(1, 2)), (masks[1:] | masks[:-1]).sum(axis=(1, 2))
        overlaps.extend(both[either > 40] / either[either > 40])
    assert np.quantile(overlaps, 0.05) > 0.5


def test_labels_lie_on_the_pixels_of_the_object():
    """Without blur and noise, the outline of a lone object is where the image has its strong edges."""
    config = ClipConfig(
        frames=1, max_objects=1, max_distractors=0, object_size=(0.3, 0.6), camouflage_probability=0.0,
        background_shapes=0, blurred_background_probability=1.0, shadow_probability=0.0, occluder_probability=0.0,
        screen_probability=0.0, motion_blur_probability=0.0, defocus_probability=0.0, noise=(0.0, 0.0),
        jpeg_probability=0.0, lighting_probability=0.0, shake=0.0,
    )  # fmt: skip

    def step_across(image, mask, shift):
        """Mean absolute difference between neighbours that the mask, moved by `shift` columns, tells apart."""
        border = np.roll(mask[:, 1:] != mask[:, :-1], shift, axis=1)
        return np.abs(np.diff(image.astype(np.float32).mean(axis=2), axis=1))[border].mean()

    aligned = []
    for seed in range(12):
        clip = generate_clip(seed, config)
        steps = [step_across(clip.frames[0], clip.labels[0] == 1, shift) for shift in range(-4, 5)]
        aligned.append(abs(int(np.argmax(steps)) - 4) <= 1)
    assert np.mean(aligned) >= 0.8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 8), ("frames", 0), ("frames", 2.5), ("min_objects", 5), ("max_objects", 0), ("max_objects", 300),
        ("object_size", (0.5, 0.1)), ("object_size", 0.5), ("vigour", (0.0, 1.0)), ("noise", (0.0, float("nan"))),
        ("absence_probability", 1.5), ("absence_probability", "often"), ("jpeg_quality", (50, 200)), ("speed", -0.1),
    ],
)  # fmt: skip
def test_bad_values_are_named(field, value):
    with pytest.raises(ValueError, match=field) as caught:
        ClipConfig(**{field: value})
    assert str(value) in str(caught.value)


def test_a_negative_seed_is_named():
    with pytest.raises(ValueError, match="seed=-1"):
        generate_clip(-1)


def test_impossible_scenes_are_refused():
    crowd = ClipConfig(
        height=32, width=32, frames=1, min_objects=6, max_objects=6, object_size=(1.5, 1.5), min_visibility=1.0
    )
    with pytest.raises(ValueError, match="seed=0"):
        generate_clip(0, crowd)


def test_one_object_and_other_sizes():
    clip = generate_clip(1, ClipConfig(height=240, width=320, frames=4, max_objects=1))
    assert clip.frames.shape == (4, 240, 320, 3) and clip.visibility.shape == (4, 1)


def test_of_a_sequence_that_cannot_be_written_nothing_is_left(tmp_path):
    good = (np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8))
    write_frames(tmp_path, "one", [good])
    with pytest.raises(InputError):
        write_frames(tmp_path, "two", [good, (good[0], np.full((4, 4), -1))])
    assert {path.name for path in tmp_path.glob("*/*")} == {"one"} and len(list(tmp_path.rglob("*.png"))) == 2
