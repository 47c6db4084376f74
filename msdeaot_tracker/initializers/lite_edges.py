"""The edge of a large object's mask, drawn by the picture's colours where the network is not sure."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry import mask_iou
from ..types import Box
from .box_crop import CROP, crop_side
from .graph_cut import cut, enlarge
from .lite_net import STRIDE

_COARSE = 2.25  # pixels of the image in a cell of the network's mask, from which on its edge is too coarse
_SURE = 0.95  # probability from which on the network decides, either way
_CONTEXT = 0.5  # background looked at around the box, as a part of its longer side
_LONG_SIDE = 400  # pixels; larger crops are reduced to this, so that the time does not grow with the image
_AGREEMENT = 0.5  # overlap with the network's mask below which the cut went astray


def is_coarse(box: Box) -> bool:
    return crop_side(box) * STRIDE / (CROP - 1) >= _COARSE


def draw_edge(image: np.ndarray, probability: np.ndarray, mask: np.ndarray, box: Box) -> np.ndarray:
    """uint8 [H, W, 3] RGB, float [H, W], bool [H, W] (what is likely the object) -> bool [H, W].

    One graph cut (GrabCut: Rother, Kolmogorov, Blake, 2004) among the pixels that the network is not sure of. The
    mask as it was, where that leads far from it.
    """
    x, y, w, h = box
    pad = _CONTEXT * max(w, h)
    around = np.s_[int(max(0, y - pad)) : int(y + h + pad), int(max(0, x - pad)) : int(x + w + pad)]
    shape = mask[around].shape
    scale = min(1.0, _LONG_SIDE / max(shape))
    size = [max(1, round(side * scale)) for side in reversed(shape)]
    parts = (image[around], probability[around], mask[around].astype(np.float32))
    crop, likely, guess = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts)
    seeds = np.where(guess > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[likely > _SURE] = cv2.GC_FGD
    seeds[likely < 1 - _SURE] = cv2.GC_BGD
    drawn = np.zeros_like(mask)
    drawn[around] = enlarge(cut(crop, seeds, iterations=1), shape)
    return drawn if mask_iou(drawn, mask) >= _AGREEMENT else mask
