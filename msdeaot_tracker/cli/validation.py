"""Tracking whole sequences in the middle of a training run, scored as `msdeaot evaluate` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.procedural.held_out import HeldOut
from ..evaluation import SequenceScore, find_sequences, run_sequence
from ..evaluation.runner import TruthSequence
from ..tracker import Tracker
from .evaluate import mean_scores

if TYPE_CHECKING:
    from ..models import MSDeAOT

PROCEDURAL = "procedural"


def validation_sequences(where: str) -> Iterable[TruthSequence]:
    """To be gone through again and again: a folder as `msdeaot evaluate` takes it, or the procedural set by its name.

    InputError: no such folder, or no sequences in it.
    """
    return HeldOut() if where == PROCEDURAL else find_sequences(Path(where))


def track_and_score(model: MSDeAOT, sequences: Iterable[TruthSequence]) -> dict[str, float]:
    """Track from the first frame's masks: mean J and success as `msdeaot evaluate --init mask` has them, and the speed.

    fps: frames per second, of the tracker alone. The model has to be in evaluation mode. InputError: see `Tracker`.
    """
    tracker = Tracker(model, initializer="box")  # which is not asked: masks are given
    scores: list[SequenceScore] = [run_sequence(tracker, sequence, "mask") for sequence in sequences]
    mean = mean_scores(scores)
    seconds = sum(score.frames * score.seconds_per_frame for score in scores)
    return {"J": mean["jaccard"], "success": mean["success"], "fps": sum(s.frames for s in scores) / seconds}
