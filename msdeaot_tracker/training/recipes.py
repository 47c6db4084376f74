"""What can be trained, completely: model, data, schedule, and where it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..config import Preset, find_preset
from ..data.augmentation import Augmentation
from ..data.batches import BatchConfig
from ..data.clip_config import ClipConfig
from ..data.mixing import MixConfig
from ..types import InputError
from .box_to_mask import BoxToMaskConfig
from .config import LoopConfig, TrainConfig
from .crops import CropConfig
from .mixes import Drawn, Mix
from .schedule import Schedule
from .sources import ProceduralSource, Source

SCRATCH, IMAGENET = "scratch", "imagenet"
INITIALIZER = "lite"  # trained by the same loop, but no preset


@dataclass(frozen=True)
class Recipe:
    """A run.

    preset: the model's, or INITIALIZER. start: SCRATCH, IMAGENET (its encoder), or the recipe whose weights it needs.
    ours: which of its settings stand neither in the report nor in the public AOT recipe.
    """

    name: str
    about: str
    preset: str
    config: LoopConfig
    data: Source | Mix
    start: str = SCRATCH
    devices: int = 1
    ours: str = ""

    def with_size(self, size: int) -> Recipe:
        """Frames of size x size. InputError: not of the form the model takes, or this recipe has one size only."""
        if crops_of(self) is not None:
            raise InputError(f"{self.name} has no size of frames")
        return replace(self, data=replace(self.data, config=replace(self.data.config, size=checked_size(self, size))))


def crops_of(recipe: Recipe) -> CropConfig | None:
    """Of a recipe that trains on crops."""
    return recipe.data.crops if isinstance(recipe.data, Mix) else None


def checked_size(recipe: Recipe, size: int) -> int:
    preset = find_preset(recipe.preset)
    offset = 1 if preset.model.align_corners else 0
    if size < 16 or size % 16 != offset:
        form, near = ("16k+1", max(size // 16, 1) * 16 + 1) if offset else ("16k", max(size // 16, 1) * 16)
        raise InputError(f"frames of {size}x{size}: {preset.name} takes sides of the form {form}, as {near}")
    return size


# The report (section 3 of arXiv:2307.02508) and the public AOT recipe, whose settings it names its own.
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
_STILLS = ("coco", "ecssd", "msra10k", "pascal-s", "voc", "sbd")
_OURS_1 = (
    "motion of stills by affine maps and a thin-plate spline that drift through the clip; both PASCAL VOC and SBD, "
    "as the report does not say which; bfloat16"
)
_OURS_2 = (
    "largest gap of VISOR (2), MOSE, LaSOT and EgoTracks (3), in frames that have masks; shares by numbers of videos; "
    "bfloat16"
)
_REPORT_VIDEOS = ("visor", "youtube-vos", "lasot", "mose", "egotracks")
_TABLE_2 = (  # what each row adds
    ("youtube-vos", "davis"),
    ("visor",),
    ("mose",),
    ("lasot",),
    ("egotracks",),
)


def _mix(preset: str, datasets: Iterable[str]) -> Mix:
    size = 465 if find_preset(preset).model.align_corners else 464
    return Mix(tuple(datasets), MixConfig(size=size))


def _phase_1(preset: str) -> Recipe:
    about = f"{preset}, phase 1 of the report: stills set in motion"
    return Recipe(f"{preset}-phase1", about, preset, _PHASE_1, _mix(preset, _STILLS), IMAGENET, 8, _OURS_1)


def _phase_2(preset: str) -> Recipe:
    about = f"{preset}, phase 2 of the report: videos, from the weights of phase 1"
    mix = _mix(preset, _REPORT_VIDEOS)
    return Recipe(f"{preset}-phase2", about, preset, _PHASE_2, mix, f"{preset}-phase1", 8, _OURS_2)


def _table_2(short: str, preset: str) -> list[Recipe]:
    """The report's Table 2 grows the data; in which order is our reading."""
    recipes = []
    for row in range(1, len(_TABLE_2) + 1):
        datasets = [name for added in _TABLE_2[:row] for name in added]
        about = f"{preset} on {', '.join(datasets)}: mix {row} for the report's Table 2"
        ours = "order and members of the mix; the schedule of the report's phase 2 for every row"
        ours = f"{ours}; {_OURS_2}" if row > 1 else f"{ours}; bfloat16"
        mix = _mix(preset, datasets)
        recipes.append(Recipe(f"table2-{short}-{row}", about, preset, _PHASE_2, mix, f"{preset}-phase1", 8, ours))
    return recipes


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
        steps=4200,
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
        *(make(preset) for preset in ("msdeaot-swinb", "msdeaot-r50") for make in (_phase_1, _phase_2)),
        *(_phase_1(preset) for preset in ("r50-deaot-l", "swinb-deaot-l")),
        *_table_2("r50", "r50-deaot-l"),
        *_table_2("swinb", "swinb-deaot-l"),
        _SMALL,
        _SMALL_CONTINUED,
        _LITE,
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
