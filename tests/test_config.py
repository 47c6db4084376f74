import pytest

from msdeaot_tracker import PRESETS, InputError, override
from msdeaot_tracker.config import find_preset
from msdeaot_tracker.training.config import LoopConfig
from msdeaot_tracker.training.schedule import Schedule


def test_override_changes_one_setting_and_leaves_the_preset_alone():
    preset = PRESETS["msdeaot-r50"]
    changed = override(preset, "memory.long_term_max=3", "tracker.long_edge=512", "memory.policy=second_oldest")
    assert (changed.memory.long_term_max, changed.tracker.long_edge) == (3, 512)
    assert changed.memory.policy == "second_oldest"
    assert changed.model == preset.model and PRESETS["msdeaot-r50"].memory.long_term_max != 3


def test_override_accepts_none_where_a_setting_may_be_none():
    assert override(PRESETS["msdeaot-r50"], "memory.long_term_max=None").memory.long_term_max is None


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("memory.long_term_max", "key=value"),
        ("memory.longterm=3", "longterm"),
        ("nothing.there=3", "nothing"),
        ("memory.long_term_max=many", "many"),
        ("memory.long_term_gap=2.5", "2.5"),
        ("memory.policy=newest", "newest"),
        ("tracker.precision=half", "half"),
        ("tracker.long_edge.x=1", "long_edge"),
        ("name=other", "name"),
        ("memory.other_stride=0", "other_stride=0: a number of rows and columns"),
        ("memory.sure_score=1.5", "sure_score=1.5: a score from 0 to 1"),
        ("memory.sure_change=0.5", "sure_change=0.5: times the usual area"),
        ("memory.sure_fill=-1", "sure_fill=-1: a share from 0 to 1"),
        ("memory.long_term_gap=0", "memory.long_term_gap=0: a number of frames"),
        ("tracker.window.resize=0", "tracker.window.resize=0: a number from 1"),
        ("tracker.window.trust=5", "tracker.window.trust=5: a number from 0 to 1"),
        ("tracker.window.edge=0", "tracker.window.edge=0: a number of pixels from 16"),
    ],
)
def test_override_refuses_and_names_what_is_wrong(setting, named):
    with pytest.raises(InputError, match=named):
        override(PRESETS["msdeaot-r50"], setting)


def test_an_unknown_preset_is_an_error_that_lists_the_presets():
    with pytest.raises(InputError, match=r"deaot-xxl.*msdeaot-swinb"):
        find_preset("deaot-xxl")


def test_a_setting_may_be_a_tuple_of_any_length_or_of_tuples():
    schedule = override(Schedule(), "lengths=((0.0, 3), (0.5, 4), (0.9, 6))")
    assert schedule.length_at(0.7) == 4
    assert override(LoopConfig(), "frozen=('stem', 'stage1')").frozen == ("stem", "stage1")


@pytest.mark.parametrize("lengths", ["3", "(0.0, 3)", "((0.0, 3, 4),)", "((0.0, 'three'),)", "((0.0, 2.5),)"])
def test_a_tuple_of_others_is_refused(lengths):
    with pytest.raises(InputError, match=r"expected tuple\[tuple\[float, int\], \.\.\.\]"):
        override(Schedule(), f"lengths={lengths}")
