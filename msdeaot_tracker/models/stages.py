"""The stages of the network, coarse to fine: what an encoder's map becomes by what its layers remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config import ModelConfig, Stage
from ..types import Features, InputError, LayerState, LayerTokens
from .decoder import Transition
from .gpm import GatedPropagation
from .identity import IdentityEmbedding
from .lstt import HEADS, LongShortTermBlock, sine_position
from .maps import as_map, as_tokens

Recall = tuple[LayerTokens, LayerTokens] | Tensor  # what a layer reads: long- and short-term memory, or an identity


class StageOutput(NamedTuple):
    """What comes out of a stage: a map to decode, if it is the last one, and both branches for the next one."""

    decoded: Tensor  # [B, `output_channels`, h, w], before the network's last norm
    handed_on: tuple[Tensor, Tensor] | None  # [B, layers * C, h, w] each, or the stage's input if it has no layers
    states: list[LayerState]  # of its layers


class GatedStage(nn.Module):
    """MSDeAOT's: an encoder projection, the way into the stage, its layers and identity embedding."""

    def __init__(self, config: ModelConfig, stage: Stage, inputs: int, previous: Stage | None, *, first_layers: bool):
        super().__init__()
        align = config.align_corners
        self.stride, self.output_channels = stage.stride, 2 * stage.width
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
                self_stride=1 if previous is None else config.self_stride,
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
    ) -> StageOutput:
        """One pass; `coarse` is what the previous stage hands on, `recalls` what each layer reads."""
        if coarse is None:
            on_map = self.projection(features.deep)
            x, y = as_tokens(on_map), None
        else:
            on_map = self.projection(features.maps[self.stride])
            x, y = as_tokens(self.transition(coarse[0], on_map)), as_tokens(self.id_transition(coarse[1], on_map))
        size = tuple(on_map.shape[-2:])
        xs, ys, states = [], [], []
        for layer, recall in zip(self.layers, recalls, strict=True):
            x, y, state = layer(x, y, size, recall)
            xs, ys, states = [*xs, x], [*ys, y], [*states, state]
        handed_on = tuple(as_map(torch.cat(branch or [last], dim=-1), size) for branch, last in ((xs, x), (ys, y)))
        return StageOutput(as_map(torch.cat([x, y], dim=-1), size), handed_on, states)


class TransformerStage(nn.Module):
    """AOT's only stage: its layers' outputs are decoded together with what entered the first (AOT.md 14, 15)."""

    def __init__(self, config: ModelConfig, stage: Stage, inputs: int):
        super().__init__()
        if stage.width % HEADS:
            raise InputError(f"a stage of transformer layers is {HEADS}k channels wide, got {stage.width}")
        self.stride, self.output_channels = stage.stride, (stage.layers + 1) * stage.width
        self.projection = nn.Conv2d(inputs, stage.width, 1)
        self.layers = nn.ModuleList(
            LongShortTermBlock(
                stage.width,
                window=config.window,
                memory_stride=stage.memory_stride,
                dropout=config.dropout,
                drop_path=stage.drop_path,
            )
            for _ in range(stage.layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(stage.width) for _ in range(stage.layers))
        self.identity = IdentityEmbedding(
            config.objects,
            stage.width,
            stage.identity_stride or stage.stride,
            align_corners=config.align_corners,
            normalised=False,
        )

    def forward(
        self, features: Features, coarse: tuple[Tensor, Tensor] | None, recalls: Sequence[Recall]
    ) -> StageOutput:
        """One pass; nothing is coarser (`coarse` is None), `recalls` is what each layer reads."""
        on_map = self.projection(features.deep)
        size = tuple(on_map.shape[-2:])
        x = as_tokens(on_map)
        position = sine_position(size, x.shape[-1], x.device).to(x.dtype)
        decoded, states = [x], []
        for layer, norm, recall in zip(self.layers, self.norms, recalls, strict=True):
            x, state = layer(x, position, size, recall)
            decoded, states = [*decoded, norm(x)], [*states, state]
        return StageOutput(as_map(torch.cat(decoded, dim=-1), size), None, states)
