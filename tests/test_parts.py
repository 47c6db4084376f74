"""The parts of all objects of a label map, beside OpenCV's of each object's mask."""

import cv2
import numpy as np
import pytest

from msdeaot_tracker.geometry import main_box, main_parts, mask_to_box
from msdeaot_tracker.parts import LabelParts, find_runs, find_spans
from msdeaot_tracker.types import Box


def spiral(size: int) -> np.ndarray:
    """bool [size, size]: one part that goes round and round, so that its runs are known to be one very late."""
    mask, r, c, step = np.zeros((size, size), bool), 0, 0, (0, 1)
    mask[0, 0] = True
    for length in range(size - 1, 0, -2):
        for _ in range(4):
            for _ in range(length):
                r, c = r + step[0], c + step[1]
                if not (0 <= r < size and 0 <= c < size):
                    return mask
                mask[r, c] = True
            step = step[1], -step[0]
        c += 1
    return mask


def maps() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(random.random((64, 90)).astype(np.float32), (0, 0), 2)
    ends = np.zeros((7, 9), np.int32)
    ends[1:6, 0] = ends[1:6, -1] = 4  # beside each other in the flat map only
    ends[2, 3], ends[3, 4], ends[4, 3] = 70000, 70000, 4
    return {
        "specks": random.choice([0, 0, 1, 2, 70000], (41, 53)).astype(np.int32),
        "regions": np.digitize(smooth, np.quantile(smooth, [0.3, 0.5, 0.7])).astype(np.int32),
        "one object": (random.random((30, 23)) < 0.4).astype(np.int32) * 5,
        "full": np.full((4, 6), 2, np.int32),
        "empty": np.zeros((4, 6), np.int32),
        "one row": random.choice([0, 3], (1, 40)).astype(np.int32),
        "one column": random.choice([0, 3], (40, 1)).astype(np.int32),
        "ends of rows": ends,
        "spiral": np.where(spiral(41), 1, 2).astype(np.int32),
        "comb": np.tile(np.array([[0, 1]] * 20 + [[1, 1]], np.int32), (1, 15)),
    }


SETTINGS = [(0.0, None, None), (0.2, None, None), (0.0, Box(20.3, 10, 12.5, 9), 1.5), (0.1, Box(2, 3, 30, 30), 2.0)]


@pytest.mark.parametrize("name", maps())
def test_boxes_and_labels_are_those_of_each_objects_main_parts(name):
    labels = maps()[name]
    for share, last, growth in SETTINGS:
        for object_id in [*np.unique(labels[labels > 0]).tolist(), 9]:
            mask, parts = labels == object_id, LabelParts(labels.copy())
            assert parts.box(object_id) == mask_to_box(mask)
            assert parts.box(object_id, share, last=last, growth=growth) == main_box(
                mask, share, last=last, growth=growth
            )
            if last is not None:
                parts.drop_others(object_id, last, growth)
                others = mask & ~main_parts(mask, 0.0, last=last, growth=growth)
                assert np.array_equal(parts.labels, np.where(others, 0, labels))
                assert parts.box(object_id) == mask_to_box(parts.labels == object_id)


@pytest.mark.parametrize("name", maps())
def test_runs_put_together_are_the_map(name):
    labels = maps()[name]
    ids, starts, stops = find_runs(labels)
    assert np.array_equal(np.repeat(ids, stops - starts).reshape(labels.shape), labels)
    assert np.array_equal(starts[1:], stops[:-1])


@pytest.mark.parametrize("name", maps())
def test_spans_are_those_of_each_objects_mask(name):
    labels = maps()[name]
    spans = find_spans(labels)
    assert list(spans) == np.unique(labels[labels > 0]).tolist()
    for object_id, (rows, columns) in spans.items():
        x, y, w, h = mask_to_box(labels == object_id)
        assert (rows, columns) == (slice(y, y + h), slice(x, x + w))
    assert find_spans(np.zeros_like(labels)) == {}
