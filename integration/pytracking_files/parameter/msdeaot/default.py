"""The model that ships with msdeaot-tracker; boxes are answered by boxes, masks by masks."""

from pytracking.utils import TrackerParams


def parameters():
    params = TrackerParams()
    params.settings = {  # arguments of msdeaot_tracker.load_tracker
        "preset": None,  # a name in msdeaot_tracker.PRESETS; None: the model that ships, or what the weights are for
        "weights": None,  # a file; None: the preset's
        "device": "auto",  # "cpu", "cuda:1", "mps"
        "initializer": "lite",  # from a box to a mask
    }
    params.segmentation = "given"  # "given": masks where a mask was given; "always"; "never"
    params.vot_anno_conversion_type = "preserve_area"  # how `run_vot` makes a box of VOT's polygons
    return params
