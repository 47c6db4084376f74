"""SAM (Kirillov et al., 2023) prompted with the box or points, through the `segment-anything` package."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints import find_weights
from ..checkpoints.state_dicts import check_tensors, read_state
from ..device import pick_device
from ..types import CheckpointError, InputError, Points
from .box_prompt import MASK_LOGIT, BoxPrompted, clicked, corners, mask_logits

_WIDTHS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}  # channels of the image encoder


class SegmentAnything(BoxPrompted):
    """SAM as published; `BoxPrompted` says which of its three masks is taken.

    weights: a published file, or its name; None: the downloaded one, `sam-vit-b` and so on in the manifest.
    variant: vit_b, vit_l or vit_h.
    device:  as for `load_model`. half: as for `BoxPrompted`.

    InputError: unknown variant or device. ImportError: package missing. CheckpointError: the file is missing,
    damaged, or of another variant.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        variant: str = "vit_b",
        device: str | torch.device = "auto",
        half: bool | None = None,
    ) -> None:
        if variant not in _WIDTHS:
            raise InputError(f"unknown SAM variant {variant!r}; there are: {', '.join(_WIDTHS)}")
        target = pick_device(device)
        try:
            from segment_anything import sam_model_registry
            from segment_anything.utils.transforms import ResizeLongestSide
        except ImportError as error:
            raise ImportError(f'{error}; for SAM: pip install "msdeaot-tracker[sam]"') from error
        path = find_weights(f"sam-{variant.replace('_', '-')}") if weights is None else weights
        state = _read(path, variant)
        model = sam_model_registry[variant]()
        try:
            check_tensors({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}, state)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is no file of SAM {variant}: {error}") from error
        model.load_state_dict(state)
        super().__init__("sam", model, target, half)
        self._transform = ResizeLongestSide(model.image_encoder.img_size)

    def _encode(self, image: np.ndarray) -> tuple[Tensor, ...]:
        pixels = torch.from_numpy(self._transform.apply_image(image)).to(self.device)
        return (self.model.image_encoder(self.model.preprocess(pixels.permute(2, 0, 1)[None])),)

    def _decode(self, embedding: tuple[Tensor, ...], image: np.ndarray, prompt: Points) -> tuple[Tensor, Tensor]:
        size = image.shape[:2]
        points = boxes = masks = None
        if (box := corners(prompt)) is not None:
            boxes = self._on_device(self._transform.apply_boxes(box[None], size))
        if (clicks := clicked(prompt)) is not None:
            where, labels = clicks
            points = self._on_device(self._transform.apply_coords(where, size))[None], self._on_device(labels)[None]
        if prompt.mask is not None:
            masks = self._low(prompt.mask)[None, None].to(self.device)
        sparse, dense = self.model.prompt_encoder(points=points, boxes=boxes, masks=masks)
        low, predicted_iou = self.model.mask_decoder(
            image_embeddings=embedding[0],
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        seen = self._transform.get_preprocess_shape(*size, self._transform.target_length)
        return self.model.postprocess_masks(low, seen, size)[0], predicted_iou[0]

    def _on_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def _low(self, mask: np.ndarray) -> Tensor:
        """At the size of the network's own mask prompts: the long side fills it, the rest is background."""
        rows, columns = self.model.prompt_encoder.mask_input_size
        seen = self._transform.get_preprocess_shape(*mask.shape, rows)
        logits = mask_logits(mask, *(max(side, 1) for side in seen))
        return F.pad(logits, (0, columns - logits.shape[1], 0, rows - logits.shape[0]), value=-MASK_LOGIT)


def _read(path: str | os.PathLike[str], variant: str) -> dict[str, Tensor]:
    state = read_state(path)
    widths = {(width,): name for name, width in _WIDTHS.items()}
    positions = state.get("image_encoder.pos_embed")
    found = variant if positions is None else widths.get(tuple(positions.shape[-1:]), variant)
    if found != variant:
        raise CheckpointError(f"{path} looks like SAM {found}, but {variant} was asked for: set variant={found}")
    return state
