"""The trainings of the report behind this package: its two phases, and the rows of its Table 2.

Facts and numbers of arXiv:2307.02508 (section 3 and Table 2), and of the public AOT recipe, whose settings it names its
own. What stands in neither is said in each recipe's `ours`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..config import find_preset
from ..data.datasets.catalogue import DATASETS
from ..data.mixing import MixConfig
from .config import TrainConfig
from .mixes import Mix
from .recipe_types import IMAGENET, Recipe
from .schedule import Schedule

_PHASE_1 = TrainConfig(
    steps=100_000,
    batch_size=16,
    workers=2,
    weight_decay=0.03,
    encoder_rate=0.1,
    frozen=("stem", "stage1"),
    save_every=1000,
    schedule=Schedule(
        learning_rate=4e-4,
        final_learning_rate=1e-5,
        warm_up=0.05,
        warm_up_from=1e-5,
        auxiliary=0.1,
        true_masks=1.0,
        lengths=((0.0, 5),),
    ),
    loss_stride=1,
    permute_background=True,
    freeze_identity=True,
)
_PHASE_2 = replace(
    _PHASE_1,
    steps=200_000,
    weight_decay=0.07,
    schedule=replace(_PHASE_1.schedule, learning_rate=2e-4, auxiliary=1.0, true_masks=0.5),
)
# Of the five sets that the report cites by numbers; its list of references is alphabetical, and the numbers fit these.
_STILLS = ("coco", "ecssd", "msra10k", "voc", "sbd")
_VIDEOS = ("visor", "youtube-vos", "lasot", "mose", "egotracks")
_AOT_GAPS = ("davis", "youtube-vos")  # datasets whose largest gaps are the AOT recipe's
# Of each row of Table 2 the model, and what it is trained on.
_TABLE_2 = {
    1: ("r50-deaot-l", ("visor", "mose")),
    2: ("r50-deaot-l", ("visor", "youtube-vos", "davis")),
    3: ("r50-deaot-l", ("visor", "youtube-vos", "davis", "mose")),
    4: ("r50-deaot-l", ("visor", "youtube-vos", "davis", "mose", "egotracks")),
    5: ("r50-deaot-l", ("visor", "youtube-vos", "davis", "mose", "lasot")),
    6: ("r50-deaot-l", ("visor", "youtube-vos", "davis", "mose", "got10k")),
    7: ("swinb-deaot-l", ("visor",)),
    8: ("swinb-deaot-l", ("visor", "vipseg")),
    9: ("swinb-deaot-l", ("visor", "mose")),
}


def report_recipes() -> list[Recipe]:
    """Both phases of MSDeAOT, the first of DeAOT-L, and the rows of Table 2, which go on from that."""
    return [
        *(make(preset) for preset in ("msdeaot-swinb", "msdeaot-r50") for make in (_phase_1, _phase_2)),
        *(_phase_1(preset) for preset in ("r50-deaot-l", "swinb-deaot-l")),
        *(_table_2(row, *of) for row, of in _TABLE_2.items()),
    ]


def _phase_1(preset: str) -> Recipe:
    about = f"{preset}, phase 1 of the report: stills set in motion"
    ours = (
        "our reading of the five sets of stills, by the numbers that the report cites; motion by affine maps and a "
        "thin-plate spline that drift through the clip; bfloat16"
    )
    return Recipe(f"{preset}-phase1", about, preset, _PHASE_1, _mix(preset, _STILLS), IMAGENET, 8, ours)


def _phase_2(preset: str) -> Recipe:
    about = f"{preset}, phase 2 of the report: videos, from the weights of phase 1"
    return _second_phase(f"{preset}-phase2", about, preset, _VIDEOS)


def _table_2(row: int, preset: str, datasets: tuple[str, ...]) -> Recipe:
    about = f"{preset} on {', '.join(datasets)}: row {row} of the report's Table 2"
    recipe = _second_phase(f"table2-{row}", about, preset, datasets)
    return replace(recipe, ours=f"the schedule, which is that of the report's phase 2 here; {recipe.ours}")


def _second_phase(name: str, about: str, preset: str, datasets: tuple[str, ...]) -> Recipe:
    gaps = ", ".join(f"{name} {DATASETS[name].max_gap}" for name in datasets if name not in _AOT_GAPS)
    ours = f"largest gaps, in frames that have masks: {gaps}; shares by numbers of videos; bfloat16"
    return Recipe(name, about, preset, _PHASE_2, _mix(preset, datasets), f"{preset}-phase1", 8, ours)


def _mix(preset: str, datasets: Iterable[str]) -> Mix:
    size = 465 if find_preset(preset).model.align_corners else 464
    return Mix(tuple(datasets), MixConfig(size=size))
