"""What stays in memory while a video is read, drawn and written: nothing of the frames that went by."""

import gc
import json
import tracemalloc
from contextlib import contextmanager

import av
import numpy as np
import pytest
import video_files

from msdeaot_tracker.cli.results import ResultWriter
from msdeaot_tracker.overlay import draw_overlay
from msdeaot_tracker.types import Box, FrameResult
from msdeaot_tracker.video import Frame, open_source
from msdeaot_tracker.views import View


@contextmanager
def traced():
    """What Python and numpy take meanwhile, as a function that tells it: now and at most, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()


@pytest.fixture
def no_collector():
    """Garbage collection may be long in coming: what waits for it is held."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_decoded_frames_do_not_wait_for_the_garbage_collector(tmp_path, no_collector):
    source = open_source(video_files.write(tmp_path / "a.mp4", [index / 25 for index in range(40)]))
    for frame in source:
        if frame.index in (19, 39):
            assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) < 8
    assert frame.index == 39


def test_of_a_frame_that_was_written_a_few_numbers_stay(tmp_path):
    """Until the end, when they are made objects again: but not all of the text that is written is held at once."""
    first, last, numbers = 500, 3000, 3  # of a frame: its seconds, its time, and that object 2 is absent
    result = FrameResult(0, np.zeros((16, 16), np.int32), {1: Box(1, 2, 3, 4), 2: None}, {1: 0.5, 2: 0.0})
    image, given, held = np.zeros((16, 16, 3), np.uint8), dict.fromkeys((1, 2), Box(1, 2, 3, 4)), {}
    with traced() as memory:
        with ResultWriter(tmp_path, {}, given, None, overlay=False, masks=False) as writer:
            for index in range(last):
                writer.write(Frame(index, image, index / 25, ""), result, index / 1000)
                if index + 1 in (first, last):
                    held[index + 1] = memory()[0]
            tracemalloc.reset_peak()
        at_the_end = memory()[1]
    assert (held[last] - held[first]) / (last - first) < 1.5 * 8 * numbers
    file = tmp_path / "result.json"
    assert at_the_end - held[last] < 5 * file.stat().st_size
    of_frames = json.loads(file.read_text())["frames"]
    assert of_frames["seconds"] == [index / 1000 for index in range(last)]
    assert of_frames["timestamps"] == [index / 25 for index in range(last)]
    assert of_frames["absent"] == {"1": [], "2": list(range(last))}


def test_to_draw_a_frame_takes_a_few_copies_of_it():
    image = np.zeros((240, 320, 3), np.uint8)
    labels = np.ones((240, 320), np.int32)
    result = FrameResult(0, labels, {1: Box(0, 0, 320, 240)}, {1: 0.5})
    draw_overlay(image, result)
    with traced() as held:
        draw_overlay(image, result)
        assert held()[1] < 9 * image.nbytes


def test_what_the_network_sees_is_one_copy_in_float():
    image = np.zeros((480, 640, 3), np.uint8)
    view = View(0, 0, 640, 480, (33, 49), (480, 640), True)
    view.image(image)
    with traced() as held:
        view.image(image)
        assert held()[1] < 1.2 * 4 * image.size
