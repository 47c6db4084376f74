"""Files of a run, of which there is always a whole one."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ..types import CheckpointError, TrackerError


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Replace a file at once; until then it is as it was. TrackerError: names it and the room that is left there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """For `torch.load(weights_only=True)`: tensors, containers and plain values."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getbuffer())


def cannot_write(path: Path, error: OSError | CheckpointError) -> TrackerError:
    free = shutil.disk_usage(path.parent).free
    why = error.strerror or error if isinstance(error, OSError) else error
    return TrackerError(f"cannot write {path}: {why}; {free / 1e6:.0f} MB are free there; the last save is intact")
