"""Time of a window beside the full frame's, and of large frames beside small ones: `python benchmarks/windows.py`.

Two ratios, of the time of one frame through the tracker, which is given the pictures in memory (what reading a file
takes is left out):

- a window that follows, over the full frame seen at as many network pixels, on frames of one size;
- a frame of 3840x2160 over one of 854x480, with one small object, as `auto` looks at it.

Both sides of a ratio take turns frame by frame, so that what else the machine does falls on both. Medians of wall
clock and of processor time. A red square moves over grey noise; that it was followed to the end is checked.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from msdeaot_tracker import Box, Tracker, load_model, override
from msdeaot_tracker.config import DEFAULT_PRESET
from msdeaot_tracker.geometry import rectangle_iou
from msdeaot_tracker.types import TrackerError

_LIMITS = (1.1, 1.3)  # of the two ratios


@dataclass
class Side:
    """One of the two that take turns: its tracker, its video, and what each frame took."""

    name: str
    tracker: Tracker
    size: tuple[int, int]  # height and width of its frames
    object_: int  # side of the square, in pixels
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    box: Box | None = None
    view: Box | None = None

    def __post_init__(self) -> None:
        height, width = self.size
        noise = np.random.default_rng(0).integers(90, 140, (height // 8, width // 8, 1), np.uint8)
        self.ground = np.repeat(cv2.resize(noise, (width, height))[..., None], 3, axis=2)
        self.tracker.initialize(self.frame(0), {1: self.truth(0)})

    def truth(self, index: int) -> Box:
        height, width = self.size
        steps = min(index % 32, 32 - index % 32)  # to and fro
        return Box(width // 3 + steps * (self.object_ // 4), height // 2, self.object_, self.object_)

    def frame(self, index: int) -> np.ndarray:
        x, y, w, h = self.truth(index)
        image = self.ground.copy()
        image[y : y + h, x : x + w] = (255, 0, 0)
        return image

    def step(self, index: int) -> None:
        image = self.frame(index)
        began = time.perf_counter(), time.process_time()
        result = self.tracker.track(image)
        self.wall.append(time.perf_counter() - began[0])
        self.processor.append(time.process_time() - began[1])
        self.box, self.view = result.boxes[1], result.views[1]


def compare(one: Side, other: Side, frames: int, limit: float) -> None:
    """The first frames, in which much is set up, are not counted. TrackerError: a side has lost the object."""
    for index in range(1, frames + 3):
        for side in (one, other):
            side.step(index)
    for side in (one, other):
        if side.box is None or rectangle_iou(side.box, side.truth(frames + 2)) < 0.3:
            raise TrackerError(f"{side.name}: the object was lost ({side.box}), so the times say nothing")
        wall, processor = (statistics.median(times[2:]) for times in (side.wall, side.processor))
        looked = f"looks at {side.view.w:g}x{side.view.h:g}"
        print(f"  {side.name:<28}{looked:<22}{wall:8.3f} s, of processor time {processor:.3f} s")
    ratios = (
        statistics.median(a[2:]) / statistics.median(b[2:])
        for a, b in ((one.wall, other.wall), (one.processor, other.processor))
    )
    print("  ratio {:.2f}, of processor time {:.2f} (at most {:g})".format(*ratios, limit), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    parser.add_argument("--frames", type=int, default=20, help="timed of each side (default: %(default)s)")
    parser.add_argument("--edge", type=int, default=337, help="network pixels of both views (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    arguments = parser.parse_args()
    if arguments.frames < 1 or arguments.threads < 1:
        parser.error("--frames and --threads start at 1")
    torch.set_num_threads(arguments.threads)
    try:
        model = load_model(arguments.preset, device=arguments.device)

        def side(name: str, size: tuple[int, int], object_: int, *settings: str) -> Side:
            preset = override(model.preset, f"tracker.window.edge={arguments.edge}", *settings)
            return Side(name, Tracker(model, initializer="box", preset=preset), size, object_)

        print(f"seconds per frame, {arguments.preset}, {arguments.threads} CPU thread(s), median of {arguments.frames}")
        full = side(
            "full frame 1080x1080", (1080, 1080), 60, "tracker.view=full", f"tracker.long_edge={arguments.edge}"
        )
        compare(
            side("window of 1080x1080", (1080, 1080), 60, "tracker.view=follow"), full, arguments.frames, _LIMITS[0]
        )
        small = side("854x480", (480, 854), 24, "tracker.view=auto")
        compare(side("3840x2160", (2160, 3840), 40, "tracker.view=auto"), small, arguments.frames, _LIMITS[1])
    except TrackerError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
