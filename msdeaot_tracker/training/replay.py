"""A step that went wrong, kept in a file, and computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .saving import write_state


def write_replay(
    path: Path,
    kind: str,
    model: nn.Module,
    settings: Mapping[str, Any],
    snapshot: Mapping[str, Any],
    micro_batches: Mapping[int, tuple[Tensor, ...]],
) -> None:
    """The state before the step (but for statistics of batch norms, which its own batches have changed), and those."""
    preset = getattr(model, "preset", None)
    content = {"kind": kind, "settings": dict(settings), **snapshot, "micro_batches": dict(micro_batches)}
    write_state(path, {**content, "preset": None if preset is None else asdict(preset)})
