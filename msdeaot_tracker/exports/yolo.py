"""Label files of YOLO's segmentation, with polygons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .davis import new_file
from .folder import RunFolder

_FEWEST = 3  # points of a polygon
_INSIDE = 0.25  # of a pixel: readers that round find the same pixel as those that cut off


def write_yolo(run: RunFolder, path: Path) -> None:
    """labels/FRAME.txt, a line per part of an object's mask: `class x1 y1 x2 y2 …`, shares of width and height.

    The points are the outline's pixels; holes are filled, as the format has none. Each object is a class, named in
    data.yaml. A frame on which nothing is seen has an empty file. The frames belong into `images`, beside.
    Source: docs.ultralytics.com/datasets/segment.
    """
    folder = path / "labels"
    folder.mkdir(parents=True)
    classes = {object_id: number for number, object_id in enumerate(run.object_ids)}
    for frame in run:
        labels, lines = run.labels(frame), []
        for object_id in sorted(frame.objects):
            for outline in _outlines(labels == object_id):
                shares = (outline + _INSIDE) / (run.width, run.height)
                lines.append(f"{classes[object_id]} " + " ".join(f"{share:.6f}" for share in shares.ravel()) + "\n")
        new_file(folder, frame, ".txt").write_text("".join(lines), encoding="ascii")
    names = [f"  {number}: {json.dumps(run.name(object_id))}\n" for object_id, number in classes.items()]
    (path / "data.yaml").write_text("train: images\nval: images\nnames:\n" + "".join(names), encoding="ascii")


def _outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """int [N, 2], x and y of the pixels at the outside of each part of a mask, three at least."""
    for outline in cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        points = outline[:, 0]
        yield points if len(points) >= _FEWEST else np.resize(points, (_FEWEST, 2))
