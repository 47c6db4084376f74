"""run_tracker.py that also knows `--dataset_name trek150`: `python pytracking/run_msdeaot.py msdeaot default ...`."""

import run_tracker  # beside this file; it makes `pytracking` importable
from pytracking.evaluation import trek150dataset

trek150dataset.register()  # not under the guard: with --threads each process needs it

if __name__ == "__main__":
    run_tracker.main()
