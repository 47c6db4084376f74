"""The box itself as the mask: for objects that fill their box, and as a baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import box_to_mask
from ..types import Box, MaskEstimate


@dataclass(frozen=True)
class FilledBox:
    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        return MaskEstimate(box_to_mask(box, *image.shape[:2]), source="box")
