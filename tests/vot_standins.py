"""Trackers that behave badly, run by the toolkit in processes of their own (see test_vot_adapter.py)."""

import logging

import numpy as np
from msdeaot_integration.static_box import StaticResult, StaticTracker
from msdeaot_integration.trax_server import prepare_output, serve

from msdeaot_tracker import TrackerError, read_image


class Forgetful(StaticTracker):
    """Loses its object on the third and fourth frame."""

    def initialize(self, image, targets):
        self.frame = 0
        return super().initialize(image, targets)

    def track(self, image, targets=None):
        result = super().track(image, targets)
        self.frame += 1
        if self.frame not in (3, 4):
            return StaticResult(result.masks, {1: (7, 8, 9, 10)}, result.scores)
        return StaticResult({k: np.zeros_like(mask) for k, mask in result.masks.items()}, {1: None}, {1: 0.0})


class Failing(StaticTracker):
    """Warns in Slovene, then fails in two lines."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def track(self, image, targets=None):
        if targets:
            logging.getLogger("standin").warning("previše črk")
            return super().track(image, targets)
        raise self.error("the wheel\ncame off: ćuk")


def forgetful(answer):
    prepare_output()
    serve(Forgetful(), read_image, answer=answer)


def failing(expected):
    prepare_output()
    serve(Failing(TrackerError if expected else KeyError), read_image)
