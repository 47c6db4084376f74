import pytest
import torch

from msdeaot_tracker.config import MemoryConfig
from msdeaot_tracker.geometry import one_hot
from msdeaot_tracker.memory import HeldFrame, Memory, evict_oldest, evict_second_oldest
from msdeaot_tracker.types import InputError, LayerTokens


def entry(frame: int, size=(2, 3)) -> tuple[LayerTokens, ...]:
    """One layer whose every number is the frame's index."""
    n = size[0] * size[1]
    return (LayerTokens(*(torch.full((1, n, c), float(frame)) for c in (2, 4, 4)), size=size),)


def filled(frames: int, references=(0,), **settings) -> Memory:
    memory = Memory(MemoryConfig(**settings), strides=(1,))
    for t in range(frames):
        memory.write(t, entry(t), reference=t in references)
    return memory


def test_long_term_holds_the_reference_and_every_gap_th_frame():
    view = filled(12, long_term_gap=5, long_term_max=None).view()
    assert view.long_term_frames == (0, 5, 10)
    assert view.long_term[0].key[0, ::6, 0].tolist() == [0, 5, 10]


def test_without_a_gap_only_references_stay():
    assert filled(50, references=(0, 7), long_term_gap=None).view().long_term_frames == (0, 7)


def test_the_gap_counts_from_a_later_reference():
    assert filled(12, references=(0, 4), long_term_gap=5).view().long_term_frames == (0, 4, 9)


def test_a_frame_that_is_not_sure_leaves_its_turn_to_the_next():
    memory = Memory(MemoryConfig(long_term_gap=5, long_term_max=None), strides=(1,))
    for t in range(15):
        memory.write(t, entry(t), reference=t in (0, 2), sure=t not in (2, 7, 8))  # references are sure in any case
    view = memory.view()
    assert view.long_term_frames == (0, 2, 9, 14) and view.short_term_frame == 14


def test_bounded_memory_keeps_references_and_the_newest():
    view = filled(100, references=(0, 31), long_term_gap=3, long_term_max=4).view()
    assert view.long_term_frames[:2] == (0, 31)
    assert len(view.long_term_frames) == 4 and view.long_term_frames[-1] >= 97


def test_every_stored_tensor_agrees_with_the_frames_named():
    view = filled(40, references=(0, 9), long_term_gap=2, long_term_max=5).view()
    for tensor in view.long_term[0].tensors:
        assert tensor[0, ::6, 0].tolist() == list(view.long_term_frames)


def test_the_first_reference_stays_even_when_there_are_too_many():
    view = filled(20, references=range(20), long_term_max=3).view()
    assert view.long_term_frames == (0, 18, 19)
    assert filled(9, references=range(9), long_term_max=1).view().long_term_frames == (0,)


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_short_term_lag(lag):
    memory = Memory(MemoryConfig(short_term_lag=lag), strides=(1,))
    for t in range(7):
        memory.write(t, entry(t), reference=t == 0)
        assert memory.view().short_term_frame == max(0, t + 1 - lag)
        assert memory.view().short_term[0].value.unique().item() == max(0, t + 1 - lag)


def test_short_term_memory_begins_anew_with_a_reference():
    memory = Memory(MemoryConfig(short_term_lag=3), strides=(1,))
    seen = []
    for t in range(8):
        memory.write(t, entry(t), reference=t in (0, 4))
        seen.append(memory.view().short_term_frame)
    assert seen == [0, 0, 0, 1, 4, 4, 4, 5]


def test_eviction_policies():
    frames = [HeldFrame(0, True), HeldFrame(4, True), HeldFrame(8, False), HeldFrame(9, False)]
    assert evict_oldest(frames) == 2
    assert evict_second_oldest(frames) == 1
    assert evict_oldest(frames[:2]) == 1


def test_long_term_is_thinned_on_the_map_and_short_term_is_not():
    memory = Memory(MemoryConfig(), strides=(2,))
    rows = torch.arange(5.0)[:, None].expand(5, 7)
    columns = torch.arange(7.0).expand(5, 7)
    tokens = torch.stack([rows, columns], dim=-1).flatten(0, 1)[None]
    memory.write(0, (LayerTokens(tokens, tokens, tokens, size=(5, 7)),), reference=True)
    view = memory.view()
    assert view.long_term[0].key[0].tolist() == [[r, c] for r in (0, 2, 4) for c in (0, 2, 4, 6)]
    assert view.short_term[0].key.shape[1] == 35


