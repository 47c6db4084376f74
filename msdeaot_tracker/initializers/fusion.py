"""Two initializers for one box.

The report (section 3, Table 1) finds Alpha-Refine and Segment Anything together better than either, and does not say
how it combines them. The ways here are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..geometry import clip_box, mask_iou, mask_to_box, rectangle_iou
from ..types import Box, InputError, MaskEstimate
from . import Initializer

Combine = Literal["mean", "prompt", "both"]

_SURE = 0.75  # probability that a mask without a map stands for


@dataclass(frozen=True)
class Fusion:
    """Two initializers, each of which sees the box; `combine` says what becomes of their answers.

    mean:   `fuse`: the mean of both where they agree, else the one that fits the box.
    prompt: the first one's exact box is given to the second, whose mask it is ("ar+sam": SAM prompted with
            Alpha-Refine's box). A box that overlaps the given one by less than `agreement` is not believed.
    both:   two masks, the one that fits the box first; the tracker remembers each as a reference.
    """

    first: Initializer
    second: Initializer
    combine: Combine = "mean"
    agreement: float = 0.7  # overlap (IoU) from which on two masks, or two boxes, are taken to mean the same

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combine):
            raise InputError(f"combine={self.combine!r}: choose {', '.join(get_args(Combine))}")
        if not isinstance(self.agreement, int | float) or not 0 < self.agreement <= 1:
            raise InputError(f"agreement={self.agreement!r} is no overlap above 0 and up to 1")

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        first = self.first(image, box)
        if self.combine == "prompt":
            return self._prompt(image, box, first)
        return fuse(first, self.second(image, box), box, agreement=self.agreement, both=self.combine == "both")

    def _prompt(self, image: np.ndarray, box: Box, first: MaskEstimate) -> MaskEstimate:
        exact = clip_box(first.box or mask_to_box(first.mask), *image.shape[:2])
        overlap = rectangle_iou(exact, box)
        believed = overlap >= self.agreement
        second = self.second(image, exact if believed else box)
        return MaskEstimate(
            second.mask,
            f"{first.source}+{second.source}: {'prompted' if believed else 'given box'}",
            second.probability,
            first.box,
            {**_parts(first, second), **_fallback(second), "iou_prompt_box": overlap},
            confidence=second.confidence,
        )


def fuse(
    first: MaskEstimate, second: MaskEstimate, box: Box, *, agreement: float = 0.7, both: bool = False
) -> MaskEstimate:
    """One estimate of two.

    Masks that overlap by at least `agreement` (IoU) are averaged: a pixel belongs to the object where the mean of the
    probability maps is above one half, or both masks have it. (A mask without a map counts as 0.75 on the object and
    0.25 elsewhere: as 1 and 0 it would overrule any map.) Otherwise the mask whose upright rectangle overlaps `box`
    more is taken; the first one, of equals. With `both`, that mask is taken in any case and the other one becomes its
    alternative. A stand-in (with "fallback" in its details), which fits its box by construction, is neither averaged
    nor an alternative, and is taken only if both are stand-ins. The confidence is that of the mask that is taken, of a
    mean the mean of what is known.

    `source` says which it was ("ar+sam: mean", "ar+sam: sam", "ar+sam: both"); `details` holds the overlap of the masks
    (iou_masks), the overlap of each one's rectangle with the box (iou_<source>_box) and the details of each.
    """
    name = f"{first.source}+{second.source}"
    overlap = mask_iou(first.mask, second.mask)
    fits = [rectangle_iou(mask_to_box(e.mask), box) for e in (first, second)]
    details = {**_parts(first, second), "iou_masks": overlap}
    details |= {f"iou_{e.source}_box": fit for e, fit in zip((first, second), fits, strict=True)}
    exact = first.box or second.box
    found = not any(_fallback(e) for e in (first, second))
    if found and overlap >= agreement and not both:
        probability = (_probability(first) + _probability(second)) / 2
        mask = (probability > 0.5) | (first.mask & second.mask)
        said = [e.confidence for e in (first, second) if e.confidence is not None]
        confidence = sum(said) / len(said) if said else None
        return MaskEstimate(mask, f"{name}: mean", probability, exact, details, confidence=confidence)
    better, other = first, second
    if (bool(_fallback(second)), -fits[1]) < (bool(_fallback(first)), -fits[0]):
        better, other = second, first
    details |= _fallback(better)
    if found and both:
        how, alternatives = "both", (other.mask,)
    else:
        how, alternatives = better.source, ()
    return MaskEstimate(
        better.mask, f"{name}: {how}", better.probability, exact, details, alternatives, better.confidence
    )


def _probability(estimate: MaskEstimate) -> np.ndarray:
    if estimate.probability is not None:
        return estimate.probability
    return np.where(estimate.mask, np.float32(_SURE), np.float32(1 - _SURE))


def _parts(*estimates: MaskEstimate) -> dict[str, float | str]:
    return {f"{e.source}.{key}": value for e in estimates for key, value in e.details.items()}


def _fallback(taken: MaskEstimate) -> dict[str, float | str]:
    """Whose mask is a stand-in is one, too."""
    return {"fallback": taken.details["fallback"]} if "fallback" in taken.details else {}
