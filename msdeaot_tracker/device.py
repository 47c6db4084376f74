"""Where networks run: the device and its precision by name, and what to say when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .types import InputError, TrackerError

logger = logging.getLogger(__name__)


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


def pick_precision(name: str, device: torch.device) -> str:
    """float32, bfloat16 or float16: the named one (`TrackerConfig.precision`), or the device's fastest.

    auto: on CUDA bfloat16 where the card computes in it, else float16; on a CPU bfloat16 where it multiplies in it (x86
    with AVX512-BF16 or AMX: there it was measured), else float32; on mps float32.
    InputError: unknown.
    """
    if name in ("float32", "bfloat16", "float16"):
        return name
    if name != "auto":
        raise InputError(f"unknown precision {name!r}: use auto, float32, bfloat16 or float16")
    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float16"
    return "bfloat16" if device.type == "cpu" and _cpu_multiplies_bfloat16() else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    """As this version of torch tells it; False, with a line in the log, of one that does not."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    if hasattr(torch.cpu, "_is_avx512_bf16_supported"):  # torch 2.6 to 2.9
        return torch.cpu._is_avx512_bf16_supported()
    logger.info("torch %s does not tell whether the CPU has bfloat16: computing in float32", torch.__version__)
    return False


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy there of a tensor of the CPU (on a CPU itself); to CUDA on its way while the CPU goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def fetch(*tensors: Tensor) -> list[np.ndarray]:
    """Copies on the CPU of what one device has; of CUDA through pinned memory, after a single wait for them all."""
    device = tensors[0].device
    if device.type != "cuda":
        return [tensor.cpu().numpy() for tensor in tensors]
    pinned = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for there, tensor in zip(pinned, tensors, strict=True):
        there.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(device).synchronize()
    return [there.numpy().copy() for there in pinned]  # pinned memory is dear, and results may be kept


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
