"""vot-toolkit starts a tracker anew in the middle of videos: multi-start and restarts, with windows that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msdeaot_integration import toolkit
from msdeaot_integration.workspace import write_sequence, write_workspace

from msdeaot_tracker import Box, load_tracker, read_image
from msdeaot_tracker.geometry import rectangle_iou

pytest.importorskip("vot", reason="needs the extra `vot`")

SIZE, FRAMES, ANCHORS = (240, 320), 26, {3: 1, 20: -1}
SKIPPED = 5  # frames from a failure to the next start
SETTINGS = {
    "preset": "msdeaot-small",
    "initializer": "box",
    "device": "cpu",
    "overrides": ["tracker.view=auto", "tracker.window.edge=161", "tracker.box_margins=False"],
}
REGISTRY = f"""
[Windows]
label = Windows
protocol = traxpython
command = from msdeaot_integration.vot import run; run(**{SETTINGS})
paths = none
timeout = 600
"""
STACK = f"""
title: Windows
experiments:
  multistart: {{type: multistart, analyses: [{{type: multistart_average_ar, name: ar}}]}}
  supervised: {{type: supervised, skip_initialize: {SKIPPED}, analyses: [{{type: supervised_average_ar, name: ar}}]}}
"""


def truth(index: int) -> Box:
    """Of 8 pixels; on frame 12 it is somewhere else, which fails whoever follows it."""
    return Box(40 + 6 * index, 60 + 4 * index, 8, 8) if index < 12 else Box(280 - 6 * index, 200 - 2 * index, 8, 8)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (12, 16, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    frames = [ground.copy() for _ in range(FRAMES)]
    for index, image in enumerate(frames):
        x, y, w, h = truth(index)
        image[y : y + h, x : x + w] = (255, 0, 0)
    write_sequence(tmp_path / "sequences" / "tiny", frames, list(map(truth, range(FRAMES))), anchors=ANCHORS)
    for name, text in (("windows.ini", REGISTRY), ("windows.yaml", STACK)):
        (tmp_path / name).write_text(text)
    write_workspace(tmp_path, ["tiny"], stack=tmp_path / "windows.yaml", registries=[tmp_path / "windows.ini"])
    return tmp_path


def test_each_start_gives_what_the_library_gives_from_there(workspace):
    from vot.region.io import read_trajectory

    toolkit.evaluate(workspace, "Windows")
    tracker = load_tracker(**SETTINGS)
    paths = sorted((workspace / "sequences" / "tiny" / "color").iterdir())
    images = [read_image(path) for path in paths]

    def check(regions: list, indices: list[int]) -> None:
        """The regions of a start on the first of these frames."""
        results = [tracker.initialize(images[indices[0]], truth(indices[0]))]
        results += [tracker.track(images[index]) for index in indices[1:]]
        assert all(result.views[1].w < SIZE[1] / 2 for result in results[:8])  # in windows
        expected = truth(indices[0])
        for region, result in zip(regions[1:], results[1:], strict=True):
            expected = result.boxes[1] or expected  # an absent object has its last box in the toolkit's answers
            assert (region.x, region.y, region.width, region.height) == pytest.approx(expected, abs=0.01)

    runs = workspace / "results" / "Windows"
    for anchor, step in ANCHORS.items():
        indices = list(range(anchor, FRAMES)) if step > 0 else list(range(anchor, -1, -1))
        check(read_trajectory(str(runs / "multistart" / "tiny" / f"tiny_{anchor:08d}.bin")), indices)
    regions = read_trajectory(str(runs / "supervised" / "tiny" / "tiny_001.bin"))
    assert [getattr(regions[index], "code", None) for index in (0, 12, 12 + SKIPPED)] == [1, 2, 1]
    check(regions[:12], list(range(12)))
    check(regions[12 + SKIPPED :], list(range(12 + SKIPPED, FRAMES)))
    scores = toolkit.analyse(workspace, ["Windows"], name="scores")
    assert set(scores) == {"multistart", "supervised"}
    assert rectangle_iou(tracker.track(images[-1]).boxes[1], truth(FRAMES - 1)) > 0.5
