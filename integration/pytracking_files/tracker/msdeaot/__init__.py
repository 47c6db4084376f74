"""The tracker `msdeaot`: msdeaot-tracker behind pytracking's interface."""

from msdeaot_integration.pytracking import PytrackingTracker
from pytracking.tracker.base import BaseTracker


class MSDeAOT(PytrackingTracker, BaseTracker):
    pass


def get_tracker_class():
    return MSDeAOT
