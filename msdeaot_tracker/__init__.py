"""Box in, masks and boxes out: MSDeAOT tracking as a library.

>>> tracker = Tracker(load_model())
>>> result = tracker.initialize(image, {1: (10, 12, 20, 16)})  # x, y, w, h in pixels
>>> for image in images:
...     result = tracker.track(image)

or, of a file, a folder or a camera:

>>> for result in track_video(video, {1: box}):
...     labels, boxes = result.labels, result.boxes
"""

from typing import TYPE_CHECKING

from .config import PRESETS, Preset, override
from .initializers import Initializer, make_initializer
from .lazy import lazy_names
from .pipeline import read_ahead
from .threads import spin_briefly
from .types import Box, CheckpointError, FrameResult, InputError, InputErrors, MaskEstimate, Points, TrackerError

if TYPE_CHECKING:
    from .checkpoints import load_model
    from .images import read_image
    from .loading import load_tracker
    from .prompts import read_prompts
    from .tracker import Tracker
    from .whole_video import track_video

_HOMES = {
    **{"Tracker": "tracker", "load_model": "checkpoints", "load_tracker": "loading", "read_image": "images"},
    **{"read_prompts": "prompts", "track_video": "whole_video"},
}
__getattr__ = lazy_names(__name__, _HOMES)

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Box",
    "CheckpointError",
    "FrameResult",
    "Initializer",
    "InputError",
    "InputErrors",
    "MaskEstimate",
    "Points",
    "Preset",
    "Tracker",
    "TrackerError",
    "load_model",
    "load_tracker",
    "make_initializer",
    "override",
    "read_ahead",
    "read_image",
    "read_prompts",
    "spin_briefly",
    "track_video",
]
