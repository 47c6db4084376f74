"""One video: the model, what the video's objects remember, and the frames in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import MemoryConfig, Preset
from .geometry import clip_box, mask_to_box, merge_groups, network_size
from .initializers import Initializer, make_initializer
from .memory import Memory
from .models import MSDeAOT
from .types import Box, Features, FrameResult, InputError, Propagation, TrackerError

Target = Sequence[float] | np.ndarray  # a box (x, y, w, h) or a mask [H, W]


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

    def __init__(self, model: MSDeAOT, *, initializer: str | Initializer = "grabcut", preset: Preset | None = None):
        """`preset` replaces the model's own settings of memory and tracker; its model settings are not looked at."""
        self._model = model
        self._preset = preset if preset is not None else model.preset
        self._device = next(model.parameters()).device
        named = isinstance(initializer, str)
        self._initializer = make_initializer(initializer, device=self._device) if named else initializer
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
        _check_image(image, None)
        masks = self._target_masks(image, targets)
        self._groups, self._frame_index, self._image_size = [], 0, image.shape[:2]
        return self._step(image, masks)

    def track(self, image: np.ndarray, targets: Mapping[int, Target] | None = None) -> FrameResult:
        """The next frame. Targets add objects, or re-initialize those of the same id, on this frame.

        InputError: as for `initialize`, or an image of another size. TrackerError: before `initialize`.
        """
        if self._image_size is None:
            raise TrackerError("track was called before initialize")
        _check_image(image, self._image_size)
        masks = self._target_masks(image, targets or {})
        self._frame_index += 1
        return self._step(image, masks)

    def remove(self, object_ids: Iterable[int]) -> None:
        """Stop tracking these objects; InputError for one that is not tracked. Their ids may be used again."""
        for object_id in tuple(object_ids):
            group = next((g for g in self._groups if object_id in g.object_ids), None)
            if group is None:
                raise InputError(f"object {object_id} is not tracked; tracked are: {self.object_ids}")
            group.remove(object_id)
        self._groups = [group for group in self._groups if group.object_ids]

    @torch.inference_mode()
    def _step(self, image: np.ndarray, masks: Mapping[int, np.ndarray]) -> FrameResult:
        labels, scores = np.zeros(image.shape[:2], np.int32), {}
        if not self._groups and not masks:
            return self._result(labels, scores)
        with torch.autocast(self._device.type, enabled=self._preset.tracker.mixed_precision and self._on_cuda):
            features = self._model.encode(self._network_image(image))
            known = list(self._groups)
            propagations = [self._model.propagate(features, group.memory.view()) for group in known]
            if known:
                labels, scores = self._read(propagations, features, known)
            renewed = self._paint(labels, masks)
            scores.update(dict.fromkeys(masks, 1.0))
            self._remember(features, dict(zip(known, propagations, strict=True)), labels, renewed)
        return self._result(labels, scores)

    def _read(
        self, propagations: Sequence[Propagation], features: Features, groups: Sequence[ObjectGroup]
    ) -> tuple[np.ndarray, dict[int, float]]:
        """Decode every group at image size, merge them -> object ids [H, W] and mean probabilities by object id."""
        align = self._preset.model.align_corners
        logits = [
            F.interpolate(
                self._model.decode(propagation, features)[:, group.channels].float(),
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

    def _paint(self, labels: np.ndarray, masks: Mapping[int, np.ndarray]) -> set[ObjectGroup]:
        """Put the targets' masks over the predicted labels (PARITY 22) -> the groups that hold these targets."""
        labels[np.isin(labels, list(masks))] = 0
        for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):  # small objects stay on top
            labels[masks[object_id]] = object_id
        return {self._group_of(object_id) for object_id in masks}

    def _remember(
        self,
        features: Features,
        propagations: Mapping[ObjectGroup, Propagation],
        labels: np.ndarray,
        renewed: set[ObjectGroup],
    ) -> None:
        """Write the frame with its final labels into every group's memory; where targets were given, as a reference."""
        size = self._network_size
        on_device = torch.from_numpy(labels).to(self._device, torch.float32)
        small = F.interpolate(on_device[None, None], size, mode="nearest")[0, 0]
        for group in self._groups:
            identity = self._model.identify(group.one_hot(small, self._preset.model.objects + 1))
            reference = group in renewed
            # A reference frame reads itself: what was propagated to it does not know the new masks (PARITY 11).
            propagation = self._model.propagate(features, identity) if reference else propagations[group]
            group.memory.write(self._frame_index, self._model.memorize(propagation, identity), reference=reference)

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
        return Memory(config, self._model.memory_strides)

    def _target_masks(self, image: np.ndarray, targets: Mapping[int, Target]) -> dict[int, np.ndarray]:
        return {_check_id(i): self._target_mask(image, i, target) for i, target in targets.items()}

    def _target_mask(self, image: np.ndarray, object_id: int, target: Target) -> np.ndarray:
        height, width = image.shape[:2]
        if isinstance(target, np.ndarray) and target.ndim == 2:
            if target.shape != (height, width):
                raise InputError(f"object {object_id}: mask is {target.shape}, the image {(height, width)}")
            mask = target != 0
        else:
            mask = self._initializer(image, clip_box(target, height, width)).mask
        if not mask.any():
            raise InputError(f"object {object_id}: the mask is empty")
        return mask

    def _network_image(self, image: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> float32 [1, 3, h, w] in [0, 1] (cubic, so values may overshoot a little)."""
        rows, columns = self._network_size
        scaled = image.astype(np.float32) / 255
        if scaled.shape[:2] != (rows, columns):
            scaled = cv2.resize(scaled, (columns, rows), interpolation=cv2.INTER_CUBIC)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None].to(self._device)

    @property
    def _network_size(self) -> tuple[int, int]:
        settings = self._preset.tracker
        return network_size(
            *self._image_size,
            long_edge=settings.long_edge,
            short_edge=settings.short_edge,
            align_corners=self._preset.model.align_corners,
        )

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"

    def _result(self, labels: np.ndarray, scores: Mapping[int, float]) -> FrameResult:
        boxes: dict[int, Box | None] = {i: mask_to_box(labels == i) for i in self.object_ids}
        return FrameResult(self._frame_index, labels, boxes, {i: scores[i] if boxes[i] else 0.0 for i in boxes})


def _check_id(object_id: int) -> int:
    if isinstance(object_id, bool) or not isinstance(object_id, int | np.integer) or not 1 <= object_id < 2**24:
        raise InputError(f"an object id is a whole number from 1 to {2**24 - 1}, got {object_id!r}")
    return int(object_id)


def _check_image(image: np.ndarray, expected: tuple[int, int] | None) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image is uint8 [H, W, 3] RGB, got {found}")
    if 0 in image.shape:
        raise InputError(f"the image is empty: {image.shape}")
    if expected is not None and image.shape[:2] != expected:
        raise InputError(f"the image is {image.shape[:2]} (height, width), the video's first one {expected}")
