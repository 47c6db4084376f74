"""One frame through the network: encoded once for each view in which it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .config import Preset
from .dense_readout import read_at_once
from .device import explain_out_of_memory, fetch, to_device
from .groups import ObjectGroup, Reference
from .memory import Entry, Memory
from .models import MSDeAOT
from .parts import Runs, find_runs
from .readout import Answer, Reading, read_labels
from .types import Features, MapSize, MemoryView, Propagation, TrackerError
from .views import View


class NotFiniteError(TrackerError):
    """What the network makes of a frame is NaN or Inf somewhere."""


class Look:
    """The model's verbs on one frame, uint8 [H, W, 3], on the model's device, in float32, bfloat16 or float16.

    In half precision convolutions and matrix products are computed in it, by torch.autocast. What is between them is in
    the precision of its input on a CPU, the softmax of attention and the norms among it, and in float32 on CUDA.
    Logits leave the network as float32.

    TrackerError: the device's memory does not suffice. Whether what comes out, and would be remembered, is finite,
    `verify` says: once for many, since it waits for the device.
    """

    def __init__(self, model: MSDeAOT, preset: Preset, image: np.ndarray, objects: int, precision: str):
        """objects: how many are tracked, for messages."""
        self._model, self._preset, self._image, self._precision = model, preset, image, precision
        self._objects = objects
        self._device = next(model.parameters()).device
        self._like = torch.empty(0, dtype=getattr(torch, precision), device=self._device)
        self._features: dict[View, Features] = {}
        self._runs: dict[View, tuple[np.ndarray, Runs]] = {}  # of these labels, in the view
        self._sums: list[Tensor] = []  # of what is to be finite

    def propagate(self, view: View, memory: MemoryView) -> Propagation:
        if self._precision == "float32":
            memory = memory.float()  # of frames in half precision
        with self._on_device(view.size):
            propagation = self._model.propagate(self._encoded(view), memory)
            self._check(propagation.output)
        return propagation

    def answer(self, group: ObjectGroup, propagation: Propagation) -> Answer:
        """Where the group's objects are."""
        with self._on_device(group.view.size):
            logits = self._model.decode(propagation, self._encoded(group.view))[0]
            # Each by its number: a list of them as index would make the CPU wait for the device.
            logits = torch.stack([logits[channel] for channel in group.channels]).float()
            self._check(logits)
            return Answer(group.object_ids, group.view, logits)

    def read(self, answers: Sequence[Answer]) -> Reading:
        """The answers of all groups as one label map. NotFiniteError: as for `verify`, with the same single wait."""
        (height, width), probability = self._image.shape[:2], self._preset.tracker.box_probability
        if self._device.type == "cpu" or not answers:
            self.verify()
            return read_labels(answers, height, width, probability)
        parts = *read_at_once(answers, height, width, probability), self._unverified()
        (labels, *wider), scores, sums = fetch(*parts)
        _require_finite(sums)
        object_ids = [object_id for answer in answers for object_id in answer.object_ids]
        by_id = dict(zip(object_ids, scores.tolist(), strict=True))
        return Reading(labels, by_id, wider[0] if wider else None)

    def mask(self, group: ObjectGroup, view: View, labels: np.ndarray) -> Tensor:
        """Where the group's objects are in a view by these labels, int32 [H, W]: one-hot [1, slots + 1, h, w]."""
        if view not in self._runs or self._runs[view][0] is not labels:
            self._runs[view] = labels, find_runs(view.labels(labels))
        return group.one_hot(self._runs[view][1], view.size, self._like)

    def memorize(self, view: View, mask: Tensor, propagation: Propagation) -> Entry:
        """What is remembered of the frame with this mask; it was propagated in `view`."""
        with self._on_device(view.size):
            return self._checked(self._model.memorize(propagation, self._model.identify(mask)))

    def memorize_anew(self, view: View, mask: Tensor) -> Entry:
        """The same of a frame that reads itself, as a reference does."""
        with self._on_device(view.size):
            return self._read_itself(self._encoded(view), mask)

    def reference(self, frame_index: int, view: View, labels: np.ndarray, *, again: bool = False) -> Reference:
        """The frame, to be read again by `recall`; again: it was already, in another view."""
        return Reference(frame_index, view.image(self._image), view.labels(labels), again)

    def recall(self, group: ObjectGroup, memory: Memory) -> None:
        """Write the group's references into a new memory, under the slots that its objects have now."""
        for frame_index, picture, labels, again in group.references:
            mask = group.one_hot(find_runs(labels), labels.shape, self._like)
            with self._on_device(labels.shape):
                entry = self._read_itself(self._model.encode(to_device(picture, self._device)), mask)
            if again:
                memory.write_reference(frame_index, entry, mask=mask)
            else:
                memory.write(frame_index, entry, reference=True, anew=True, mask=mask)

    def _read_itself(self, features: Features, mask: Tensor) -> Entry:
        identity = self._model.identify(mask)
        propagation = self._model.propagate(features, identity)
        self._check(propagation.output)
        return self._checked(self._model.memorize(propagation, identity))

    def _encoded(self, view: View) -> Features:
        if view not in self._features:
            self._features[view] = self._model.encode(to_device(view.image(self._image), self._device))
        return self._features[view]

    def _checked(self, entry: Entry) -> Entry:
        self._check(*(tensor for tokens in entry for tensor in tokens.tensors))
        return entry

    def verify(self) -> None:
        """NotFiniteError: something that was computed since the last call is not finite. Waits for the device."""
        if self._sums:
            _require_finite(*fetch(self._unverified()))

    def _unverified(self) -> Tensor:
        """The sums that nobody has looked at yet, [n]; they count as looked at from here on."""
        sums, self._sums = self._sums, []
        return torch.stack(sums)

    def _check(self, *values: Tensor) -> None:
        """To be verified later. A sum keeps NaN and Inf, and is one pass."""
        self._sums += [each.sum(dtype=torch.float32) for each in values]

    @contextmanager
    def _on_device(self, size: MapSize) -> Iterator[None]:
        """Around the network: its precision, and what to do when its memory does not suffice."""
        rows, columns = size
        what = f"tracking {self._objects} objects at {columns}x{rows} pixels"
        remedy = "make tracker.long_edge or memory.long_term_max smaller, or use another device"
        half = None if self._precision == "float32" else getattr(torch, self._precision)
        with explain_out_of_memory(what, remedy), torch.autocast(self._device.type, half, enabled=half is not None):
            yield


def _require_finite(sums: np.ndarray) -> None:
    if not np.isfinite(sums).all():
        raise NotFiniteError("the network's answer to this frame is not finite (NaN or Inf): it is left out")
