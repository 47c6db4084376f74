"""Frames are read ahead of the network and results written behind it: in order, bounded, and no error is lost."""

import threading
import time
from collections.abc import Iterator

import pytest

from msdeaot_tracker.pipeline import WriteBehind, read_ahead

LONG = 30.0  # seconds; nothing here takes that long unless it is stuck


def slowly(values: list) -> Iterator:
    for value in values:
        time.sleep(0.001)
        yield value


@pytest.mark.parametrize("count", [1, 3])
def test_items_come_in_order_and_no_more_are_made_than_said(count):
    made, taken = [], []

    def items() -> Iterator[int]:
        for number in range(50):
            assert len(made) <= len(taken) + count
            made.append(number)
            yield number

    with read_ahead(items(), count) as ahead:
        for item in ahead:
            taken.append(item)
            time.sleep(0.001)
            assert len(made) <= len(taken) + count
    assert taken == made == list(range(50))


def test_the_next_item_is_made_while_one_is_in_use():
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    with read_ahead(items()) as ahead:
        assert next(ahead) == 0
        assert made.wait(LONG)


def test_an_error_comes_where_its_item_would_have():
    def items() -> Iterator[int]:
        yield from slowly([0, 1, 2])
        raise ValueError("the fourth")

    taken = []
    with pytest.raises(ValueError, match="the fourth"), read_ahead(items(), 3) as ahead:
        for item in ahead:
            taken.append(item)
    assert taken == [0, 1, 2]


def test_what_is_read_ahead_can_be_closed_afterwards():
    """A generator that is still at work in its thread refuses to close."""
    before = threading.active_count()
    items = slowly(list(range(100)))
    with pytest.raises(KeyboardInterrupt), read_ahead(items) as ahead:
        next(ahead)
        raise KeyboardInterrupt
    items.close()
    assert threading.active_count() == before


def test_calls_are_made_in_order_and_no_more_wait_than_said():
    made, asked = [], []

    def call(number: int) -> None:
        time.sleep(0.001)
        assert len(asked) - len(made) <= 3 + 1  # one more is asked for, and waits for room
        made.append(number)

    with WriteBehind(3) as behind:
        for number in range(40):
            asked.append(number)
            behind.call(call, number)
            assert len(asked) - len(made) <= 3
    assert made == asked


def test_the_caller_goes_on_while_a_call_is_made():
    go_on = threading.Event()
    with WriteBehind() as behind:
        behind.call(go_on.wait, LONG)
        go_on.set()  # reached: it would wait for itself otherwise


@pytest.mark.parametrize("calls", [1, 10])
def test_after_a_call_that_fails_no_other_is_made(calls):
    made = []

    def fail() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), WriteBehind() as behind:
        behind.call(made.append, 0)
        behind.call(fail)
        for number in range(calls):
            behind.call(made.append, number + 1)
    assert made == [0]


def test_an_error_is_raised_by_a_later_call_although_there_is_room():
    def fail() -> None:
        raise OSError("no space left")

    def go_on(behind: WriteBehind) -> None:
        for _ in range(3):
            time.sleep(0.1)
            behind.call(time.monotonic)

    with WriteBehind(5) as behind:
        behind.call(fail)
        with pytest.raises(OSError, match="no space left"):
            go_on(behind)


def test_what_was_asked_for_before_an_error_is_made():
    made = []
    with pytest.raises(KeyboardInterrupt), WriteBehind(5) as behind:
        for number in range(5):
            behind.call(lambda i=number: (time.sleep(0.005), made.append(i)))
        raise KeyboardInterrupt
    assert made == list(range(5))


def test_of_two_errors_the_earlier_one_counts():
    def fail() -> None:
        time.sleep(0.01)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), WriteBehind() as behind:
        behind.call(fail)
        raise ValueError("of the next frame")
