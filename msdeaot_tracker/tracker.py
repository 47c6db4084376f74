"""One video: the model, what the video's objects remember, and the frames in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import Boxes
from .config import MemoryConfig, Preset
from .device import explain_out_of_memory
from .geometry import mask_iou, mask_to_box, merge_groups, network_size
from .initializers import DEFAULT_INITIALIZER, BoxRefiner, Initializer, make_initializer
from .memory import Memory
from .models import MSDeAOT
from .targets import Target, check_image, check_targets, estimate_masks
from .types import Box, Features, FrameResult, InputError, MaskEstimate, Propagation, TrackerError


class ObjectGroup:
    """Up to `capacity` objects that share one memory. An object keeps its slot (identity channel) for life.

    The slot of a removed object is not used again: the memory still knows it under that identity.
    """

    def __init__(self, memory: Memory, capacity: int):
        self.memory = memory
        self._capacity = capacity
        self._slots: list[int | None] = []

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(i for i in self._slots if i is not None)

    @property
    def channels(self) -> list[int]:
        """Logit channels that mean something: background and the slots in use, in the order of `object_ids`."""
        return [0, *(slot for slot, object_id in enumerate(self._slots, start=1) if object_id is not None)]

    @property
    def is_full(self) -> bool:
        return len(self._slots) >= self._capacity

    def add(self, object_id: int) -> None:
        self._slots.append(object_id)

    def remove(self, object_id: int) -> None:
        self._slots[self._slots.index(object_id)] = None

    def one_hot(self, labels: Tensor, channels: int) -> Tensor:
        """Object ids [h, w] -> float32 [1, channels, h, w]; objects of other groups are background (PARITY 20)."""
        mask = torch.zeros(channels, *labels.shape, device=labels.device)
        for slot, object_id in enumerate(self._slots, start=1):
            if object_id is not None:
                mask[slot] = labels == object_id
        mask[0] = 1 - mask[1:].amax(dim=0)
        return mask[None]


class Tracker:
    """Tracks any number of objects through one video, frame by frame; the model may be shared between trackers.

    Images are uint8 [H, W, 3] RGB of one size; boxes and masks are in their pixels, whatever size the network works at.
    """

    def __init__(
        self,
        model: MSDeAOT,
        *,
        initializer: str | Initializer = DEFAULT_INITIALIZER,
        preset: Preset | None = None,
        box_refiner: BoxRefiner | None = None,
    ):
        """Everything but the model can be left as it is.

        preset:      replaces the model's own settings of memory and tracker; its model settings are not looked at.
        box_refiner: gives the boxes of tracked frames, in place of the masks' rectangles (Alpha-Refine is one).
        """
        self.model = model
        self._preset = preset if preset is not None else model.preset
        self._device = next(model.parameters()).device
        named = isinstance(initializer, str)
        self._initializer = make_initializer(initializer, device=self._device) if named else initializer
        self._boxes = Boxes(self._preset.tracker, box_refiner)
        self._groups: list[ObjectGroup] = []
        self._image_size: tuple[int, int] | None = None
        self._frame_index = 0

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(i for group in self._groups for i in group.object_ids))

    @property
    def memory_tokens(self) -> int:
        """Tokens held in long-term memory, over all groups and layers."""
        return sum(sum(group.memory.token_counts) for group in self._groups)

    def initialize(self, image: np.ndarray, targets: Mapping[int, Target]) -> FrameResult:
        """Start a video (and forget any other): targets by object id >= 1, boxes (x, y, w, h) or masks [H, W].

        InputError: no target, a bad id, box, mask or image.
        """
        if not targets:
            raise InputError("initialize needs at least one target")
        check_image(image, None)
        checked = check_targets(targets, *image.shape[:2])
        given = estimate_masks(self._initializer, image, checked)
        self._groups, self._frame_index, self._image_size = [], 0, image.shape[:2]
        self._boxes.clear()
        return self._step(image, checked, given)

    def track(self, image: np.ndarray, targets: Mapping[int, Target] | None = None) -> FrameResult:
        """The next frame. Targets add objects, or re-initialize those of the same id, on this frame.

        InputError: as for `initialize`, or an image of another size. TrackerError: before `initialize`.
        """
        if self._image_size is None:
            raise TrackerError("track was called before initialize")
        check_image(image, self._image_size)
        checked = check_targets(targets or {}, *self._image_size)
        given = estimate_masks(self._initializer, image, checked)
        self._frame_index += 1
        return self._step(image, checked, given)

    def remove(self, object_ids: Iterable[int]) -> None:
        """Stop tracking these objects; InputError for one that is not tracked. Their ids may be used again."""
        for object_id in tuple(object_ids):
            group = next((g for g in self._groups if object_id in g.object_ids), None)
            if group is None:
                raise InputError(f"object {object_id} is not tracked; tracked are: {self.object_ids}")
            group.remove(object_id)
            self._boxes.forget(object_id)
        self._groups = [group for group in self._groups if group.object_ids]

    @torch.inference_mode()
    def _step(
        self, image: np.ndarray, targets: Mapping[int, Box | np.ndarray], given: Mapping[int, MaskEstimate]
    ) -> FrameResult:
        """`given`: the masks of the targets."""
        labels, scores, estimates = np.zeros(image.shape[:2], np.int32), {}, dict(given)
        if not self._groups and not given:
            return FrameResult(self._frame_index, labels, {}, {})
        known = list(self._groups)
        with self._on_device():
            features = self.model.encode(self._network_image(image))
            propagations = [self.model.propagate(features, group.memory.view()) for group in known]
            if known:
                labels, scores = self._read(propagations, features, known)
        estimates |= self._refine(image, labels, [i for i in scores if i not in given])
        _paint(labels, {i: estimate.mask for i, estimate in estimates.items()})
        renewed = {self._group_of(object_id) for object_id in given}
        scores.update({i: 1.0 if e.confidence is None else e.confidence for i, e in given.items()})
        with self._on_device():
            self._remember(features, dict(zip(known, propagations, strict=True)), labels, renewed)
            for others in _alternative_labels(labels, given):
                self._remember_alternative(features, others, renewed)
        boxes = self._boxes.read(image, labels, self.object_ids, targets)
        scores = {i: scores[i] if boxes[i] else 0.0 for i in boxes}
        return FrameResult(self._frame_index, labels, boxes, scores, estimates)

    def _read(
        self, propagations: Sequence[Propagation], features: Features, groups: Sequence[ObjectGroup]
    ) -> tuple[np.ndarray, dict[int, float]]:
        """Decode every group at image size, merge them -> object ids [H, W] and mean probabilities by object id."""
        align = self._preset.model.align_corners
        logits = [
            F.interpolate(
                self.model.decode(propagation, features)[:, group.channels].float(),
                self._image_size,
                mode="bilinear",
                align_corners=align,
            )[0]
            for propagation, group in zip(propagations, groups, strict=True)
        ]
        merged = logits[0] if len(logits) == 1 else merge_groups([x.softmax(dim=0) for x in logits])
        probability, channel = merged.softmax(dim=0).max(dim=0)
        ids = [0, *(object_id for group in groups for object_id in group.object_ids)]
        total = torch.zeros(len(ids), device=merged.device)
        sums = total.index_add(0, channel.flatten(), probability.flatten()).tolist()
        counts = total.index_add(0, channel.flatten(), torch.ones_like(probability).flatten()).tolist()
        scores = {i: s / n if n else 0.0 for i, s, n in zip(ids[1:], sums[1:], counts[1:], strict=True)}
        return np.array(ids, np.int32)[channel.cpu().numpy()], scores

    def _refine(self, image: np.ndarray, labels: np.ndarray, object_ids: Sequence[int]) -> dict[int, MaskEstimate]:
        """Every so many frames the initializer is asked again; its mask counts where it confirms the propagated one."""
        every = self._preset.tracker.refine_every
        if every is None or self._frame_index % every:
            return {}
        confirmed = {}
        for object_id in object_ids:
            mask = labels == object_id
            box = mask_to_box(mask)
            if box is None:
                continue
            estimate = self._initializer(image, box)
            own = estimate.mask & (mask | (labels == 0))  # what belongs to other objects stays theirs
            if mask_iou(own, mask) >= self._preset.tracker.refine_agreement:
                confirmed[object_id] = replace(estimate, mask=own)
        return confirmed

    def _remember(
        self,
        features: Features,
        propagations: Mapping[ObjectGroup, Propagation],
        labels: np.ndarray,
        renewed: set[ObjectGroup],
    ) -> None:
        """Write the frame with its final labels into every group's memory; where targets were given, as a reference."""
        small = self._network_labels(labels)
        for group in self._groups:
            identity = self.model.identify(group.one_hot(small, self._preset.model.objects + 1))
            reference = group in renewed
            # A reference frame reads itself: what was propagated to it does not know the new masks (PARITY 11).
            propagation = self.model.propagate(features, identity) if reference else propagations[group]
            group.memory.write(self._frame_index, self.model.memorize(propagation, identity), reference=reference)

    def _remember_alternative(self, features: Features, labels: np.ndarray, groups: Iterable[ObjectGroup]) -> None:
        """The same frame once more, as a further reference with other masks."""
        small = self._network_labels(labels)
        for group in groups:
            identity = self.model.identify(group.one_hot(small, self._preset.model.objects + 1))
            entry = self.model.memorize(self.model.propagate(features, identity), identity)
            group.memory.write_reference(self._frame_index, entry)

    def _group_of(self, object_id: int) -> ObjectGroup:
        """The group that holds this object; a new object joins the first group with a free slot."""
        for group in self._groups:
            if object_id in group.object_ids:
                return group
        group = next((g for g in self._groups if not g.is_full), None)
        if group is None:
            capacity = min(self._preset.tracker.objects_per_memory, self._preset.model.objects)
            group = ObjectGroup(self._new_memory(self._preset.memory), capacity)
            self._groups.append(group)
        group.add(object_id)
        return group

    def _new_memory(self, config: MemoryConfig) -> Memory:
        return Memory(config, self.model.memory_strides)

    def _network_image(self, image: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> float32 [1, 3, h, w] in [0, 1] (cubic, so values may overshoot a little)."""
        rows, columns = self._network_size
        scaled = image.astype(np.float32) / 255
        if scaled.shape[:2] != (rows, columns):
            scaled = cv2.resize(scaled, (columns, rows), interpolation=cv2.INTER_CUBIC)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None].to(self._device)

    def _network_labels(self, labels: np.ndarray) -> Tensor:
        """int32 [H, W] -> float32 [h, w] on the device, the nearest pixel's id."""
        on_device = torch.from_numpy(labels).to(self._device, torch.float32)
        return F.interpolate(on_device[None, None], self._network_size, mode="nearest")[0, 0]

    @property
    def _network_size(self) -> tuple[int, int]:
        settings = self._preset.tracker
        return network_size(
            *self._image_size,
            long_edge=settings.long_edge,
            short_edge=settings.short_edge,
            align_corners=self._preset.model.align_corners,
        )

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Around the network: its precision, and what to do when its memory does not suffice."""
        rows, columns = self._network_size
        what = f"tracking {len(self.object_ids)} objects at {columns}x{rows} pixels"
        remedy = "make tracker.long_edge or memory.long_term_max smaller, or use another device"
        half = self._preset.tracker.mixed_precision and self._device.type == "cuda"
        with explain_out_of_memory(what, remedy), torch.autocast(self._device.type, enabled=half):
            yield


def _paint(labels: np.ndarray, masks: Mapping[int, np.ndarray]) -> None:
    """Put these masks over the label map, in place of what it has of the same objects (PARITY 22)."""
    labels[np.isin(labels, list(masks))] = 0
    for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):  # small objects stay on top
        labels[masks[object_id]] = object_id


def _alternative_labels(labels: np.ndarray, given: Mapping[int, MaskEstimate]) -> Iterator[np.ndarray]:
    """The label map with the first alternative of each object that has one, with the second, and so on."""
    for index in range(max((len(estimate.alternatives) for estimate in given.values()), default=0)):
        others = labels.copy()
        _paint(others, {i: e.alternatives[index] for i, e in given.items() if index < len(e.alternatives)})
        yield others
