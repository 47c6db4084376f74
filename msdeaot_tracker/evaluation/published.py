"""Numbers that others published, to stand beside measured ones; never mixed with them, never averaged.

All that arXiv:2307.02508 has ("ZJU ReLER Submission for EPIC-KITCHEN Challenge 2023: TREK-150 Single Object Tracking"):
its Table 1 (where the first mask comes from), Table 2 (training data, on the test set of TREK-150) and Table 3 (the
challenge's leaderboard, on which MSDeAOT is the entry of JiahaoLi).
"""

from __future__ import annotations

from typing import NamedTuple

_REPORT = "arXiv:2307.02508"


class Published(NamedTuple):
    tracker: str
    dataset: str
    protocol: str
    success: float  # in [0, 1]
    source: str
    recipe: str | None = None  # of `msdeaot train` that trains such a model


def _leaderboard(tracker: str, mse: float, ope: float, hoi: float, recipe: str | None = None) -> list[Published]:
    scores = {"mse": mse, "ope": ope, "hoi": hoi}
    return [Published(tracker, "trek150", p, score, f"{_REPORT}, Table 3", recipe) for p, score in scores.items()]


def _first_mask(tracker: str, success: float) -> Published:
    return Published(tracker, "trek150", "ope", success, f"{_REPORT}, Table 1")


def _trained(row: int, model: str, data: str, success: float) -> Published:
    source = f"{_REPORT}, Table 2, row {row}"
    return Published(f"{model} on {data}", "trek150", "ope", success, source, f"table2-{row}")


_R50, _SWIN = "R50-DeAOT-L", "SwinB-DeAOT-L"
PUBLISHED = (
    *_leaderboard("MSDeAOT", 0.734, 0.755, 0.771, "msdeaot-swinb-phase2"),
    *_leaderboard("kang", 0.653, 0.671, 0.762),
    *_leaderboard("LTMU-H-IJCV", 0.543, 0.505, 0.657),
    _first_mask(f"{_R50}, mask by Alpha-Refine", 0.611),
    _first_mask(f"{_R50}, mask by SAM", 0.610),
    _first_mask(f"{_R50}, mask by both", 0.616),
    _trained(1, _R50, "VISOR, MOSE", 0.694),
    _trained(2, _R50, "VISOR, YouTube-VOS, DAVIS", 0.724),
    _trained(3, _R50, "VISOR, YouTube-VOS, DAVIS, MOSE", 0.726),
    _trained(4, _R50, "VISOR, YouTube-VOS, DAVIS, MOSE, EgoTracks", 0.734),
    _trained(5, _R50, "VISOR, YouTube-VOS, DAVIS, MOSE, LaSOT", 0.733),
    _trained(6, _R50, "VISOR, YouTube-VOS, DAVIS, MOSE, GOT-10k", 0.733),
    _trained(7, _SWIN, "VISOR", 0.707),
    _trained(8, _SWIN, "VISOR, VIPSeg", 0.712),
    _trained(9, _SWIN, "VISOR, MOSE", 0.733),
)
SEQUENCES = {"trek150": 150}  # what these numbers are over


def published_success(recipe: str) -> dict[str, float]:
    """By protocol, of a model that a recipe of ours trains; empty where nobody published any."""
    return {entry.protocol: entry.success for entry in PUBLISHED if entry.recipe == recipe}
