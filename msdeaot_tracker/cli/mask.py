"""`msdeaot mask`: what an initializer makes of a box on a picture."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..data.contact_sheet import draw_box, draw_mask
from ..geometry import clip_box, mask_to_box, rectangle_iou
from ..images import IMAGE_SUFFIXES, palette, read_image, write_image, write_mask
from ..types import Box, InputError, MaskEstimate
from .options import (
    add_device_option,
    add_initializer_options,
    add_object_option,
    add_objects,
    load_initializer,
    parse_box,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turns boxes on a picture into masks, as tracking from a box begins: writes an indexed PNG (0 = "
        "background, else the object's id) and the picture with masks and boxes drawn on it."
    )
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--box", type=parse_box, metavar="X,Y,W,H", help="object 1, in pixels")
    add_object_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the masks")
    parser.add_argument(
        "--overlay", type=Path, metavar="FILE", help="the picture with masks (default: FILE-overlay.jpg beside --out)"
    )
    group = parser.add_argument_group("initializer")
    add_initializer_options(group)
    add_device_option(group)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..device import pick_device

    overlay = args.overlay or args.out.with_name(f"{args.out.stem}-overlay.jpg")
    _check_paths(args.image, args.out, overlay)
    boxes: dict[int, Box] = {1: args.box} if args.box else {}
    add_objects(boxes, args.objects)
    if not boxes:
        raise InputError("no box: give --box or --object")
    image = read_image(args.image)
    boxes = {object_id: clip_box(box, *image.shape[:2]) for object_id, box in boxes.items()}
    initializer = load_initializer(args, pick_device(args.device))
    estimates: dict[int, MaskEstimate] = {}
    for object_id, box in boxes.items():
        start = time.perf_counter()
        estimates[object_id] = initializer(image, box)
        milliseconds = 1000 * (time.perf_counter() - start)
        print(_describe(object_id, box, estimates[object_id], milliseconds))
    write_mask(args.out, _labels({object_id: estimate.mask for object_id, estimate in estimates.items()}))
    write_image(overlay, _overlay(image, boxes, estimates))
    print(f"masks: {args.out}\noverlay: {overlay}")
    return 0


def _check_paths(image: Path, out: Path, overlay: Path) -> None:
    """Before the work, not after it. InputError: a wrong suffix, a missing folder, a file that is two things."""
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: masks are written as PNG, so its name must end in .png")
    if overlay.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"--overlay {overlay}: its name must end in one of {', '.join(sorted(IMAGE_SUFFIXES))}")
    for path in (out, overlay):
        if not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise InputError(f"{path} cannot be written: it is a folder")
    if len({path.resolve() for path in (image, out, overlay)}) < 3:
        raise InputError("IMAGE, --out and --overlay are three files: two of them are the same here")


def _describe(object_id: int, box: Box, estimate: MaskEstimate, milliseconds: float) -> str:
    rectangle = mask_to_box(estimate.mask)
    share = estimate.mask.sum() / (box.w * box.h)
    lines = [
        f"object {object_id}: {estimate.source}, {milliseconds:.0f} ms",
        f"  mask: {int(estimate.mask.sum())} pixels, {100 * share:.0f} % of the box; rectangle {_sides(rectangle)}, "
        f"IoU {rectangle_iou(rectangle, box):.3f} with the box",
    ]
    if estimate.box is not None:
        lines.append(
            f"  box of its own: {_sides(estimate.box)}, IoU {rectangle_iou(estimate.box, box):.3f} with the box"
        )
    if estimate.alternatives:
        lines.append(f"  further masks: {len(estimate.alternatives)}")
    if estimate.details:
        lines.append("  " + ", ".join(f"{name} {_value(value)}" for name, value in estimate.details.items()))
    return "\n".join(lines)


def _sides(box: Box) -> str:
    return ",".join(f"{side:g}" for side in box)


def _value(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _labels(masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """int32 [H, W]; small objects on top, as the tracker paints them."""
    labels = np.zeros(next(iter(masks.values())).shape, np.int32)
    for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):
        labels[masks[object_id]] = object_id
    return labels


def _overlay(image: np.ndarray, boxes: Mapping[int, Box], estimates: Mapping[int, MaskEstimate]) -> np.ndarray:
    drawn = image.copy()
    for object_id, estimate in estimates.items():
        colour = palette()[object_id].astype(int)
        draw_mask(drawn, estimate.mask, tuple((colour * 255 // colour.max()).tolist()))
        draw_box(drawn, boxes[object_id])
    return drawn
