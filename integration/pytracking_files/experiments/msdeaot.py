"""Experiments for run_experiment.py: `python pytracking/run_experiment.py msdeaot trek150_ope`."""

from pytracking.evaluation import get_dataset, trackerlist, trek150dataset

trek150dataset.register()


def trek150_ope():
    """TREK-150, one pass from the first frame."""
    return trackerlist("msdeaot", "default"), get_dataset("trek150")


def lasot():
    """The 280 test sequences of LaSOT."""
    return trackerlist("msdeaot", "default"), get_dataset("lasot")
