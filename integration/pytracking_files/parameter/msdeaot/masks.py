"""`default` that always answers with masks as well: of every frame, which pytracking keeps until the sequence ends."""

from pytracking.parameter.msdeaot import default


def parameters():
    params = default.parameters()
    params.segmentation = "always"
    return params
