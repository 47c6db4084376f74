"""Drives the toolkits of `agreement.py`, in their Python and with their clone on its path.

`agreement_drivers.py trek150|got10k|pytracking TRACKER DATASET OUT`, with TRACKER static or msdeaot and DATASET
in TREK-150's layout. The model computes in float32. The toolkits write results and scores below OUT, where they are
used to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from msdeaot_tracker.data.datasets.box_sequences import BoxSequence, read_dataset
from msdeaot_tracker.images import read_image

EXACTLY = ["tracker.precision=float32"]


def drive_trek150(tracker: str, dataset: str, out: str) -> None:
    import toolkit.experiments.trek150 as module
    from toolkit.trackers import IdentityTracker

    reader = module.TREK150
    module.TREK150 = lambda root, download: reader(root, download=False)
    module.json = SimpleNamespace(dump=partial(json.dump, default=float), load=json.load)  # its recall is a float32
    experiment = module.ExperimentTREK150(dataset, result_dir=out, report_dir=out)
    driven = _make_tracker(tracker, IdentityTracker)
    for protocol in ("ope", "mse", "hoi"):
        experiment.run(driven, protocol=protocol)
        experiment.report([driven.name], protocol=protocol)


def drive_got10k(tracker: str, dataset: str, out: str) -> None:
    from got10k.experiments import ExperimentGOT10k
    from got10k.trackers import IdentityTracker

    data = Path(out) / "data"
    write_got10k(read_dataset("trek150", Path(dataset)), data / "val")
    experiment = ExperimentGOT10k(str(data), subset="val", result_dir=out, report_dir=out)
    driven = _make_tracker(tracker, IdentityTracker)
    experiment.run(driven)
    experiment.report([driven.name])


def write_got10k(sequences: Sequence[BoxSequence], folder: Path) -> None:
    """The layout of GOT-10k, frames as links."""
    for sequence in sequences:
        target = folder / sequence.name
        target.mkdir(parents=True)
        for number, frame in enumerate(sequence.frames, start=1):
            (target / f"{number:08d}.jpg").symlink_to(frame.resolve())
        height, width, _ = read_image(sequence.frames[0]).shape
        (target / "meta_info.ini").write_text(f"[METAINFO]\nresolution: ({width}, {height})\n")
        np.savetxt(target / "groundtruth.txt", np.nan_to_num(sequence.boxes), delimiter=",", fmt="%.10g")
        labels = {"cover": 8 * sequence.visible, "absence": ~sequence.visible, "cut_by_image": 0 * sequence.visible}
        for name, values in labels.items():
            np.savetxt(target / f"{name}.label", values, fmt="%d")
    (folder / "list.txt").write_text("\n".join(sequence.name for sequence in sequences) + "\n")


def drive_pytracking(tracker: str, dataset: str, out: str) -> None:
    """The parameters are `default`; success goes to scores.json."""
    from pytracking.evaluation.environment import EnvSettings

    settings = EnvSettings()
    settings.trek150_path = dataset
    settings.results_path = settings.segmentation_path = settings.result_plot_path = out
    # In the place of the clone's own local.py, so that nothing in the clone is read or written.
    sys.modules["pytracking.evaluation.local"] = SimpleNamespace(local_env_settings=lambda: settings)
    from pytracking.analysis.extract_results import extract_results
    from pytracking.evaluation import get_dataset, trackerlist, trek150dataset
    from pytracking.evaluation.running import run_dataset
    from pytracking.parameter.msdeaot import default

    parameters = default.parameters
    default.parameters = lambda: _exactly(parameters())
    trek150dataset.register()
    sequences, trackers = get_dataset("trek150"), trackerlist(tracker, "default")
    run_dataset(sequences, trackers)
    found = extract_results(trackers, sequences, "agreement", exclude_invalid_frames=True)
    success = float(np.mean(found["ave_success_rate_plot_overlap"]))
    (Path(out) / "scores.json").write_text(json.dumps({"success_score": success}), encoding="utf-8")


def _exactly(params: Any) -> Any:
    params.settings["overrides"] = EXACTLY
    return params


def _make_tracker(name: str, identity: Callable[[], Any]) -> Any:
    """The model, or the toolkit's own static box."""
    from msdeaot_integration.got10k import MSDeAOT

    tracker = MSDeAOT(overrides=EXACTLY) if name == "msdeaot" else identity()
    tracker.name = name
    return tracker


DRIVERS = {"trek150": drive_trek150, "got10k": drive_got10k, "pytracking": drive_pytracking}

if __name__ == "__main__":
    DRIVERS[sys.argv[1]](*sys.argv[2:])
