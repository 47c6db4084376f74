import pytest
import torch

from msdeaot_tracker.config import MemoryConfig
from msdeaot_tracker.memory import HeldFrame, Memory, evict_oldest, evict_second_oldest
from msdeaot_tracker.types import LayerTokens


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


def test_tokens_are_stored_once():
    memory = filled(40, long_term_gap=1, long_term_max=6)
    joined = memory.view().long_term[0].key
    storages = {held[0].key.untyped_storage().data_ptr() for held in memory._long_term}
    assert storages == {joined.untyped_storage().data_ptr()}
