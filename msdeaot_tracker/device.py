"""Where networks run: the device by name, and what to say when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .types import InputError, TrackerError


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The named device, or the best there is. InputError: unknown, or not on this machine."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in available:
        raise InputError(f"unknown device {str(name)!r}: use auto, cpu, mps, cuda or cuda:<number>")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not available[device.type] or (device.index or 0) >= count:
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise InputError(f"device {str(name)!r} is not available here (there is: {there})")
    return device


@contextmanager
def explain_out_of_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn a device's out-of-memory error inside this context into a TrackerError that names the remedy.

    what: "segmenting a frame of 1280x720"; remedy: "use a smaller variant".
    """
    try:
        yield
    except RuntimeError as error:  # CUDA has a class of its own below it, mps only the words
        if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error).lower():
            raise TrackerError(f"out of memory while {what}: {remedy}") from error
        raise
