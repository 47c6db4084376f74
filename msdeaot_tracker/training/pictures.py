"""What the model makes of its clips, to look at while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..data.augmentation import MaskedClip
from ..data.clip_sheet import clip_sheet
from ..images import write_image
from ..types import InputError
from .observers import StepReport


class Pictures:
    """pictures/<step>.png in `folder`, every so many steps and after the last: a clip, its truth, the prediction.

    show: shows them elsewhere too, given a name, the picture uint8 [H, W, 3] and the step; `Charts.add_picture` does.
    """

    def __init__(self, folder: Path, every: int, show: Callable[[str, np.ndarray, int], object] | None = None):
        if every < 1:
            raise InputError(f"pictures every {every} steps: at least every step")
        self._folder, self._every, self._show = folder / "pictures", every, show

    def step(self, report: StepReport) -> Mapping[str, float]:
        if report.clip is None or (report.step % self._every and report.step != report.steps):
            return {}
        frames, labels, predicted = (part.numpy() for part in report.clip())
        frames = frames.transpose(0, 2, 3, 1)
        rows = (
            (np.zeros_like(labels), f"step {report.step}, loss {report.loss:.3f}"),
            (labels, "truth; the first frame's is given"),
            (predicted, "prediction"),
        )
        sheet = clip_sheet((MaskedClip(frames, shown), caption) for shown, caption in rows)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_image(self._folder / f"{report.step:07d}.png", sheet)
        if self._show is not None:
            self._show("clip", sheet, report.step)
        return {}

    def close(self) -> None:
        pass
