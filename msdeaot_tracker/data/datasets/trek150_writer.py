"""Any box sequences in the layout of TREK-150, so that its protocols and its toolkit run on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...types import InputError
from .box_types import Anchor, BoxSequence, Interaction

_NOT_VISIBLE = (-1.0,) * 4


def spread_anchors(visible: np.ndarray, every: int) -> tuple[Anchor, ...]:
    """Anchors on the first frame, on each `every`-th after it, and on the last, of a sequence with `visible` bool [N].

    A run goes forward in the first half and backward in the second, whichever is longer. Where the object is not to be
    seen, the nearest frame on which it is takes the anchor's place (VOT2020 challenge report, 2.1, whose protocol
    TREK-150's is). InputError: it is never to be seen; `every` is not positive.
    """
    if every < 1:
        raise InputError(f"anchors every {every} frames: at least 1 is needed")
    seen = np.flatnonzero(visible)
    if not len(seen):
        raise InputError("the object is never to be seen: no frame can be an anchor")
    length = len(visible)
    wanted = {*range(0, length, every), length - 1}
    frames = {int(seen[np.abs(seen - frame).argmin()]) for frame in wanted}
    return tuple(Anchor(frame, frame + 1 > length - frame) for frame in sorted(frames))


def write_trek150(
    sequences: Iterable[BoxSequence],
    folder: Path,
    *,
    every: int = 50,
    interactions: Mapping[str, Sequence[Interaction]] | None = None,
) -> list[str]:
    """Write each sequence to `folder`/<name>, its frames as links, and return what was left out, with the reason.

    Anchors are the sequence's own or, if it has none, made by `spread_anchors`; interactions those given by name, or
    its own. The files are those of the TREK-150 toolkit: groundtruth_rect.txt, anchors.txt, anchors_hoi.txt, img/ (of
    which that toolkit sees only .jpg).
    InputError: there is something at `folder`/<name>; interactions of a sequence that does not exist, or outside it.
    """
    given = dict(interactions or {})
    sequences = list(sequences)
    unknown = sorted(given.keys() - {sequence.name for sequence in sequences})
    if unknown:
        raise InputError(f"interactions of {unknown[0]}: there is no such sequence")
    left_out: list[str] = []
    for sequence in sequences:
        if not sequence.frames or not sequence.visible[0]:
            reason = "the object is not to be seen on its first frame" if sequence.frames else "no frames fit its truth"
            left_out.append(f"{sequence.name}: {reason}")
            continue
        spans = given.get(sequence.name, sequence.interactions)
        for span in spans:
            if not 0 <= span.start <= span.end < len(sequence):
                raise InputError(f"{sequence.name}: {span} is not within its {len(sequence)} frames")
        anchors = sequence.anchors or spread_anchors(sequence.visible, every)
        _write_sequence(sequence, folder / sequence.name, anchors, spans)
    return left_out


def _write_sequence(
    sequence: BoxSequence, folder: Path, anchors: Sequence[Anchor], interactions: Sequence[Interaction]
) -> None:
    if folder.exists():
        raise InputError(f"{folder} exists: choose another folder")
    (folder / "img").mkdir(parents=True)
    for number, frame in enumerate(sequence.frames, start=1):
        _link(frame, folder / "img" / f"{number:08d}{frame.suffix.lower()}")
    boxes = np.where(sequence.visible[:, None], sequence.boxes, _NOT_VISIBLE)
    _write_rows(folder / "groundtruth_rect.txt", ([f"{side:.10g}" for side in box] for box in boxes))
    _write_rows(folder / "anchors.txt", ([frame, int(backward)] for frame, backward in anchors))
    if interactions:
        _write_rows(folder / "anchors_hoi.txt", interactions)


def _write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="ascii", newline="\n")


def _link(source: Path, target: Path) -> None:
    """A symbolic link, or a copy where the system allows none (Windows without the privilege)."""
    try:
        target.symlink_to(os.path.abspath(source))
    except OSError:
        shutil.copyfile(source, target)
