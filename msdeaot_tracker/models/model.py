"""MSDeAOT: gated propagation in several stages, coarse to fine. DeAOT is the case of one stage and an FPN."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..config import ModelConfig, Preset, Stage
from ..types import Features, InputError, LayerState, LayerTokens, MapSize, MemoryView, Propagation
from .decoder import FPNDecoder, Head, Transition
from .encoder import Encoder, build_encoder
from .gpm import GatedPropagation
from .identity import IdentityEmbedding

Identity = tuple[Tensor, ...]  # identity embedding per layer, [B, N, C] each
Recall = tuple[LayerTokens, LayerTokens] | Tensor  # what a layer reads: long- and short-term memory, or an identity


class PyramidStage(nn.Module):
    """The modules of one stage: its encoder projection, the way into it, its layers and identity embedding."""

    def __init__(self, config: ModelConfig, stage: Stage, inputs: int, previous: Stage | None, *, first_layers: bool):
        super().__init__()
        align = config.align_corners
        self.stride = stage.stride
        self.projection = nn.Conv2d(inputs, stage.width, 1)
        if previous is not None:
            coarse = previous.width * max(previous.layers, 1)
            self.transition = Transition(coarse, stage.width, stage.residual_blocks, align_corners=align)
            self.id_transition = Transition(coarse, stage.width, stage.residual_blocks, align_corners=align)
        self.layers = nn.ModuleList(
            GatedPropagation(
                stage.width,
                first=first_layers and index == 0,
                window=config.window,
                memory_stride=stage.memory_stride,
                dropout=config.dropout,
                drop_path=stage.drop_path,
            )
            for index in range(stage.layers)
        )
        if stage.layers:
            stride = stage.identity_stride or stage.stride
            self.identity = IdentityEmbedding(config.objects, stage.width, stride, align_corners=align)

    def forward(
        self, features: Features, coarse: tuple[Tensor, Tensor] | None, recalls: Sequence[Recall]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], list[LayerState]]:
        """One pass through the stage; `coarse` is what the previous stage hands on, `recalls` what each layer reads.

        -> both branches as maps [B, C, h, w], what the next stage receives, the layers' states.
        """
        if coarse is None:
            on_map = self.projection(features.deep)
            x, y = _tokens(on_map), None
        else:
            on_map = self.projection(features.maps[self.stride])
            x, y = _tokens(self.transition(coarse[0], on_map)), _tokens(self.id_transition(coarse[1], on_map))
        size = tuple(on_map.shape[-2:])
        xs, ys, states = [], [], []
        for layer, recall in zip(self.layers, recalls, strict=True):
            x, y, state = layer(x, y, size, recall)
            xs, ys, states = [*xs, x], [*ys, y], [*states, state]
        handed_on = tuple(_on_map(torch.cat(branch or [last], dim=-1), size) for branch, last in ((xs, x), (ys, y)))
        return _on_map(x, size), _on_map(y, size), handed_on, states


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
        stages, channels = config.stages, self.encoder.channels
        self.stages = nn.ModuleList(
            PyramidStage(
                config,
                stage,
                self.encoder.deep_channels if previous is None else channels[stage.stride],
                previous,
                first_layers=previous is None,
            )
            for previous, stage in zip((None, *stages), stages, strict=False)
        )
        width = stages[-1].width
        self.norm = nn.GroupNorm(2, 2 * width)
        if config.decoder == "fpn":
            self.decoder = FPNDecoder(2 * width, channels, width, config.objects, align_corners=config.align_corners)
        else:
            self.decoder = Head(2 * width, config.objects)
        self.register_buffer("mean", torch.tensor(self.encoder.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(self.encoder.std)[:, None, None], persistent=False)

    @property
    def memory_strides(self) -> tuple[int, ...]:
        """By how much each layer's long-term memory is thinned."""
        return tuple(layer.memory_stride for layer in self.layers)

    @property
    def layers(self) -> list[GatedPropagation]:
        """All propagation layers, coarse to fine."""
        return [layer for stage in self.stages for layer in stage.layers]

    @property
    def encoder_name(self) -> str:
        return self.preset.model.encoder

    def encode(self, image: Tensor) -> Features:
        """RGB [B, 3, H, W] in [0, 1], H and W of the form 16k+1 (align_corners) or 16k."""
        return self.encoder((image - self.mean) / self.std)

    def identify(self, mask: Tensor) -> Identity:
        """One-hot mask [B, K + 1, H, W] at network size -> what tells each layer who is where."""
        embeddings = []
        for stage in self.stages:
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
        for stage in self.stages:
            recalls = recall[len(states) : len(states) + len(stage.layers)]
            x, y, branches, seen = stage(features, branches, recalls)
            states += seen
        return Propagation(tuple(states), self.norm(torch.cat([x, y], dim=1)))

    def memorize(self, propagation: Propagation, identity: Identity) -> tuple[LayerTokens, ...]:
        """The propagated frame as memory entries, one per layer, now that its mask is known."""
        return tuple(
            layer.memorize(state, embedding)
            for layer, state, embedding in zip(self.layers, propagation.layers, identity, strict=True)
        )

    def decode(self, propagation: Propagation, features: Features) -> Tensor:
        """Mask logits [B, K + 1, h, w]; channel 0 is the background."""
        return self.decoder(propagation.output, features)


def _check(config: ModelConfig) -> None:
    if not config.stages or config.stages[0].layers == 0:
        raise InputError(f"the first stage needs propagation layers, got {config.stages}")
    if any(fine.stride > coarse.stride for coarse, fine in pairwise(config.stages)):
        raise InputError(f"stages go from coarse to fine, got strides {[s.stride for s in config.stages]}")
    if config.decoder == "fpn" and len(config.stages) != 1:
        raise InputError(f"the FPN decoder belongs to a single stage, got {len(config.stages)}")


def _map_size(image: MapSize, stride: int) -> MapSize:
    return -(-image[0] // stride), -(-image[1] // stride)


def _tokens(on_map: Tensor) -> Tensor:
    return on_map.flatten(2).transpose(1, 2)


def _on_map(tokens: Tensor, size: MapSize) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)