def test_frames_that_are_no_references_may_be_thinned_further():
    memory = Memory(MemoryConfig(long_term_gap=1, other_stride=2), strides=(1, 2))
    cells = torch.arange(24.0).view(1, 24, 1)
    layer = LayerTokens(cells, cells, cells, size=(4, 6))
    memory.write(0, (layer, layer), reference=True)
    assert memory.token_counts == (24, 6)
    memory.write(1, (layer, layer))
    assert memory.token_counts == (24 + 6, 6 + 2)
    fine, coarse = (tokens.key[0, :, 0].tolist() for tokens in memory.view().long_term)
    assert fine[24:] == [0, 2, 4, 12, 14, 16] and coarse[6:] == [0, 4]
    memory.write_reference(1, (layer, layer))
    assert memory.token_counts == (24 + 6 + 24, 6 + 2 + 6)


def test_tokens_are_stored_once():
    memory = filled(40, long_term_gap=1, long_term_max=6)
    joined = memory.view().long_term[0].key
    storages = {held[0].key.untyped_storage().data_ptr() for held in memory.long_term._entries}
    assert storages == {joined.untyped_storage().data_ptr()}


class TestObjectMemory:
    """A map of two cells: the left one is background, the right one belongs to object 1 while it is visible."""

    @staticmethod
    def mask(visible: bool) -> torch.Tensor:
        labels = torch.tensor([[[0, 1 if visible else 0]]])
        return one_hot(labels, 2).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)

    @staticmethod
    def entry(direction: float) -> tuple[LayerTokens, ...]:
        """Keys and values that point at an angle, in degrees."""
        angle = torch.tensor(direction * torch.pi / 180)
        tokens = torch.stack([angle.cos(), angle.sin()]).expand(1, 2, 2)
        return (LayerTokens(tokens, tokens, size=(1, 2)),)

    def filled(self, directions, references=(0,), hidden=(), limit=3) -> Memory:
        memory = Memory(MemoryConfig(long_term_gap=1, long_term_max=limit, policy="per_object"), strides=(1,))
        for t, direction in enumerate(directions):
            memory.write(t, self.entry(direction), reference=t in references, mask=self.mask(t not in hidden))
        return memory

    def test_the_frame_that_resembles_the_new_one_least_leaves(self):
        memory = self.filled([0, 10, 80, 20])
        assert memory.long_term.frames_by_object == {0: (3, 1, 0), 1: (3, 1, 0), 2: ()}

    def test_an_object_keeps_its_own_frames(self):
        memory = self.filled([0, 10, 80, 20, 70], hidden=(3, 4))
        assert memory.long_term.frames_by_object[1] == (2, 1, 0)
        assert memory.long_term.frames_by_object[0] == (4, 3, 0)
        assert memory.view().long_term_frames == (0, 1, 2, 3, 4)

    def test_tokens_are_those_named(self):
        memory = self.filled([0, 10, 80, 20, 70], hidden=(3, 4))
        degrees = torch.rad2deg(torch.atan2(*memory.view().long_term[0].key[0].T.flip(0))).round().tolist()
        background, of_the_object = [70, 70, 20, 20, 0], [80, 10, 0]
        assert sorted(degrees) == sorted(background + of_the_object)
        assert memory.token_counts == (8,)

    def test_references_stay_at_the_end_and_memory_is_bounded(self):
        memory = self.filled(range(0, 90, 3), references=(0, 7), limit=4)
        assert memory.long_term.frames_by_object[1][-2:] == (0, 7)
        assert max(len(frames) for frames in memory.long_term.frames_by_object.values()) == 4
        references = self.filled(range(9), references=range(9), limit=3)
        assert references.long_term.frames_by_object[1] == (0, 7, 8)
        assert self.filled(range(9), references=range(9), limit=1).long_term.frames_by_object[1] == (0,)

    def test_tokens_are_stored_once(self):
        memory = self.filled(range(8), limit=4)
        joined = memory.view().long_term[0].key
        banks = memory.long_term._banks.values()
        storages = {own[0].key.untyped_storage().data_ptr() for bank in banks for _, own in bank}
        assert storages == {joined.untyped_storage().data_ptr()}

    @pytest.mark.parametrize("mask", [None, torch.zeros(2, 3, 16, 32)])
    def test_it_needs_the_masks_of_one_video(self, mask):
        memory = Memory(MemoryConfig(policy="per_object"), strides=(1,))
        with pytest.raises(InputError, match="per_object"):
            memory.write(0, self.entry(0), reference=True, mask=mask)
