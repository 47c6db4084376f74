"""Tensors by name, from files of anybody's and into files: safetensors and PyTorch checkpoints.

Nothing a file contains is ever executed.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as serialize
from torch import Tensor

from ..types import CheckpointError
from .cache import resolve_weights

logger = logging.getLogger(__name__)

# Under which a checkpoint keeps the state dict, in the order of preference where it has several.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "ema", "model_ema")
_DEEPEST = 4  # {"ema": {"module": ...}} is two deep
# What DistributedDataParallel, torch.compile and the modules of training frameworks put before a name, in any order.
_PREFIXES = re.compile(r"(?:(?:module|model|net|_orig_mod)\.)+")
_COMPILED = re.compile(r"(?<=\.)_orig_mod\.")  # of a part that was compiled for itself


def read_state(path: str | os.PathLike[str], *, inert: Sequence[str] = ()) -> dict[str, Tensor]:
    """The state dict in a file of somebody else's, or by the name of public weights: `find_state` of what is in it.

    inert: as for `read_pickle`. CheckpointError: missing, damaged, hostile, or without a state dict.
    """
    path = resolve_weights(path)
    content = read_tensors(path)[0] if is_safetensors(path) else read_pickle(path, inert=inert)
    return find_state(content, path)


def find_state(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that a checkpoint is, or keeps below one of the usual names, without prefixes of its keys.

    path: is named in messages. CheckpointError: there is none.
    """
    node = content
    for _ in range(_DEEPEST):
        if not isinstance(node, dict) or _is_state(node):
            break
        found = [key for key in _WRAPPERS if isinstance(node.get(key), dict)]
        if not found:
            break
        if len(found) > 1:
            logger.warning("%s holds weights under %s: those of %r are taken", path, ", ".join(found), found[0])
        node = node[found[0]]
    if not isinstance(node, dict) or not _is_state(node):
        holds = f"; it holds {', '.join(map(str, [*node][:8]))}" if isinstance(node, dict) and node else ""
        raise CheckpointError(f"{path} holds no state dict of tensors, bare or under a usual name{holds[:200]}")
    state = {}
    for key, tensor in node.items():
        short = _COMPILED.sub("", _PREFIXES.sub("", str(key), count=1) if _PREFIXES.match(str(key)) else str(key))
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise CheckpointError(f"{path}: {short!r} is a tensor of an unusual kind ({tensor.layout}, {tensor.dtype})")
        if short in state:
            raise CheckpointError(f"{path} holds {short!r} twice, with different prefixes: several models in one file?")
        state[short] = tensor
    return state


def _is_state(node: Mapping[Any, Any]) -> bool:
    return bool(node) and all(isinstance(value, Tensor) for value in node.values())


def check_tensors(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    """CheckpointError unless both have the same keys with the same shapes, and all numbers are finite."""
    missing = [key for key in expected if key not in found]
    problems = [f"key {key!r} is missing, expected shape {list(expected[key])}" for key in missing]
    for key, tensor in found.items():
        shape = tuple(tensor.shape)
        if key not in expected:
            problems.append(f"unexpected key {key!r} of shape {list(shape)}")
        elif shape != tuple(expected[key]):
            problems.append(f"key {key!r}: expected shape {list(expected[key])}, found {list(shape)}")
        elif tensor.is_floating_point() and not tensor.is_meta and not tensor.float().isfinite().all():
            problems.append(f"key {key!r} has values that are not finite: the training that made it had failed")
    if problems:
        more = f" (and {len(problems) - 1} more such keys)" if len(problems) > 1 else ""
        raise CheckpointError(problems[0] + more)


def is_safetensors(path: Path) -> bool:
    """By its content; else it is a PyTorch checkpoint. CheckpointError: neither. A name that says else is warned of."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror}") from error
    if head[8:9] == b"{":  # the length of a JSON header, then the header
        return True
    if head[:2] == b"PK" or head[:1] == b"\x80":  # zip archive, or a bare pickle before PyTorch 1.6
        if path.suffix == ".safetensors":
            logger.warning("%s is a PyTorch checkpoint, whatever its name says; it is read as one", path)
        return False
    raise CheckpointError(f"{path} is no weights file: neither safetensors nor a PyTorch checkpoint")


def read_pickle(path: str | os.PathLike[str], *, inert: Sequence[str] = ()) -> Any:
    """Content of a PyTorch checkpoint: tensors, containers and plain values.

    inert: classes that it may mention beyond that, by dotted name. None is imported: a class without any code takes
           the place of each.

    CheckpointError: missing, damaged, or hostile: it names anything else.
    """
    stand_ins = [type(name, (), {"__module__": module}) for module, _, name in (n.rpartition(".") for n in inert)]
    try:
        # Of a path torch.load would look at the name, and may take the file for safetensors.
        with torch.serialization.safe_globals(stand_ins), open(path, "rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except Exception as error:  # damaged or hostile bytes make the unpickler raise almost anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        words = str(error).strip() or type(error).__name__
        if foreign:
            words = (
                f"it mentions {foreign[1]}, and nothing but tensors and plain values is unpickled here, as that could "
                "run code. Where you trust the file, save the weights alone: "
                "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pth')"
            )
        raise CheckpointError(f"{path} is damaged, or holds more than weights: {words.splitlines()[0]}") from error


def read_tensors(path: str | os.PathLike[str], expected: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. CheckpointError: missing, damaged, or not of the expected format."""
    if not is_safetensors(Path(path)):
        raise CheckpointError(f"{path} is a PyTorch checkpoint, whatever its name says; a safetensors file is expected")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if expected is not None and metadata.get("format") != expected:
        raise CheckpointError(f"{path} is of format {metadata.get('format')!r}, expected {expected!r}")
    return state, metadata


def write_tensors(
    path: str | os.PathLike[str], state: dict[str, Tensor], metadata: dict[str, str], *, half: bool = False
) -> None:
    """A safetensors file; `path` has its old or its new content at any time, never a part. CheckpointError: cannot."""
    path = Path(path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    if half:
        tensors = {k: t.half() if t.is_floating_point() and t.ndim > 1 else t for k, t in tensors.items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(serialize(tensors, metadata))
        os.replace(partial, path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
