"""Alpha-Refine's method with this project's own small network, trained on procedural video only."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..checkpoints.state_dicts import check_tensors, read_tensors, write_tensors
from ..types import CheckpointError
from .alpha_refine import NetworkRefiner
from .alpha_refine_net import AlphaRefineNet
from .ar_small_net import build_ar_small

FORMAT = "msdeaot-tracker-ar-small-1"


class ArSmall(NetworkRefiner):
    """Boxes and masks from weights of one's own training: what that gave so far is below GrabCut (docs/training.md)."""

    source = "ar-small"

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        threshold: float = 0.5,
    ):
        """
        weights:   a file that `msdeaot train ar-small` wrote; none comes with the package.
        threshold: probability above which a pixel belongs to the mask.

        InputError: another threshold or device. CheckpointError: no weights, or those of another network.
        """
        super().__init__(load_ar_small(weights), device=device, threshold=threshold)


def load_ar_small(path: str | os.PathLike[str] | None) -> AlphaRefineNet:
    """In evaluation mode on the CPU. CheckpointError: none, a missing or damaged file, or one that does not fit."""
    if path is None:
        raise CheckpointError(
            "no weights of ar-small come with the package; train them (`msdeaot train ar-small --out DIR`), "
            "and name the file (weights=DIR/weights.safetensors)"
        )
    state, _ = read_tensors(path, FORMAT)
    network = build_ar_small()
    own = network.state_dict()
    try:
        check_tensors({key: tuple(tensor.shape) for key, tensor in own.items()}, state)
    except CheckpointError as error:
        raise CheckpointError(f"{Path(path)} does not fit ar-small: {error}") from error
    network.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})
    return network.eval()


def save_ar_small(path: str | os.PathLike[str], network: AlphaRefineNet) -> None:
    """Matrices and filters in half precision. CheckpointError: cannot be written."""
    write_tensors(path, network.state_dict(), {"format": FORMAT}, half=True)
