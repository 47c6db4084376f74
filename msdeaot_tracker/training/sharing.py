"""How the samples of a run are shared out between its steps, micro-batches and processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from ..types import InputError, TrackerError
from .config import LoopConfig
from .sources import Source


@dataclass(frozen=True)
class Share:
    """Of process `rank` in a step: those of its `count` micro-batches whose number, modulo `processes`, is `rank`."""

    micro_batch: int  # samples
    count: int  # micro-batches of a step, over all processes
    processes: int
    rank: int

    def read(self, source: Source, config: LoopConfig, step: int, *, pin_memory: bool) -> Iterator[dict[int, Any]]:
        """This share's micro-batches by number, for each step from `step` to the last.

        Micro-batch j of step s is entry `s % per_item` of item `(s // per_item) * count + j` of the source's data.
        """
        own, per_item = range(self.rank, self.count, self.processes), source.per_item
        first, blocks = step // per_item, -(-config.steps // per_item)  # a block: the steps that an item serves
        data = source.open(self.micro_batch, blocks * self.count, config.seed)
        loader = DataLoader(
            _Told(Subset(data, [block * self.count + j for block in range(first, blocks) for j in own])),
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread,
        )
        with _without_opencv_threads():
            items = iter(loader)
        while step < config.steps:
            block = {j: _take(items) for j in own}
            for entry in range(step % per_item, min(per_item, config.steps - step // per_item * per_item)):
                yield {j: batches[entry] for j, batches in block.items()}
                step += 1


def share_out(config: LoopConfig, processes: int, rank: int) -> Share:
    """InputError: batch, micro-batches and processes do not add up."""
    size, micro = config.batch_size, config.micro_batch
    if size < 1 or processes < 1 or (micro is None and size % processes):
        raise InputError(f"a batch of {size} cannot be shared out between {processes} processes")
    micro = size // processes if micro is None else micro
    if micro < 1 or size % (micro * processes):
        raise InputError(
            f"a batch of {size} is not made of micro-batches of {micro}, equally many for each of {processes} processes"
        )
    return Share(micro, size // micro, processes, rank)


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """Around a fork: a child that inherits OpenCV's pool of threads waits for ever for threads it does not have."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _one_thread(worker: int) -> None:
    """There are as many workers as cores for them."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class _Told(Dataset[Any]):
    """The same items; where one cannot be made, what is to be raised. Raised by the loader it would be a traceback."""

    def __init__(self, data: Dataset[Any]):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._data[index]
        except (TrackerError, OSError) as error:
            return error


def _take(items: Iterator[Any]) -> Any:
    """The next item. What could not be made is raised, and TrackerError where a process that makes them has died."""
    try:
        item = next(items)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrackerError(f"a process that makes batches died (--workers 0 does without them): {error}") from error
    if isinstance(item, TrackerError | OSError):
        raise item
    return item
