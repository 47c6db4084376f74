"""The tracker `msdeaot`: msdeaot-tracker behind pytracking's interface."""

import numpy as np
from msdeaot_integration.pytracking import PytrackingTracker
from pytracking.tracker.base import BaseTracker


class MSDeAOT(PytrackingTracker, BaseTracker):
    pass


def get_tracker_class():
    for name, kind in (("int", int), ("bool", bool)):  # pytracking draws masks with np.int, which NumPy 1.24 dropped
        if name not in vars(np):
            setattr(np, name, kind)
    return MSDeAOT
