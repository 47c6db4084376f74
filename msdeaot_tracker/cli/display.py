"""Windows: drawing a box on a frame, and showing frames as they are tracked."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np

from ..types import Box, InputError

WINDOW = "msdeaot"
_LARGEST = (1280, 720)  # pixels, width and height; larger frames are shown reduced
_ESCAPE = 27


def require_display(option: str) -> None:
    """InputError, naming the option, unless OpenCV can open a window here.

    A process of its own tries it, since OpenCV's Qt ends the process that has no display.
    """
    attempt = f"import cv2; cv2.namedWindow({WINDOW!r}); cv2.destroyAllWindows()"
    outcome = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True)
    if outcome.returncode:
        reason = next(iter(outcome.stderr.strip().splitlines()), f"it ended with status {outcome.returncode}")
        raise InputError(f"{option} needs a display, and OpenCV cannot open a window here: {reason}")


def select_box(image: np.ndarray) -> Box:
    """Lets the user draw a box on an image [H, W, 3] RGB with the mouse; InputError when none is drawn."""
    shown, scale = _fit(image)
    x, y, w, h = cv2.selectROI(WINDOW, cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), showCrosshair=False)
    cv2.destroyWindow(WINDOW)
    if not w or not h:
        raise InputError("--select: no box was drawn")
    return Box(x / scale, y / scale, w / scale, h / scale)


def show(image: np.ndarray) -> bool:
    """Shows an image [H, W, 3] RGB; False once the user pressed q or Escape, or closed the window."""
    cv2.imshow(WINDOW, cv2.cvtColor(_fit(image)[0], cv2.COLOR_RGB2BGR))
    key = cv2.waitKey(1) & 0xFF
    return key not in (ord("q"), _ESCAPE) and cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) > 0


def _fit(image: np.ndarray) -> tuple[np.ndarray, float]:
    scale = min(1.0, _LARGEST[0] / image.shape[1], _LARGEST[1] / image.shape[0])
    return (cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image), scale
