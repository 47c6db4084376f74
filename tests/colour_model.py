"""A network that knows objects by their colour: what a tracker makes of views and memory can be told to the pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.types import Features, LayerState, LayerTokens, MemoryView, Propagation

_NONE = 9.0  # a colour that no pixel has
_REACH = 0.25  # distance of colours at which a pixel belongs to the background

COLOURS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255), 4: (255, 255, 0), 5: (255, 0, 255)}


class ColourModel(nn.Module):
    """The model's verbs. What is remembered of a frame is each slot's mean colour; the last frame that knows it counts.

    encoded: the sizes [h, w] of all frames that were encoded. fails: verbs that raise when they are called next.
    """

    memory_strides = (1,)

    def __init__(self, **settings):
        super().__init__()
        settings = {"long_edge": 96, **settings}
        config = ModelConfig("none", (Stage(16, 1, 16),))
        self.preset = Preset("colours", config, MemoryConfig(long_term_gap=None), TrackerConfig(**settings))
        self.unused = nn.Parameter(torch.zeros(1))
        self.encoded: list[tuple[int, int]] = []
        self.fails: set[str] = set()

    def encode(self, image: Tensor) -> Features:
        self._maybe_fail("encode")
        self.encoded.append(tuple(image.shape[-2:]))
        return Features({4: image}, image)

    def identify(self, mask: Tensor) -> tuple[Tensor, ...]:
        return (mask,)

    def propagate(self, features: Features, recall: MemoryView | tuple[Tensor, ...]) -> Propagation:
        self._maybe_fail("propagate")
        objects = self.preset.model.objects
        colours = torch.full((objects, 3), _NONE)
        if isinstance(recall, MemoryView):
            for frame in recall.long_term[0].key[0].split(objects):
                colours = torch.where(frame == _NONE, colours, frame)
        state = LayerState(features.deep, colours[None], None, (1, objects))
        return Propagation((state,), colours[None])

    def memorize(self, propagation: Propagation, identity: tuple[Tensor, ...]) -> tuple[LayerTokens, ...]:
        self._maybe_fail("memorize")
        image, mask = propagation.layers[0].key[0], identity[0][0, 1:]
        counts = mask.sum(dim=(1, 2))
        means = torch.einsum("khw,chw->kc", mask, image) / counts.clamp(min=1)[:, None]
        objects = self.preset.model.objects  # the mask has a channel for each that there is
        colours = torch.full((1, objects, 3), _NONE)
        colours[0, : len(mask)] = torch.where(counts[:, None] > 0, means, torch.tensor(_NONE))
        return (LayerTokens(colours, colours, colours, size=(1, objects)),)

    def decode(self, propagation: Propagation, features: Features) -> Tensor:
        self._maybe_fail("decode")
        image, colours = features.deep[0], propagation.output[0]
        distance = (image[None] - colours[:, :, None, None]).square().sum(dim=1).sqrt()
        return torch.cat([torch.zeros_like(distance[:1]), 40 * (_REACH - distance)])[None]

    def with_settings(self, **settings) -> Preset:
        return replace(self.preset, tracker=replace(self.preset.tracker, **settings))

    def _maybe_fail(self, verb: str) -> None:
        if verb in self.fails:
            raise RuntimeError(f"{verb} failed")


def scene(size: tuple[int, int], boxes: dict[int, tuple[int, int, int, int] | None], seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: rectangles in their colours before grey noise."""
    noise = np.random.default_rng(seed).integers(90, 140, (*size, 1), dtype=np.uint8)
    image = np.repeat(noise, 3, axis=2)
    for object_id, box in boxes.items():
        if box is not None:
            x, y, w, h = box
            image[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = COLOURS[object_id]
    return image
