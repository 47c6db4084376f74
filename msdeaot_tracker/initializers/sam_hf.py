"""Networks of the SAM family through Hugging Face `transformers`: SAM 2 and 2.1 on single images, SAM-HQ, SAM."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import pick_device
from ..types import CheckpointError, InputError, Points
from .box_prompt import MASK_LOGIT, BoxPrompted, clicked, corners, mask_logits

# Type in a folder's config.json -> family, and prefix of its classes in transformers. The published folders of SAM 2
# are those of its video network, of which an image needs a part.
_FAMILIES = {
    "sam": ("sam", "Sam"),
    "sam_hq": ("sam-hq", "SamHQ"),
    "sam2": ("sam2", "Sam2"),
    "sam2_video": ("sam2", "Sam2"),
}


class SegmentAnythingHF(BoxPrompted):
    """SAM, SAM-HQ or SAM 2 from a folder in the layout of `transformers`; `BoxPrompted` says which mask is taken.

    weights: a local folder (config.json, preprocessor_config.json, model.safetensors), or a name on the Hugging Face
             hub, which is downloaded into that library's own cache: facebook/sam2.1-hiera-small (also -tiny,
             -base-plus, -large), syscv-community/sam-hq-vit-base (also -large, -huge), facebook/sam-vit-base (also
             -large, -huge). Pickled weights and code from the hub are never loaded.
    device:  as for `load_model`. half: as for `BoxPrompted`.

    `source` is the family: "sam", "sam-hq" or "sam2". SAM-HQ adds its fine mask to each of SAM's three, which come
    best predicted IoU first.

    InputError: no weights named, or unknown device. ImportError: package missing. CheckpointError: weights that are
    missing, damaged, incomplete, or of another kind of network.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        half: bool | None = None,
    ) -> None:
        if weights is None:
            raise InputError("sam-hf needs weights=...: a folder, or a hub name such as facebook/sam2.1-hiera-small")
        target = pick_device(device)
        family, model, self._processor = _load(os.fspath(weights))
        super().__init__(family, model, target, half)

    def _encode(self, image: np.ndarray) -> tuple[Tensor, ...]:
        embedding = self.model.get_image_embeddings(self._prepare(image)["pixel_values"].to(self.device))
        if self.source == "sam":
            return (embedding,)
        if self.source == "sam-hq":
            coarse, fine = embedding
            return coarse, *fine
        return tuple(embedding)

    def _decode(self, embedding: tuple[Tensor, ...], image: np.ndarray, prompt: Points) -> tuple[Tensor, Tensor]:
        prompts: dict[str, Any] = {}
        if (box := corners(prompt)) is not None:
            prompts["input_boxes"] = [[box.tolist()]]
        if (clicks := clicked(prompt)) is not None:
            where, labels = clicks
            prompts |= {"input_points": [[where.tolist()]], "input_labels": [[labels.tolist()]]}
        inputs = self._prepare(image, **prompts)
        shown = {name: inputs[name].to(self.device) for name in prompts}
        shown = {name: value if name == "input_labels" else value.float() for name, value in shown.items()}
        if prompt.mask is not None:
            shown["input_masks"] = self._low(prompt.mask)[None, None].to(self.device)
        embedded: dict[str, Any] = {"image_embeddings": embedding[0]}
        if self.source == "sam-hq":
            embedded["intermediate_embeddings"] = list(embedding[1:])
        elif self.source == "sam2":
            embedded["image_embeddings"] = list(embedding)
        output = self.model(**shown, **embedded)
        sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
        logits = self._processor.post_process_masks(output.pred_masks, *sizes, binarize=False)
        return logits[0][0], output.iou_scores[0, 0]

    def _low(self, mask: np.ndarray) -> Tensor:
        """At the size of the network's own mask prompts, scaled and padded as its pictures are."""
        config = self.model.config.prompt_encoder_config
        rows = columns = 4 * config.image_size // config.patch_size  # as the convolutions of `mask_embed` reduce it
        if self.source == "sam2":
            return mask_logits(mask, rows, columns)
        scale = rows / max(mask.shape)
        logits = mask_logits(mask, *(max(round(side * scale), 1) for side in mask.shape))
        return F.pad(logits, (0, columns - logits.shape[1], 0, rows - logits.shape[0]), value=-MASK_LOGIT)

    def _prepare(self, image: np.ndarray, **prompt: Any) -> Any:
        """The processor's tensors; without the format, it takes an image of one or three rows for colour planes."""
        return self._processor(images=image, input_data_format="channels_last", return_tensors="pt", **prompt)


def _load(weights: str) -> tuple[str, nn.Module, Any]:
    """Family, network and processor of a folder or hub name."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f'{error}; for sam-hf: pip install "msdeaot-tracker[sam-hf]"') from error
    try:
        kind = transformers.AutoConfig.from_pretrained(weights, trust_remote_code=False).model_type
        if kind not in _FAMILIES:
            raise CheckpointError(f"{weights} holds a network of type {kind!r}, not one of {', '.join(_FAMILIES)}")
        family, prefix = _FAMILIES[kind]
        processor = getattr(transformers, f"{prefix}Processor").from_pretrained(weights)
        network = getattr(transformers, f"{prefix}Model")
        model, loading = network.from_pretrained(
            weights, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # what transformers raises for bad files
        raise CheckpointError(f"{weights} cannot be loaded as a network of the SAM family: {error}") from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise CheckpointError(f"{weights} is incomplete: {missing[0]!r} is missing, one of {len(missing)} such tensors")
    return family, model, processor
