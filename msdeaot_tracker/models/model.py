"""MSDeAOT: propagation in several stages, coarse to fine. DeAOT, and AOT, are the case of one stage and an FPN."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..config import ModelConfig, Preset
from ..types import Features, InputError, LayerState, LayerTokens, MapSize, MemoryView, Propagation
from .decoder import FPNDecoder, Head
from .encoder import Encoder, build_encoder
from .folding import Folded
from .gpm import GatedPropagation
from .lstt import LongShortTermBlock
from .stages import GatedStage, TransformerStage

Identity = tuple[Tensor, ...]  # identity embedding per layer, [B, N, C] each


class MSDeAOT(nn.Module):
    """The network as stateless verbs: encode, identify, propagate, memorize, decode.

    One instance may serve any number of videos at once; what a video remembers is a `Memory`.
    """

    preset: Preset

    def __init__(self, preset: Preset, encoder: Encoder | None = None):
        super().__init__()
        config = preset.model
        _check(config)
        self.preset = preset
        if encoder is None:
            encoder = build_encoder(config.encoder, frozen_batch_norm=config.frozen_batch_norm)
        self.encoder = encoder
        self._folds = {name: Folded() for name in ("encoder", "stages", "decoder")}
        self.stages = _build_stages(config, self.encoder)
        gated, decoded, width = config.propagation == "gated", self.stages[-1].output_channels, config.stages[-1].width
        self.norm = nn.GroupNorm(2, decoded) if gated else nn.Identity()  # a transformer norms its layers itself
        if config.decoder == "fpn":
            channels, align = self.encoder.channels, config.align_corners
            self.decoder = FPNDecoder(decoded, channels, width, config.objects, align_corners=align)
        else:
            self.decoder = Head(decoded, config.objects)
        self.register_buffer("mean", torch.tensor(self.encoder.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(self.encoder.std)[:, None, None], persistent=False)
        self.to(memory_format=torch.channels_last)  # as tokens are; faster on CPU

    @property
    def memory_strides(self) -> tuple[int, ...]:
        """By how much each layer's long-term memory is thinned."""
        return tuple(layer.memory_stride for layer in self.layers)

    @property
    def layers(self) -> list[GatedPropagation | LongShortTermBlock]:
        """All propagation layers, coarse to fine."""
        return _layers(self.stages)

    @property
    def encoder_name(self) -> str:
        return self.preset.model.encoder

    def encode(self, image: Tensor) -> Features:
        """RGB [B, 3, H, W] in [0, 1], H and W of the form 16k+1 (align_corners) or 16k."""
        return self._ready("encoder")((image - self.mean) / self.std)

    def identify(self, mask: Tensor) -> Identity:
        """One-hot mask [B, k + 1, H, W] of k <= K objects at network size -> what tells each layer who is where."""
        stages, embeddings = self._ready("stages"), []
        weight = stages[0].identity.convolution.weight
        mask = mask.to(weight.dtype, memory_format=torch.channels_last)  # once for all stages
        for stage in stages:
            if len(stage.layers):
                size = _map_size(mask.shape[-2:], stage.stride)
                embeddings += [stage.identity(mask, size)] * len(stage.layers)
        return tuple(embeddings)

    def propagate(self, features: Features, recall: MemoryView | Identity) -> Propagation:
        """Propagate from memory; given a reference frame's identity instead, every layer reads the frame itself."""
        if isinstance(recall, MemoryView):
            recall = tuple(zip(recall.long_term, recall.short_term, strict=True))
        states: list[LayerState] = []
        branches = None
        for stage in self._ready("stages"):
            recalls = recall[len(states) : len(states) + len(stage.layers)]
            decoded, branches, seen = stage(features, branches, recalls)
            states += seen
        return Propagation(tuple(states), self.norm(decoded))

    def memorize(self, propagation: Propagation, identity: Identity) -> tuple[LayerTokens, ...]:
        """The propagated frame as memory entries, one per layer, now that its mask is known."""
        layers = _layers(self._ready("stages"))
        return tuple(
            layer.memorize(state, embedding)
            for layer, state, embedding in zip(layers, propagation.layers, identity, strict=True)
        )

    def decode(self, propagation: Propagation, features: Features) -> Tensor:
        """Mask logits [B, K + 1, h, w]; channel 0 is the background."""
        return self._ready("decoder")(propagation.output, features)

    def _ready(self, part: str) -> nn.Module:
        """The part as it computes now: itself while something is learned, else what `Folded` makes of it."""
        module = getattr(self, part)
        if self.training or torch.is_grad_enabled():
            return module
        kind = self.mean.device.type
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return self._folds[part].of(module, half)


def _layers(stages: Iterable[GatedStage | TransformerStage]) -> list[GatedPropagation | LongShortTermBlock]:
    return [layer for stage in stages for layer in stage.layers]


def _build_stages(config: ModelConfig, encoder: Encoder) -> nn.ModuleList:
    if config.propagation == "transformer":
        return nn.ModuleList([TransformerStage(config, config.stages[0], encoder.deep_channels)])
    return nn.ModuleList(
        GatedStage(
            config,
            stage,
            encoder.deep_channels if previous is None else encoder.channels[stage.stride],
            previous,
            first_layers=previous is None,
        )
        for previous, stage in zip((None, *config.stages), config.stages, strict=False)
    )


def _check(config: ModelConfig) -> None:
    if not config.stages or config.stages[0].layers == 0:
        raise InputError(f"the first stage needs propagation layers, got {config.stages}")
    if any(fine.stride > coarse.stride for coarse, fine in pairwise(config.stages)):
        raise InputError(f"stages go from coarse to fine, got strides {[s.stride for s in config.stages]}")
    if config.propagation == "transformer" and len(config.stages) != 1:
        raise InputError(f"transformer layers belong to a single stage, got {len(config.stages)}")
    if config.decoder == "fpn" and len(config.stages) != 1:
        raise InputError(f"the FPN decoder belongs to a single stage, got {len(config.stages)}")


def _map_size(image: MapSize, stride: int) -> MapSize:
    return -(-image[0] // stride), -(-image[1] // stride)
