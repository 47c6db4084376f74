"""What networks of the SAM family share: one embedding per image, a prompt, masks to choose from."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..device import explain_out_of_memory
from ..geometry import ellipse_in_box, mask_to_box, rectangle_iou
from ..types import Box, InputError, MaskEstimate, Points, TrackerError
from .clicks import obeyed

logger = logging.getLogger(__name__)

MASK_LOGIT = 6.0  # of a given mask, as if the network had been that sure of it; our choice
_REMEDY = "use smaller weights, or the device cpu"


class BoxPrompted(ABC):
    """A network that embeds an image once and then answers each box, or clicks, with several masks.

    The embedding of the last image is kept, so that further objects on the same frame cost only the small decoder. It
    is recognised by its pixels, never by the array that held them.

    The network answers a box with several masks, because a box can mean a thing or a part of it. Taken is the mask
    with the highest product of the IoU that the network predicts for it, clipped to [0, 1], and the IoU of its upright
    rectangle with the box; of equals, the one whose rectangle fits better. When no mask's rectangle meets the box, the
    result is the ellipse in the box, with a warning. `details` holds `chosen`, `predicted_iou_<i>` and `box_iou_<i>`.
    Of clicks, with which the network is shown their box and the mask that they correct as well, see `choose_by_clicks`.

    source: as results name it.
    half:   embed in half precision; None: on CUDA only. An image whose embedding overflows is embedded again in
            float32, with a warning; `details["precision"]` says which it was.
    """

    def __init__(self, source: str, model: nn.Module, device: torch.device, half: bool | None) -> None:
        self.source = source
        self.device = device
        with explain_out_of_memory(f"loading {source}", _REMEDY):
            self.model = model.eval().to(device)
        self._half = device.type == "cuda" if half is None else half
        self._image: np.ndarray | None = None
        self._embedding: tuple[Tensor, ...] = ()
        self._precision = ""

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        logits, predicted_iou = self.candidates(image, box)
        return choose(self.source, logits, predicted_iou, box, {"precision": self._precision})

    def from_points(self, image: np.ndarray, points: Points) -> MaskEstimate:
        logits, predicted_iou = self.candidates(image, points)
        return choose_by_clicks(self.source, logits, predicted_iou, points, {"precision": self._precision})

    @torch.inference_mode()
    def candidates(self, image: np.ndarray, prompt: Box | Points) -> tuple[Tensor, Tensor]:
        """All masks for a box or clicks, before the choice, on the CPU.

        image: uint8 [H, W, 3] RGB; prompt: in its pixels, points as `targets.check_points` leaves them.
        Logits float32 [M, H, W], positive on the object, and the predicted IoU float32 [M].
        """
        height, width = image.shape[:2]
        with explain_out_of_memory(f"segmenting an image of {width}x{height} with {self.source}", _REMEDY):
            if self._image is None or not np.array_equal(image, self._image):
                self._image, self._embedding = None, ()  # frees the room before the next embedding needs it
                self._embedding, self._precision = self._embed(image)
                self._image = image.copy()
            points = prompt if isinstance(prompt, Points) else Points(box=prompt)
            logits, predicted_iou = self._decode(self._embedding, image, points)
        return logits.cpu(), predicted_iou.cpu()

    def _embed(self, image: np.ndarray) -> tuple[tuple[Tensor, ...], str]:
        precision = "float32"
        if self._half:
            with torch.autocast(self.device.type, dtype=torch.float16):
                embedding = tuple(part.float() for part in self._encode(image))
            if _finite(embedding):
                return embedding, "float16"
            logger.warning("%s: half precision overflows on this image: embedding it again in float32", self.source)
            precision = "float32 (float16 overflowed)"
        embedding = self._encode(image)
        if not _finite(embedding):
            raise TrackerError(f"{self.source}: the network gives no finite numbers; its weights are damaged")
        return embedding, precision

    @abstractmethod
    def _encode(self, image: np.ndarray) -> tuple[Tensor, ...]:
        """What the decoder needs to know of an image, uint8 [H, W, 3] RGB."""

    @abstractmethod
    def _decode(self, embedding: tuple[Tensor, ...], image: np.ndarray, prompt: Points) -> tuple[Tensor, Tensor]:
        """Logits [M, H, W] and predicted IoU [M] for what there is of clicks, box and mask, on the embedded image."""


def choose(
    source: str, logits: Tensor, predicted_iou: Tensor, box: Box, details: dict[str, float | str]
) -> MaskEstimate:
    """The mask that `BoxPrompted` describes, of logits [M, H, W] with their predicted IoU [M]; adds to `details`."""
    masks = (logits > 0).numpy()
    rectangles = [mask_to_box(mask) for mask in masks]
    box_iou = [rectangle_iou(rectangle, box) if rectangle else 0.0 for rectangle in rectangles]
    for i, (predicted, agreement) in enumerate(zip(predicted_iou.tolist(), box_iou, strict=True)):
        details |= {f"predicted_iou_{i}": predicted, f"box_iou_{i}": agreement}
    if max(box_iou) == 0:
        reason = "no mask meets the box" if masks.any() else "all masks are empty"
        logger.warning("%s: %s for box (%g, %g, %g, %g): using the ellipse in it", source, reason, *box)
        mask = ellipse_in_box(box, *masks.shape[1:])
        return MaskEstimate(mask, source, details={**details, "fallback": reason})
    quality = predicted_iou.clamp(0, 1).tolist()
    chosen = max(range(len(masks)), key=lambda i: (quality[i] * box_iou[i], box_iou[i]))
    return MaskEstimate(masks[chosen], source, logits[chosen].sigmoid().numpy(), details={**details, "chosen": chosen})


def choose_by_clicks(
    source: str, logits: Tensor, predicted_iou: Tensor, points: Points, details: dict[str, float | str]
) -> MaskEstimate:
    """Of logits [M, H, W] with their predicted IoU [M], the mask with most of the clicks on their side.

    Of equals the one with the highest product of the predicted IoU, clipped to [0, 1], and, with a box, the IoU of its
    rectangle with that. Adds `chosen`, `predicted_iou_<i>` and `obeyed_<i>` to `details`. InputError: no mask holds
    any of the foreground clicks, or all are empty.
    """
    masks = (logits > 0).numpy()
    worth = []
    for i, (mask, predicted) in enumerate(zip(masks, predicted_iou.tolist(), strict=True)):
        rectangle, share = mask_to_box(mask), obeyed(mask, points)
        fit = rectangle_iou(rectangle, Box(*points.box)) if points.box is not None and rectangle else 1.0
        met = rectangle is not None and (
            not points.foreground or any(mask[int(y), int(x)] for x, y in points.foreground)
        )
        worth.append((met, share, min(max(predicted, 0.0), 1.0) * fit))
        details |= {f"predicted_iou_{i}": predicted, f"obeyed_{i}": share}
    chosen = max(range(len(masks)), key=worth.__getitem__)
    if not worth[chosen][0]:
        raise InputError(f"{source} finds no object at these points; further points or a box help")
    return MaskEstimate(masks[chosen], source, logits[chosen].sigmoid().numpy(), details={**details, "chosen": chosen})


def corners(prompt: Points) -> np.ndarray | None:
    """float64 [4]: the box's x0, y0, x1, y1."""
    if prompt.box is None:
        return None
    x, y, w, h = prompt.box
    return np.array([x, y, x + w, y + h], float)


def clicked(prompt: Points) -> tuple[np.ndarray, np.ndarray] | None:
    """float64 [N, 2] of (x, y), and int64 [N] with 1 for the foreground and 0 for the background."""
    clicks = [*prompt.foreground, *prompt.background]
    if not clicks:
        return None
    return np.array(clicks, float), np.repeat([1, 0], [len(prompt.foreground), len(prompt.background)])


def mask_logits(mask: np.ndarray, rows: int, columns: int) -> Tensor:
    """bool [H, W] -> float32 [rows, columns], as the network's own logits of such a mask might be."""
    shares = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return torch.from_numpy((2 * shares - 1) * MASK_LOGIT)


def _finite(embedding: tuple[Tensor, ...]) -> bool:
    return all(bool(part.isfinite().all()) for part in embedding)
