"""What can be trained: the report's recipes, those of our own small models, and fine-tuning."""

from __future__ import annotations

from ..config import Preset
from ..data.batches import BatchConfig
from ..data.mixing import MixConfig
from ..types import InputError
from .config import TrainConfig
from .recipe_types import INITIALIZER, Mix, Recipe
from .refining import RefinerConfig
from .report_recipes import report_recipes
from .schedule import Schedule
from .sources import CropSource, ProceduralSource

_ALL_OURS = "all of it, but for the losses and the averaging of weights"
_SMALL = Recipe(
    "msdeaot-small",
    "the small model from scratch, on procedural video alone",
    "msdeaot-small",
    TrainConfig(),
    ProceduralSource(),
    ours=_ALL_OURS,
)
_SMALL_CONTINUED = Recipe(
    "msdeaot-small-continued",
    "the small model from weights of msdeaot-small, on larger and longer procedural clips",
    "msdeaot-small",
    TrainConfig(
        steps=4000,
        batch_size=6,
        micro_batch=3,
        seed=1_000_000,  # clips that the first run has not seen
        schedule=Schedule(
            learning_rate=4e-4,
            hard_ramp=0.0,
            auxiliary=0.0,
            true_masks=0.0,
            lengths=((0.0, 3), (0.35, 4), (0.7, 5), (0.9, 6)),
        ),
        pool_objects=True,
    ),
    ProceduralSource(BatchConfig(size=193, frames=6, margin=47, spare_frames=3, samples_per_clip=4)),
    start="msdeaot-small",
    ours=_ALL_OURS,
)
_AR_SMALL = Recipe(
    INITIALIZER,
    "the small initializer, from a box to a mask, on procedural video alone",
    INITIALIZER,
    RefinerConfig(),
    CropSource(),
    ours="all of it",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *report_recipes(),
        _SMALL,
        _SMALL_CONTINUED,
        _AR_SMALL,
    )
}


def find_recipe(name: str) -> Recipe:
    """InputError: no such recipe."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def fine_tuning(preset: Preset, datasets: tuple[str, ...] = ("folder",)) -> Recipe:
    """A given model on a folder of the user's, or on datasets of the catalogue; all its settings are our choice.

    The frames are as high as a 16:9 video is to the tracker, but at most as large as in the report's training.
    """
    offset = 1 if preset.model.align_corners else 0
    size = min(preset.tracker.long_edge * 9 // 16 // 16 * 16, 464) + offset
    schedule = Schedule(
        learning_rate=5e-5,
        final_learning_rate=5e-6,
        warm_up=0.05,
        hard_ramp=0.0,
        auxiliary=0.0,
        true_masks=0.0,
        lengths=((0.0, 5),),
    )
    return Recipe(
        "fine-tuning",
        f"{preset.name} from given weights, on videos with masks",
        preset.name,
        # Every second pixel, from the first to the last, lies on the grid of aligned corners and on no other.
        TrainConfig(2000, encoder_rate=0.1, save_every=100, schedule=schedule, loss_stride=2 if offset else 1),
        Mix(datasets, MixConfig(size=size)),
        ours="all of it",
    )
