"""got10k-style toolkits: the got10k package, and the toolkits of TREK-150 and VISTA that grew from it.

    from got10k.experiments import ExperimentGOT10k
    from msdeaot_integration.got10k import MSDeAOT

    ExperimentGOT10k("data/GOT-10k", subset="val").run(MSDeAOT())

None of them is imported here: they ask for nothing but the methods below.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from msdeaot_tracker import FrameResult, InputError, TrackerError, read_ahead, read_image

from .vot import load_warm_tracker

ImageLike = Image.Image | np.ndarray


class MSDeAOT:
    """One object: box in, boxes out; or mask in, masks out (VISTA's `anno_type="mask"`).

    Where the object is not to be seen the answer is its last box, since these toolkits know no absence of a box, or the
    empty mask. `masks` and `score` say more about the latest frame than the toolkits ask for.
    """

    is_deterministic = True  # got10k then runs each sequence once instead of three times

    def __init__(self, name: str = "MSDeAOT", **settings: Any) -> None:
        """name: what result folders and reports call it. settings: the arguments of `msdeaot_tracker.load_tracker`."""
        self.name = name
        self._tracker = load_warm_tracker(**settings)
        self._gives_masks = False
        self._result: FrameResult | None = None
        self._box = np.zeros(4)

    def init(self, image: ImageLike, box: Sequence[float] | np.ndarray) -> None:
        """Start a video. image: PIL's, or an array [H, W, 3] RGB; box: (x, y, w, h) in pixels, or a mask [H, W]."""
        target = np.asarray(box)
        if np.isnan(target).any():  # VISTA's mark for a frame without annotation
            raise InputError("the region to start from is not annotated (NaN)")
        self._gives_masks = target.ndim == 2
        self._result = self._tracker.initialize(image, {1: target if self._gives_masks else target.tolist()})
        self._box = np.array(self._result.boxes[1] if self._gives_masks else target, float)

    def update(self, image: ImageLike) -> np.ndarray:
        """The next frame -> float [4], (x, y, w, h) in pixels; or bool [H, W] after a start from a mask."""
        self._result = self._tracker.track(image)
        if self._result.boxes[1] is not None:
            self._box = np.array(self._result.boxes[1], float)
        return self.mask if self._gives_masks else self._box

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]: the object on the latest frame, empty where it is not to be seen."""
        return self._latest.masks[1]

    @property
    def score(self) -> float:
        """Mean foreground probability over the object's pixels on the latest frame, 0 where it is not to be seen."""
        return self._latest.scores[1]

    def track(
        self, img_files: Sequence[str], anno: np.ndarray, visualize: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """A whole video from its image files -> boxes [T, 4] or masks [T, H, W], and seconds [T] without reading.

        The first answer is the region given. Each image is read while the one before it is tracked. visualize: show
        the frames in a window as they are tracked.
        """
        regions, seconds = [], []
        with read_ahead(read_image(path) for path in img_files) as images:
            for index, image in enumerate(images):
                start = time.perf_counter()
                if index == 0:
                    self.init(image, anno)
                    regions.append(self.mask if self._gives_masks else np.asarray(anno, float))
                else:
                    regions.append(self.update(image))
                seconds.append(time.perf_counter() - start)
                if visualize:
                    self._show(image)
        return np.array(regions), np.array(seconds)

    @property
    def _latest(self) -> FrameResult:
        if self._result is None:
            raise TrackerError("there is no frame yet: call init first")
        return self._result

    def _show(self, image: np.ndarray) -> None:
        shown = np.ascontiguousarray(image[..., ::-1])
        shown[self.mask] = shown[self.mask] // 2 + np.uint8([0, 127, 0])
        x, y, w, h = self._box.round().astype(int).tolist()
        cv2.rectangle(shown, (x, y), (x + w, y + h), (0, 255, 0), 2)
        cv2.imshow(self.name, shown)
        cv2.waitKey(1)
