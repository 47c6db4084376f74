"""Runs a tracker that lives in another Python environment, and answers over its standard input and output.

    python .../evaluation/child opencv:csrt              # needs NumPy and OpenCV
    python .../evaluation/child pytracking:atom/default  # needs what pytracking needs, and a clone of it on PYTHONPATH

Nothing of msdeaot-tracker is imported: `pipe.py` is the other side. A message is the length of what follows (4 bytes,
big end first) and JSON; after one with "shape" come the bytes of an image, uint8 RGB [height, width, 3].

    {"version": 1}                                       -> {"version": 1, "about": "OpenCV 5.0.0"}
    {"box": [x, y, w, h], "shape": [h, w, 3]} and image  -> {"box": null}
    {"shape": [h, w, 3]} and image                       -> {"box": [x, y, w, h]}, or null: the object is not found

Instead of any answer: {"error": "what went wrong"}; the program goes on.
"""

from __future__ import annotations

import json
import os
import struct
import sys

VERSION = 1
OPENCV = {"mil": "MIL", "csrt": "CSRT", "kcf": "KCF"}


class OpenCV:
    def __init__(self, name):
        try:
            import cv2
        except ImportError as error:
            raise ImportError(f"{sys.executable} has no OpenCV: {error}") from error
        self._cv2 = cv2
        self.about = f"OpenCV {cv2.__version__}"
        self._create = getattr(cv2, f"Tracker{OPENCV[name]}_create", None)
        if self._create is None:
            raise ImportError(
                f"{self.about} of {sys.executable} has no {OPENCV[name]}: opencv-contrib-python has it, which cannot "
                "stand beside opencv-python: install it in another environment, and name its python with --python"
            )

    def start(self, image, box):
        self._tracker = self._create()
        self._tracker.init(self._bgr(image), tuple(round(side) for side in box))

    def follow(self, image):
        found, box = self._tracker.update(self._bgr(image))
        return box if found else None

    def _bgr(self, image):
        return self._cv2.cvtColor(image, self._cv2.COLOR_RGB2BGR)


class PyTracking:
    """Each run gets a tracker of its own, as in pytracking's `Tracker.run_sequence`."""

    def __init__(self, name):
        import torch
        from pytracking.evaluation import Tracker

        self._tracker_name, _, parameters = name.partition("/")
        self._maker = Tracker(self._tracker_name, parameters)
        if self._maker.tracker_class is None:
            raise ValueError(f"the clone has no tracker {self._tracker_name!r}")
        self._maker.get_parameters()  # now is the time to hear that there are none
        self.about = f"pytracking, PyTorch {torch.__version__}"

    def start(self, image, box):
        parameters = self._maker.get_parameters()
        parameters.visualization, parameters.debug = False, 0
        self._tracker = self._maker.create_tracker(parameters)
        if hasattr(self._tracker, "initialize_features"):
            self._tracker.initialize_features()
        self._previous = self._tracker.initialize(image, {"init_bbox": box}) or {}

    def follow(self, image):
        self._previous = self._tracker.track(image, {"previous_output": self._previous})
        return self._previous["target_bbox"]


def read(stream):
    """A message and its image, or (None, None) at the end of the input."""
    import numpy as np

    head = stream.read(4)
    if len(head) < 4:
        return None, None
    message = json.loads(stream.read(struct.unpack(">I", head)[0]))
    if "shape" not in message:
        return message, None
    height, width, channels = message["shape"]
    image = np.frombuffer(stream.read(height * width * channels), np.uint8)
    return message, image.reshape(height, width, channels)


def write(stream, message):
    data = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def answer(tracker, message, image):
    if image is None:
        return {"version": VERSION, "about": tracker.about}
    if "box" in message:
        tracker.start(image, message["box"])
        return {"box": None}
    box = tracker.follow(image)
    return {"box": None if box is None else [float(side) for side in box]}


def main(name):
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a tracker prints is not an answer
    kind, _, rest = name.partition(":")
    tracker = None
    while True:
        message, image = read(sys.stdin.buffer)
        if message is None:
            return
        try:
            tracker = tracker or {"opencv": OpenCV, "pytracking": PyTracking}[kind](rest)
            reply = answer(tracker, message, image)
        except Exception as error:  # of any tracker, of any kind: said to the other side, which names the run
            reply = {"error": f"{type(error).__name__}: {error}"}
        write(answers, reply)


if __name__ == "__main__":
    main(sys.argv[1])
