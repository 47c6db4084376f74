"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..config import MemoryConfig
from .schedule import Schedule


@dataclass(frozen=True)
class LoopConfig:
    steps: int = 10_000
    batch_size: int = 4  # samples per step, over all processes
    micro_batch: int | None = None  # samples a process computes at once, gradients adding up; None: its whole share
    seed: int = 0
    workers: int = 1  # processes that make batches, per training process
    weight_decay: float = 0.05
    encoder_rate: float = 1.0  # the encoder's learning rate, relative to the others'; AOT's recipe has 0.1
    frozen: tuple[str, ...] = ()  # parts that are not trained: "stem", "stage1" (of the encoder), "encoder"
    gradient_clip: float = 5.0  # largest norm
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    compile: bool = False  # through torch.compile
    save_every: int = 500  # steps
    schedule: Schedule = Schedule()


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """Of an MSDeAOT."""

    loss_stride: int = 2  # the loss is taken on every n-th pixel of rows and columns
    memory: MemoryConfig = field(default_factory=lambda: MemoryConfig(long_term_gap=2, long_term_max=None))
    permute_background: bool = False  # AOT's recipe permutes the background's identity channel too
    freeze_identity: bool = False  # AOT: once memory is fed predictions, the identity embedding learns no more
    pool_objects: bool = False  # the Jaccard loss is a mean over a micro-batch's objects, not over its samples
    checkpoint_frames: bool = False  # frames are computed again in the backward pass: slower, needs far less memory
