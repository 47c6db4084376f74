"""Protocols of TREK-150: from a sequence to the runs that a tracker is asked for.

Dunnhofer et al., "Visual Object Tracking in First Person Vision", IJCV 2022, 6.1; names and directions as in the
TREK-150 toolkit (toolkit/experiments/trek150.py), so that either side can read the other's results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..data.datasets.box_types import BoxSequence
from ..types import InputError


@dataclass(frozen=True)
class Run:
    """The tracker is given the truth of the first of these frames, and follows the others in their order."""

    name: str  # of its result file
    frames: range  # indices in the sequence; descending: backward in time


def one_pass(sequence: BoxSequence) -> list[Run]:
    """From the first frame to the last. None for a sequence without truth."""
    return [Run(sequence.name, range(len(sequence)))] if len(sequence) else []


def multi_start(sequence: BoxSequence) -> list[Run]:
    """From every anchor, forward to the last frame or backward to the first.

    InputError: a forward and a backward anchor at one frame.
    """
    frames = [anchor.frame for anchor in sequence.anchors]
    twice = next((frame for frame in frames if frames.count(frame) > 1), None)
    if twice is not None:
        raise InputError(
            f"{sequence.name}: a forward and a backward run begin at frame {twice}; the TREK-150 toolkit's names of "
            f"results cannot hold both, as each would be {sequence.name}-anchor-{twice}.txt"
        )
    return [
        Run(f"{sequence.name}-anchor-{frame}", range(frame, -1, -1) if backward else range(frame, len(sequence)))
        for frame, backward in sequence.anchors
    ]


def hand_object(sequence: BoxSequence) -> list[Run]:
    """From the first to the last frame of every interaction of a hand with the object."""
    return [
        Run(f"{sequence.name}-hoi-{start}-{end}-{hand}", range(start, end + 1))
        for start, end, hand in sequence.interactions
    ]


# rte: the runs of ope, on a clock (realtime.py).
PROTOCOLS: dict[str, Callable[[BoxSequence], list[Run]]] = {
    "ope": one_pass,
    "mse": multi_start,
    "hoi": hand_object,
    "rte": one_pass,
}


def find_protocol(name: str) -> Callable[[BoxSequence], list[Run]]:
    """InputError: no such protocol."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is none of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def why_no_runs(protocol: str, sequence: BoxSequence) -> str | None:
    """Of a sequence without runs, what it lacks; None: it need not have any, as no hand need ever touch the object."""
    if not len(sequence):
        return f"{sequence.name}: its truth cannot be read; nothing for {protocol}"
    return None if protocol == "hoi" else f"{sequence.name}: it has no anchors; nothing for {protocol}"


def why_nothing(protocol: str, sequences: int) -> str:
    """Of a dataset none of whose sequences has a run, nor need have one."""
    if not sequences:
        return f"{protocol}: the dataset has no sequences"
    return f"{protocol}: none of the {sequences} sequences has interactions of a hand and the object; nothing to do"
