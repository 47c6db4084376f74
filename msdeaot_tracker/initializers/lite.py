"""From a box to a mask by this project's own network, which says how good its mask is."""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from ..checkpoints.state_dicts import check_tensors, read_tensors, write_tensors
from ..device import explain_out_of_memory, pick_device
from ..geometry import ellipse_in_box
from ..types import Box, CheckpointError, InputError, MaskEstimate, Points
from .box_crop import CROP, GREY, crop_side, into_crop, warp
from .lite_edges import draw_edge, is_coarse
from .lite_net import STRIDE, BoxToMaskNet
from .lite_points import box_by_points

logger = logging.getLogger(__name__)

FORMAT = "msdeaot-tracker-box-to-mask-1"
_SHIPPED = "box-to-mask-lite.safetensors"
_SURE = 12.0  # logits are cut off here, and are its negative outside the crop


class Lite:
    """Masks from a crop around the box, scaled so that a small box is as good as a large one; see also `draw_edge`.

    `confidence` of an estimate is the overlap (IoU) with the truth that the network expects of its mask.
    Falls back to the ellipse inscribed in the box, with a warning, when no pixel is likely enough. Of points it makes
    boxes, see `box_by_points`.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        threshold: float = 0.5,
    ):
        """
        weights:   a file that `msdeaot train box-to-mask` wrote; None: the one that comes with the package.
        threshold: probability above which a pixel belongs to the mask.

        InputError: another threshold or device. CheckpointError: a missing or damaged file, or one that does not fit.
        """
        if not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise InputError(f"threshold={threshold!r} is no probability between 0 and 1")
        self._device = pick_device(device)
        self._network = _shipped(self._device) if weights is None else load_lite(weights).to(self._device)
        self._threshold = threshold

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        estimate = self._segment(image, box)
        if (reason := estimate.details.get("fallback")) is not None:
            logger.warning("lite in box (%g, %g, %g, %g): %s; using the ellipse in it", *box, reason)
        return estimate

    def _segment(self, image: np.ndarray, box: Box) -> MaskEstimate:
        height, width = image.shape[:2]
        matrix = into_crop(box)
        logits, confidence = self._run(warp(image, matrix, CROP, CROP, GREY), box)
        coarse = np.vstack([matrix / STRIDE, [0, 0, 1]])  # to cells of the mask
        back = np.linalg.inv(coarse)[:2]
        logits = warp(logits, back, height, width, -_SURE)
        probability = 1 / (1 + np.exp(-logits))
        mask = probability > self._threshold
        if not mask.any():
            reason = f"no pixel is the object's with a probability above {self._threshold:g}"
            mask = ellipse_in_box(box, height, width)
            return MaskEstimate(mask, "lite", details={"fallback": reason}, confidence=0.0)
        if is_coarse(box):
            mask = draw_edge(image, probability, mask, box)
        return MaskEstimate(mask, "lite", probability, confidence=confidence)

    def from_points(self, image: np.ndarray, points: Points) -> MaskEstimate:
        return box_by_points(self._segment, image, points)

    @torch.inference_mode()
    def _run(self, crop: np.ndarray, box: Box) -> tuple[np.ndarray, float]:
        """uint8 [S, S, 3] -> logits float32 [h, w], expected overlap: means of the crop's and its mirror image's."""
        picture = torch.from_numpy(crop).to(self._device).permute(2, 0, 1).float() / 255
        pictures, side = torch.stack([picture, picture.flip(2)]), crop_side(box)
        sides = torch.tensor([[box.w / side, box.h / side]] * 2, device=self._device)
        with explain_out_of_memory("making a mask from a box", "use another device"):
            found = self._network(pictures.contiguous(memory_format=torch.channels_last), sides)
        logits, mirrored = found.logits[:, 0].float().clamp(-_SURE, _SURE)
        return ((logits + mirrored.flip(1)) / 2).cpu().numpy(), found.quality.float().sigmoid().mean().item()


@cache
def _shipped(device: torch.device) -> BoxToMaskNet:
    """One for all: a tracker is made for every video, most of them from the same file."""
    return load_lite().to(device)


def load_lite(path: str | os.PathLike[str] | None = None) -> BoxToMaskNet:
    """In evaluation mode on the CPU. CheckpointError: a missing or damaged file, or one that does not fit."""
    if path is None:
        path = Path(str(resources.files("msdeaot_tracker") / "weights" / _SHIPPED))
        if not path.is_file():
            raise CheckpointError(f"the weights of initializer 'lite' are missing from this installation: {path}")
    state, _ = read_tensors(path, FORMAT)
    network = BoxToMaskNet()
    own = network.state_dict()
    try:
        check_tensors({key: tuple(tensor.shape) for key, tensor in own.items()}, state)
    except CheckpointError as error:
        raise CheckpointError(f"{Path(path)} does not fit initializer 'lite': {error}") from error
    network.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})
    return network.eval()


def save_lite(path: str | os.PathLike[str], network: BoxToMaskNet) -> None:
    """Matrices and filters in half precision. CheckpointError: cannot be written."""
    write_tensors(path, network.state_dict(), {"format": FORMAT}, half=True)
