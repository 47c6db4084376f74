"""vot-toolkit, protocol `traxpython`: the process that the sections of trackers.ini start.

    command = msdeaot_integration.vot
    command = from msdeaot_integration.vot import run; run(region='mask', multi_object=True, device='cpu')

The second form passes settings; they are the arguments of `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msdeaot_tracker import TrackerError, read_image, spin_briefly

from .requirements import require_trax
from .trax_server import Answer, one_line, prepare_output, serve

if TYPE_CHECKING:
    from msdeaot_tracker import Tracker


def run(*, region: Answer = "given", multi_object: bool = False, **settings: Any) -> None:
    """Load the model, warm it up, and only then open the TraX server: the toolkit's clock starts there.

    region: the type to answer in; "given": that of the initialization.
    multi_object: tell the toolkit that several objects may be given at once (VOTS).
    settings: the arguments of `msdeaot_tracker.load_tracker`: preset, weights, device, initializer and so on. Relative
    paths would start from the temporary folder the toolkit runs trackers in.

    An error of the user's making ends the process with one line on standard error, which the toolkit logs.
    """
    prepare_output()
    try:
        require_trax()
        tracker = load_warm_tracker(**settings)
    except (TrackerError, OSError, ImportError) as error:
        raise SystemExit(one_line(error)) from error
    serve(tracker, read_image, answer=region, multi_object=multi_object)


def load_warm_tracker(**settings: Any) -> Tracker:
    """A tracker that has already seen a frame, so that no lazy set-up is left for the first real one.

    settings: the arguments of `msdeaot_tracker.load_tracker`.
    """
    spin_briefly()
    from msdeaot_tracker import load_tracker  # and with it torch, which reads that setting

    tracker = load_tracker(**settings)
    image = np.random.default_rng(0).integers(0, 64, (240, 320, 3), dtype=np.uint8)
    image[80:160, 120:200] += 128
    tracker.initialize(image, {1: (112, 72, 96, 96)})
    tracker.track(image)
    return tracker


if __name__ == "__main__":
    run()
