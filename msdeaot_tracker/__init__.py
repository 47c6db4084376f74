"""Box in, masks and boxes out: MSDeAOT tracking as a library.

>>> tracker = Tracker(load_model())
>>> tracker.initialize(image, {1: (x, y, w, h)})
>>> for image in video:
...     result = tracker.track(image)
"""

from .checkpoints import load_model
from .config import PRESETS, Preset, override
from .images import read_image
from .initializers import Initializer, make_initializer
from .loading import load_tracker
from .tracker import Tracker
from .types import Box, CheckpointError, FrameResult, InputError, MaskEstimate, TrackerError

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Box",
    "CheckpointError",
    "FrameResult",
    "Initializer",
    "InputError",
    "MaskEstimate",
    "Preset",
    "Tracker",
    "TrackerError",
    "load_model",
    "load_tracker",
    "make_initializer",
    "override",
    "read_image",
]
