"""One frame through the network: encoded once for each view in which it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .config import Preset
from .device import explain_out_of_memory
from .groups import ObjectGroup
from .memory import Entry
from .models import MSDeAOT
from .readout import Answer
from .types import Features, MemoryView, Propagation, TrackerError
from .views import View


class NotFiniteError(TrackerError):
    """What the network makes of a frame is NaN or Inf somewhere."""


class Look:
    """The model's verbs on one frame, uint8 [H, W, 3], on the model's device, in float32, bfloat16 or float16.

    In half precision convolutions and matrix products are computed in it, by torch.autocast. What is between them is in
    the precision of its input on a CPU, the softmax of attention and the norms among it, and in float32 on CUDA;
    depth-wise convolutions are in float32 on a CPU (models.depthwise). Logits leave the network as float32.

    TrackerError: the device's memory does not suffice. NotFiniteError: what comes out, or would be remembered, is not
    finite.
    """

    def __init__(self, model: MSDeAOT, preset: Preset, image: np.ndarray, object_ids: Sequence[int], precision: str):
        self._model, self._preset, self._image, self._precision = model, preset, image, precision
        self._objects = len(object_ids)
        self._device = next(model.parameters()).device
        self._features: dict[View, Features] = {}

    def propagate(self, view: View, recall: MemoryView | tuple[Tensor, ...]) -> Propagation:
        """From memory, or, of a reference frame, from its own identity."""
        if isinstance(recall, MemoryView) and self._precision == "float32":
            recall = recall.float()  # of frames in half precision
        with self._on_device(view):
            propagation = self._model.propagate(self._encoded(view), recall)
        self._check(propagation.output)
        return propagation

    def answer(self, group: ObjectGroup, propagation: Propagation) -> Answer:
        """Where the group's objects are, in the pixels of the image."""
        with self._on_device(group.view):
            logits = self._model.decode(propagation, self._encoded(group.view))[:, group.channels].float()
            self._check(logits)
            return Answer(group.object_ids, group.view, group.view.logits(logits))

    def memorize(self, group: ObjectGroup, view: View, labels: np.ndarray, propagation: Propagation) -> Entry:
        """What the group remembers of the frame with these labels, int32 [H, W]; it was propagated in `view`."""
        with self._on_device(view):
            return self._checked(self._model.memorize(propagation, self._identify(group, view, labels)))

    def memorize_anew(self, group: ObjectGroup, view: View, labels: np.ndarray) -> Entry:
        """The same of a frame that reads itself, as a reference does."""
        with self._on_device(view):
            identity = self._identify(group, view, labels)
        propagation = self.propagate(view, identity)
        with self._on_device(view):
            return self._checked(self._model.memorize(propagation, identity))

    def _identify(self, group: ObjectGroup, view: View, labels: np.ndarray) -> tuple[Tensor, ...]:
        small = view.labels(labels, self._device)
        return self._model.identify(group.one_hot(small, self._preset.model.objects + 1))

    def _encoded(self, view: View) -> Features:
        if view not in self._features:
            self._features[view] = self._model.encode(view.image(self._image).to(self._device))
        return self._features[view]

    def _checked(self, entry: Entry) -> Entry:
        self._check(*(tensor for tokens in entry for tensor in tokens.tensors))
        return entry

    def _check(self, *values: Tensor) -> None:
        if not torch.stack([torch.isfinite(each).all() for each in values]).all():
            raise NotFiniteError(
                "the network's answer to this frame is not finite (NaN or Inf); the frame is not remembered"
            )

    @contextmanager
    def _on_device(self, view: View) -> Iterator[None]:
        """Around the network: its precision, and what to do when its memory does not suffice."""
        rows, columns = view.size
        what = f"tracking {self._objects} objects at {columns}x{rows} pixels"
        remedy = "make tracker.long_edge or memory.long_term_max smaller, or use another device"
        half = None if self._precision == "float32" else getattr(torch, self._precision)
        with explain_out_of_memory(what, remedy), torch.autocast(self._device.type, half, enabled=half is not None):
            yield
