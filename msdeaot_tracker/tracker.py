"""One video: the model, what the video's objects remember, and the frames in order."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from .boxes import Boxes, drop_strays
from .config import Preset
from .device import pick_precision
from .geometry import mask_iou, mask_to_box
from .groups import ObjectGroup, Snapshot, Video
from .images import ImageLike
from .initializers import DEFAULT_INITIALIZER, BoxRefiner, Initializer, make_initializer
from .look import Look, NotFiniteError
from .memory import Memory
from .models import MSDeAOT
from .parts import LabelParts
from .readout import alternative_labels, paint
from .targets import Checked, Target, check_image, check_targets, estimate_masks, taking_points, warn_of_hidden
from .types import FrameResult, InputError, MaskEstimate, Propagation, TrackerError
from .views import Scenery, why_too_small, why_unseen

logger = logging.getLogger(__name__)


class Tracker:
    """Tracks any number of objects through one video, frame by frame; the model may be shared between trackers.

    Images are uint8 [H, W, 3] RGB of one size, or what `images.as_rgb` makes them of; boxes and masks are in their
    pixels, wherever and at whatever size the network looks. A call that raises has changed nothing: the next one goes
    on from before it.

    >>> tracker = Tracker(load_model())
    >>> first = tracker.initialize(image, {1: box})
    >>> before = tracker.snapshot()
    >>> second = tracker.track(image, {2: Points(foreground=[(15, 50)])})  # adds an object
    >>> second.sources
    {1: 'tracked', 2: 'prompted'}
    >>> tracker.restore(before)  # as if that had not been
    >>> sorted(tracker.estimate(image, {2: (4, 40, 20, 20)})), tracker.object_ids
    ([2], (1,))
    >>> tracker.remove(1)
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
        device, named = next(model.parameters()).device, isinstance(initializer, str)
        self._initializer = make_initializer(initializer, device=device) if named else initializer
        self._refiner = box_refiner
        self._video: Video | None = None
        self._precision = pick_precision(self._preset.tracker.precision, device)
        self._own_precision = partial(torch.autocast, device.type, enabled=False)  # whatever the caller's is
        self._overflowed = False  # on a frame of this video
        logger.debug("%s computes in %s on %s", self._preset.name, self.precision, device)

    def another(self) -> Tracker:
        """One for another video, with the same model, initializer and settings."""
        other = copy.copy(self)
        other._video, other._overflowed = None, False
        return other

    @property
    def precision(self) -> str:
        """In which the network computes: float32, bfloat16 or float16."""
        return self._precision

    def check_takes_points(self) -> None:
        """InputError: the initializer takes boxes alone."""
        taking_points(self._initializer)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return () if self._video is None else self._video.object_ids

    @property
    def memory_tokens(self) -> int:
        """Tokens held in long-term memory, over all groups and layers."""
        return sum(sum(group.memory.token_counts) for group in self._groups)

    @property
    def _groups(self) -> list[ObjectGroup]:
        return [] if self._video is None else self._video.groups

    def initialize(self, image: ImageLike, targets: Mapping[int, Target] | Target) -> FrameResult:
        """Start a video (and forget any other): targets by object id >= 1, boxes (x, y, w, h), masks [H, W] or Points.

        A target by itself is that of object 1. InputError: no target; a bad id, box, mask, point or image; points for
        an initializer that takes boxes alone.
        """
        if not isinstance(targets, Mapping):
            targets = {1: targets}
        if not targets:
            raise InputError("initialize needs at least one target")
        image = check_image(image, None)
        checked = check_targets(targets, *image.shape[:2])
        self._overflowed = False
        scenery = Scenery(image.shape[:2], self._preset.tracker, self._preset.model.align_corners)
        return self._step(Video(scenery, Boxes(self._preset.tracker, self._refiner)), image, checked)

    def track(self, image: ImageLike, targets: Mapping[int, Target] | None = None) -> FrameResult:
        """The next frame. Targets add objects, or re-initialize those of the same id, on this frame.

        Points for an object that is tracked correct the mask that the tracker finds of it here.

        InputError: as for `initialize`, or an image of another size. TrackerError: before `initialize`.
        """
        if self._video is None:
            raise TrackerError("track was called before initialize")
        size = self._video.scenery.frame
        image = check_image(image, size)
        video = self._video.copy()
        video.frame_index += 1
        return self._step(video, image, check_targets(targets or {}, *size))

    @torch.inference_mode()
    def estimate(self, image: ImageLike, targets: Mapping[int, Target] | Target) -> dict[int, MaskEstimate]:
        """The masks, by object id, that tracking from these targets would begin with; nothing is remembered of them.

        Targets as for `initialize`, on any frame: for looking at clicks before they count. InputError as there.
        """
        image = check_image(image, None)
        named = targets if isinstance(targets, Mapping) else {1: targets}
        checked = check_targets(named, *image.shape[:2])
        with self._own_precision():
            return estimate_masks(self._initializer, image, checked, np.zeros(image.shape[:2], np.int32))

    def snapshot(self) -> Snapshot:
        """All that is known of the video after the last frame, to go on from there again with `restore`.

        It takes no time; the memory's tensors stay as long as the snapshot does. TrackerError: before `initialize`.
        """
        if self._video is None:
            raise TrackerError("snapshot was called before initialize")
        return Snapshot(self._video)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from after the frame of the snapshot; it may be restored again, and by trackers of the same model."""
        self._video = snapshot.video

    def remove(self, object_ids: int | Iterable[int]) -> None:
        """Stop tracking this object or these; their ids may be used again.

        InputError: one of them is not tracked; then none is removed.
        """
        leaving = {object_ids} if isinstance(object_ids, int | np.integer) else set(object_ids)
        unknown = leaving - set(self.object_ids)
        if unknown:
            raise InputError(f"object {min(unknown)} is not tracked; tracked are: {self.object_ids}")
        if leaving:
            video = self._video.copy()
            video.remove(leaving)
            self._video = video

    @torch.inference_mode()
    def _step(self, video: Video, image: np.ndarray, targets: Mapping[int, Checked]) -> FrameResult:
        """One frame of `video`, a copy of the state; what is not finite in half precision is computed in float32."""
        try:
            with self._own_precision():
                return self._compute(video.copy(), image, targets, self._precision)
        except NotFiniteError:
            if self._precision == "float32":
                raise
        if not self._overflowed:
            logger.warning(
                "frame %d is not finite in %s and is computed again in float32, as are others of this video like it; "
                "tracker.precision=float32 spares the attempts",
                video.frame_index,
                self.precision,
            )
            self._overflowed = True
        with self._own_precision():
            return self._compute(video, image, targets, "float32")

    def _compute(
        self,
        video: Video,
        image: np.ndarray,
        targets: Mapping[int, Checked],
        precision: str,
    ) -> FrameResult:
        """The frame in one precision; `video` becomes the tracker's state at the very end."""
        look = Look(self.model, self._preset, image, len({*video.object_ids, *targets}), precision)
        propagations = {group: look.propagate(group.view, group.memory.view()) for group in video.groups}
        answers = [look.answer(*pair) for pair in propagations.items()]
        labels, scores, wider = look.read(answers)
        given = estimate_masks(self._initializer, image, targets, labels)
        estimates = given | self._refine(image, labels, [i for i in scores if i not in given], video.frame_index)
        paint(labels, {i: estimate.mask for i, estimate in estimates.items()})
        warn_of_hidden(labels, given, [i for i, score in scores.items() if score > 0])
        looked = {i: group.view for group in video.groups for i in group.object_ids}
        video.admit({i: mask_to_box(estimate.mask) for i, estimate in given.items()}, self._new_group)
        usual = {i: video.expected(i) for i in video.object_ids if i in video.sightings and i not in given}
        parts = LabelParts(labels)
        drop_strays(parts, {i: box for i, box in usual.items() if i not in estimates}, self._preset.tracker)
        boxes = video.boxes.read(image, parts, video.object_ids, targets, usual, wider)
        sure = {i: 1.0 if estimate.confidence is None else estimate.confidence for i, estimate in given.items()}
        scores = {i: s if boxes[i] else 0.0 for i, s in (scores | sure).items()}
        video.note(boxes, {i: score for i, score in scores.items() if i not in given})
        noted = scores | dict.fromkeys(given, 1.0)  # where an object was given, there it is
        well_seen = video.well_seen(boxes, noted, labels, given, self._preset.memory)
        for new, old in video.part().items():
            propagations[new] = propagations.get(old)
        for group in video.groups:
            self._remember(look, group, video, propagations.get(group), labels, given, well_seen)
        self._warn_of_small(video, labels, given)
        views = {i: group.view for group in video.groups for i in group.object_ids} | looked
        look.verify()
        self._video = video
        rectangles = {i: view.rectangle for i, view in views.items()}
        return FrameResult(video.frame_index, labels, boxes, scores, estimates, rectangles)

    def _remember(
        self,
        look: Look,
        group: ObjectGroup,
        video: Video,
        propagation: Propagation | None,
        labels: np.ndarray,
        given: Mapping[int, MaskEstimate],
        well_seen: Set[int],
    ) -> None:
        """Write the frame with its final labels into the group's memory, and let the group look at its next view.

        well_seen: the objects for whose sake the frame may be remembered for long, if all of the group are among them.
        As a reference where targets were given. A reference reads itself: what was propagated to it does not know the
        new masks (PARITY 11). So does a frame after which the view changes in more than its place: the short-term read
        of the next one needs it at that one's scale.
        """
        view, lost = video.next_view(group), video.lost(group)
        labels = np.where(np.isin(labels, lost), 0, labels) if lost else labels
        reference = any(i in given for i in group.object_ids)
        scaled = not view.is_moved(group.view)
        itself = reference or scaled or propagation is None
        mask = look.mask(group, view if itself else group.view, labels)
        entry = look.memorize_anew(view, mask) if itself else look.memorize(group.view, mask, propagation)
        if group.is_renumbered:
            group.memory, group.is_renumbered = self._new_memory(), False
            look.recall(group, group.memory)
        sure = set(group.object_ids) <= well_seen
        group.memory.write(video.frame_index, entry, reference=reference, anew=scaled, sure=sure, mask=mask)
        group.view = view
        if reference:
            self._hold_reference(look, group, video, labels, given)

    def _hold_reference(
        self, look: Look, group: ObjectGroup, video: Video, labels: np.ndarray, given: Mapping[int, MaskEstimate]
    ) -> None:
        """What else is remembered of a frame on which objects were given: other views of it, and other masks."""
        limit, frame_index = self._preset.memory.long_term_max, video.frame_index
        group.keep(look.reference(frame_index, group.view, labels), limit)
        wider = video.wider(group) if group.view != video.scenery.full else None
        if wider is not None:
            mask = look.mask(group, wider, labels)
            group.memory.write_reference(frame_index, look.memorize_anew(wider, mask), mask=mask)
            group.keep(look.reference(frame_index, wider, labels, again=True), limit)
        for others in alternative_labels(labels, given):
            mask = look.mask(group, group.view, others)
            group.memory.write_reference(frame_index, look.memorize_anew(group.view, mask), mask=mask)

    def _refine(
        self, image: np.ndarray, labels: np.ndarray, object_ids: Iterable[int], frame_index: int
    ) -> dict[int, MaskEstimate]:
        """Every so many frames the initializer is asked again; its mask counts where it confirms the propagated one."""
        every = self._preset.tracker.refine_every
        if every is None or frame_index % every:
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

    def _new_group(self) -> ObjectGroup:
        capacity = min(self._preset.tracker.objects_per_memory, self._preset.model.objects)
        return ObjectGroup(self._new_memory(), capacity)

    def _new_memory(self) -> Memory:
        return Memory(self._preset.memory, self.model.memory_strides)

    def _warn_of_small(self, video: Video, labels: np.ndarray, object_ids: Iterable[int]) -> None:
        """Of objects that were given on this frame, with these labels."""
        closer = "look closer with --set tracker.view=auto" if self._preset.tracker.view == "full" else ""
        remedy = closer or "start on a frame where it is larger, or on larger frames"
        for group in video.groups:
            for object_id in set(object_ids) & set(group.object_ids):
                box = video.sightings[object_id].box
                reason = why_too_small(box, group.view) or why_unseen(labels == object_id, group.view)
                if reason is not None:
                    logger.warning("object %d is %s; %s", object_id, reason, remedy)
