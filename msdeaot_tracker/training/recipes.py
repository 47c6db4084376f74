"""What can be trained: the report's recipes, those of our own small models, and fine-tuning."""

from __future__ import annotations

from dataclasses import replace

from ..config import Preset
from ..data.augmentation import Augmentation
from ..data.batches import BatchConfig
from ..data.mixing import MixConfig
from ..data.procedural.config import ClipConfig
from ..types import InputError
from .box_to_mask import BoxToMaskConfig
from .config import TrainConfig
from .crops import CropConfig
from .mixes import Drawn, Mix
from .recipe_types import IMAGENET, INITIALIZER, Recipe
from .report_recipes import report_recipes
from .schedule import Schedule
from .sources import ProceduralSource

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
_LITE = Recipe(
    "msdeaot-lite",
    "the default model, from an ImageNet encoder, on real pictures in motion, collages of them and procedural video",
    "msdeaot-lite",
    TrainConfig(
        steps=5000,
        batch_size=4,
        micro_batch=2,
        workers=1,
        encoder_rate=0.1,
        frozen=("stem", "stage1"),
        save_every=100,
        schedule=Schedule(
            learning_rate=5e-4,
            warm_up=0.02,
            hard_ramp=0.4,
            auxiliary=0.1,
            true_masks=0.1,
            lengths=((0.0, 3), (0.3, 4), (0.75, 5)),
        ),
        pool_objects=True,
    ),
    Mix(
        ("coco128", "ccp", "caltech", "photos", "videos"),
        MixConfig(
            size=177,
            frames=3,
            growing=((0.3, 209, 4), (0.75, 257, 5)),
            min_pixels=24,
            augmentation=Augmentation(zoom=2.2, brightness=0.3, contrast=0.3),
        ),
        merge_stills=0.5,
        weights=(2.5, 1.5, 1.5, 0.0, 1.0),
        collage=Drawn(
            4.0,
            ClipConfig(
                object_size=(0.05, 1.0),
                min_area=0.0006,
                deformation=0.09,
                absence_probability=0.15,
                camouflage_probability=0.0,
                turning_probability=0.35,
                vigour=(0.2, 2.0),
            ),
        ),
        painted=Drawn(1.5, ClipConfig(absence_probability=0.15, max_objects=3)),
        hold_out=True,
    ),
    start=IMAGENET,
    ours=_ALL_OURS,
)
_LITE_CONTINUED = replace(
    _LITE,
    name="msdeaot-lite-continued",
    about="the default model from weights of msdeaot-lite, on other clips, as it tracks: with means and thinner frames",
    config=replace(
        _LITE.config,
        steps=1600,
        seed=1,
        memory=replace(_LITE.config.memory, other_stride=2),
        schedule=replace(
            _LITE.config.schedule,
            learning_rate=1.5e-4,
            warm_up=0.05,
            hard_ramp=0.0,
            auxiliary=0.0,
            true_masks=0.0,
        ),
    ),
    start="msdeaot-lite",
)
_PICTURE = ClipConfig(frames=1, object_size=(0.2, 1.0), max_objects=3, deformation=0.09, camouflage_probability=0.0)
_BOX_TO_MASK = Recipe(
    "box-to-mask",
    "the default initializer, from an ImageNet encoder, on crops of real pictures, collages of them and drawn ones",
    INITIALIZER,
    BoxToMaskConfig(
        steps=850,
        encoder_rate=0.1,
        frozen=("stem", "stage1"),
        save_every=50,
        schedule=Schedule(learning_rate=1.5e-3, warm_up=0.03, hard_fraction=0.3, hard_ramp=0.4),
    ),
    Mix(
        ("coco128", "ccp", "caltech", "photos", "videos"),
        merge_stills=0.0,
        weights=(3.0, 1.5, 1.0, 0.0, 0.7),
        collage=Drawn(2.6, _PICTURE),
        painted=Drawn(0.3, replace(_PICTURE, camouflage_probability=0.4)),
        hold_out=True,
        crops=CropConfig(),
    ),
    start=IMAGENET,
    ours="all of it",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *report_recipes(),
        _SMALL,
        _SMALL_CONTINUED,
        _LITE,
        _LITE_CONTINUED,
        _BOX_TO_MASK,
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
