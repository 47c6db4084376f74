"""What is done beside the network, each in a thread of its own: frames read ahead of it, results written behind it.

In order, and bounded: no more waits than is said. The work is to be such that lets other threads run (decoding,
encoding, files).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


@contextmanager
def read_ahead(items: Iterable[T], count: int = 1) -> Generator[Iterator[T]]:
    """An iterator over the same items, of which the next `count` are made while one is in use.

    An error comes where its item would have. Afterwards nothing is being made, and `items` stands where it was left.

    >>> with read_ahead(read_image(f"clip/{number:05d}.png") for number in range(3)) as frames:
    ...     shapes = [image.shape for image in frames]  # each is read while the one before it is in use
    >>> shapes[0]
    (64, 96, 3)
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "read ahead") as thread:
        waiting = deque(thread.submit(next, source, _END) for _ in range(count))

        def take() -> Iterator[T]:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item

        try:
            yield take()
        finally:
            thread.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls, made one after the other in a thread; a context manager, at whose end all have been made.

    After one that fails no other is made. Its error is raised by the next `call`, or at the end, in place of a later
    one.
    """

    def __init__(self, count: int = 2):
        """count: how many may wait, the one that is being made among them; `call` waits for room."""
        self._count = count
        self._waiting: deque[Future] = deque()
        self._failed = False

    def call(self, function: Callable, *arguments: Any) -> None:
        self._settle(self._count - 1)
        self._waiting.append(self._thread.submit(self._make, function, arguments))

    def __enter__(self) -> WriteBehind:
        self._thread = ThreadPoolExecutor(1, "write behind")
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._settle(0)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _make(self, function: Callable, arguments: tuple) -> None:
        if not self._failed:
            try:
                function(*arguments)
            except BaseException:
                self._failed = True
                raise

    def _settle(self, left: int) -> None:
        """Wait until no more than so many wait."""
        while len(self._waiting) > left or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
