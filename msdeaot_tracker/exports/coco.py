"""COCO's JSON, as pycocotools reads it; written piece by piece, so that a long video does not lie in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .. import __version__
from ..geometry import mask_to_box
from .folder import RunFolder


def write_coco(run: RunFolder, path: Path) -> None:
    """An image per frame, an annotation per object that is seen on it; the masks are compressed RLE.

    Each object is a category of its own, of its name; `track_id`, `score` and `frame_id` (from 0) are beside COCO's
    fields, `video_id` is 1. Image ids are frame numbers + 1. `bbox` is the box that the tracker reports. The frames of
    a video are named by their numbers, NNNNNNNN.jpg.
    """
    from pycocotools.mask import encode

    def annotations() -> Iterator[dict[str, Any]]:
        number = 0
        for frame in run:
            labels = run.labels(frame)
            for object_id, seen in sorted(frame.objects.items()):
                mask = labels == object_id
                if not mask.any():
                    continue
                number += 1
                rle = encode(np.asfortranarray(mask, np.uint8))
                yield {
                    **{"id": number, "image_id": frame.index + 1, "category_id": object_id, "track_id": object_id},
                    **{"segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")}},
                    **{"bbox": seen.box or mask_to_box(mask), "area": int(mask.sum())},
                    **{"iscrowd": 0, "score": seen.score},
                }

    size = {"width": run.width, "height": run.height}
    images = (
        {
            **{"id": frame.index + 1, "file_name": frame.image or f"{frame.stem}.jpg", **size},
            **{"video_id": 1, "frame_id": frame.index},
        }
        for frame in run
    )
    head = {
        "info": {"description": f"{run.sequence}, tracked by msdeaot-tracker {__version__}"},
        "licenses": [],
        "videos": [{"id": 1, "name": run.sequence, **size}],
        "categories": [{"id": i, "name": run.name(i), "supercategory": "object"} for i in run.object_ids],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1])
        _write_list(file, "images", images)
        _write_list(file, "annotations", annotations())
        file.write("}\n")


def _write_list(file: TextIO, key: str, items: Iterable[dict[str, Any]]) -> None:
    """As the next member of an object that is open."""
    file.write(f', "{key}": [')
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        file.write(json.dumps(item))
    file.write("]")
