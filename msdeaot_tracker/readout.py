"""From what the network says of groups of objects, each in a view of its own, to one label map of the frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .geometry import merge_groups
from .types import MaskEstimate, Region
from .views import View


@dataclass(frozen=True, eq=False)
class Answer:
    """logits: float32 [K + 1, ...] on the pixels `inside` the view, background first, then the objects."""

    object_ids: tuple[int, ...]
    view: View
    logits: Tensor


def read_labels(answers: Sequence[Answer], height: int, width: int) -> tuple[np.ndarray, dict[int, float]]:
    """-> object ids, int32 [H, W], and by object id the mean probability of its pixels (0.0: it has none).

    Where views overlap, their groups are merged; nothing is an object where its group's view does not reach.
    """
    labels = np.zeros((height, width), np.int32)
    scores: dict[int, float] = {}
    for together in _overlapping(answers):
        region = _around([answer.view.inside for answer in together])
        merged = together[0].logits
        if len(together) > 1:
            merged = merge_groups([_spread(answer.logits.softmax(dim=0), answer, region) for answer in together])
        highest, channel = merged.max(dim=0)
        ids = [0, *(object_id for answer in together for object_id in answer.object_ids)]
        found = channel > 0
        total, owners = merged.new_zeros(len(ids)), channel[found]
        sure = 1 / (merged[:, found] - highest[found]).exp().sum(dim=0)  # of softmax, where it is asked for
        sums = total.index_add(0, owners, sure).tolist()
        counts = total.index_add(0, owners, torch.ones_like(sure)).tolist()
        scores |= {i: s / n if n else 0.0 for i, s, n in zip(ids[1:], sums[1:], counts[1:], strict=True)}
        # Regions may overlap where views do not: of another's pixels nothing is taken back.
        labels[region][found.cpu().numpy()] = np.array(ids, np.int32)[owners.cpu().numpy()]
    return labels, scores


def outlines(answers: Sequence[Answer], labels: np.ndarray, probability: float) -> np.ndarray | None:
    """int32 [H, W]: objects with the pixels around them that the network is less sure of; None: these are `labels`.

    probability: of an object's pixel beside the background's, from which on it is one; 0.5: that of labels.
    """
    if probability == 0.5:
        return None
    less = math.log((1 - probability) / probability)  # of the background's logit
    lowered = [replace(a, logits=torch.cat([a.logits[:1] - less, a.logits[1:]])) for a in answers]
    return read_labels(lowered, *labels.shape)[0]


def paint(labels: np.ndarray, masks: Mapping[int, np.ndarray]) -> None:
    """Put these masks over the label map, in place of what it has of the same objects (PARITY 22)."""
    if masks:
        labels[np.isin(labels, list(masks))] = 0
    for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):  # small objects stay on top
        labels[masks[object_id]] = object_id


def alternative_labels(labels: np.ndarray, given: Mapping[int, MaskEstimate]) -> Iterator[np.ndarray]:
    """The label map with the first alternative of each object that has one, with the second, and so on."""
    for index in range(max((len(estimate.alternatives) for estimate in given.values()), default=0)):
        others = labels.copy()
        paint(others, {i: e.alternatives[index] for i, e in given.items() if index < len(e.alternatives)})
        yield others


def _overlapping(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Answers whose views overlap, or are joined by others that do, in one list each."""
    clusters: list[list[Answer]] = []
    for answer in answers:
        near = [c for c in clusters if any(_overlap(answer.view.inside, other.view.inside) for other in c)]
        joined = [*(other for cluster in near for other in cluster), answer]
        clusters = [*(c for c in clusters if c not in near), joined]
    return clusters


def _overlap(one: Region, other: Region) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _around(regions: Sequence[Region]) -> Region:
    rows, columns = (
        slice(min(region[axis].start for region in regions), max(region[axis].stop for region in regions))
        for axis in (0, 1)
    )
    return rows, columns


def _spread(probability: Tensor, answer: Answer, region: Region) -> Tensor:
    """Probabilities on a view's pixels -> on those of a region around it, all background where the view is not."""
    (top, bottom), (left, right) = (
        (inside.start - whole.start, whole.stop - inside.stop)
        for inside, whole in zip(answer.view.inside, region, strict=True)
    )
    if not any((top, bottom, left, right)):
        return probability
    spread = F.pad(probability, (left, right, top, bottom))
    spread[0] = F.pad(probability[0], (left, right, top, bottom), value=1.0)
    return spread
