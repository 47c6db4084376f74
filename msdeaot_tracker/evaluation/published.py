"""Numbers that others published, to stand beside measured ones; never mixed with them, never averaged.

Of arXiv:2307.02508 ("ZJU ReLER Submission for EPIC-KITCHEN Challenge 2023: TREK-150 Single Object Tracking"). Its
Table 3 also has other trackers, its Table 2 other mixtures of training data, and both further measures: they are not
here, as they were not at hand to be copied from the source.
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


PUBLISHED = (
    Published("MSDeAOT", "trek150", "mse", 0.734, f"{_REPORT}, Table 3"),
    Published("MSDeAOT", "trek150", "ope", 0.755, f"{_REPORT}, Table 3"),
    Published("MSDeAOT", "trek150", "hoi", 0.771, f"{_REPORT}, Table 3"),
    Published("R50-DeAOT-L, mask by Alpha-Refine", "trek150", "ope", 0.611, f"{_REPORT}, Table 1"),
    Published("R50-DeAOT-L, mask by SAM", "trek150", "ope", 0.610, f"{_REPORT}, Table 1"),
    Published("R50-DeAOT-L, mask by both", "trek150", "ope", 0.616, f"{_REPORT}, Table 1"),
)
SEQUENCES = {"trek150": 150}  # what these numbers are over
