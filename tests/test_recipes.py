"""Recipes: complete, consistent, and with the numbers of the report; the estimate of what a run costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_training_data import LAYOUTS

from msdeaot_tracker import InputError
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.config import PRESETS, MemoryConfig, ModelConfig, Preset, Stage, find_preset
from msdeaot_tracker.data.datasets.catalogue import DATASETS
from msdeaot_tracker.data.mixing import MixConfig
from msdeaot_tracker.evaluation.published import PUBLISHED
from msdeaot_tracker.initializers.lite_net import BoxToMaskNet
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training import estimates
from msdeaot_tracker.training.config import TrainConfig
from msdeaot_tracker.training.engine import make_fabric
from msdeaot_tracker.training.estimates import LiveMemory, estimate
from msdeaot_tracker.training.mixes import Mix
from msdeaot_tracker.training.recipe_types import IMAGENET, INITIALIZER, SCRATCH
from msdeaot_tracker.training.recipes import RECIPES, find_recipe, fine_tuning
from msdeaot_tracker.training.sharing import share_out

TRACKERS = [recipe for recipe in RECIPES.values() if recipe.preset != INITIALIZER]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_is_complete(recipe):
    share_out(recipe.config, recipe.devices, rank=recipe.devices - 1)  # or InputError
    share_out(replace(recipe.config, micro_batch=1), 1, rank=0)
    if recipe.start not in (SCRATCH, IMAGENET):
        assert find_recipe(recipe.start).preset == recipe.preset
    if isinstance(recipe.data, Mix):
        assert recipe.data.datasets and set(recipe.data.datasets) <= DATASETS.keys()
        assert recipe.ours, "what is not the report's is said"


@pytest.mark.parametrize("recipe", TRACKERS, ids=lambda recipe: recipe.name)
def test_frames_fit_the_model_and_the_schedule(recipe):
    assert recipe.with_size(recipe.data.config.size) == recipe
    config, lengths = recipe.data.config, recipe.config.schedule.lengths
    assert min(length for _, length in lengths) >= 2
    for start, length in lengths:
        frames = config.at(start).frames if isinstance(config, MixConfig) else config.frames
        assert frames >= length and (frames == length or not isinstance(config, MixConfig))
    if isinstance(config, MixConfig):
        assert {recipe.with_size(config.size - 32).data.config.at(p).size for p in (0, 0.5, 0.99)} == {config.size - 32}
    wrong = recipe.data.config.size + 1
    with pytest.raises(InputError, match=f"frames of {wrong}x{wrong}: {recipe.preset} takes sides of the form 16k"):
        recipe.with_size(wrong)


def test_the_reports_phases():
    """Numbers of the report and of the public AOT recipe that it follows."""
    common = {"batch_size": 16, "encoder_rate": 0.1, "frozen": ("stem", "stage1"), "gradient_clip": 5.0}
    expected = {
        1: common | {"steps": 100_000, "weight_decay": 0.03, "freeze_identity": True, "permute_background": True},
        2: common | {"steps": 200_000, "weight_decay": 0.07, "freeze_identity": True, "permute_background": True},
    }
    shape = {"warm_up": 0.05, "decay_power": 0.9, "hard_fraction": 0.15, "hard_ramp": 0.5, "final_learning_rate": 1e-5}
    shape |= {"warm_up_from": 1e-5}
    schedules = {
        1: shape | {"learning_rate": 4e-4, "auxiliary": 0.1, "true_masks": 1.0, "lengths": ((0.0, 5),)},
        2: shape | {"learning_rate": 2e-4, "auxiliary": 1.0, "true_masks": 0.5, "lengths": ((0.0, 5),)},
    }
    for phase in (1, 2):
        recipe = RECIPES[f"msdeaot-swinb-phase{phase}"]
        config = recipe.config
        assert {key: getattr(config, key) for key in expected[phase]} == expected[phase]
        assert {key: getattr(config.schedule, key) for key in schedules[phase]} == schedules[phase]
        assert config.memory == MemoryConfig(long_term_gap=2, long_term_max=None) and config.loss_stride == 1
        assert recipe.devices == 8 and recipe.data.config.size == 464 and recipe.data.config.max_objects == 10
    assert RECIPES["msdeaot-swinb-phase1"].start == IMAGENET
    assert RECIPES["msdeaot-swinb-phase2"].start == "msdeaot-swinb-phase1"
    assert set(RECIPES["msdeaot-swinb-phase2"].data.datasets) == {"visor", "youtube-vos", "lasot", "mose", "egotracks"}
    assert RECIPES["msdeaot-r50-phase1"].data.config.size == 465


TABLE_2 = """
1 | R50 | VISOR, MOSE | 69.4
2 | R50 | VISOR, YouTube-VOS, DAVIS | 72.4
3 | R50 | VISOR, YouTube-VOS, DAVIS, MOSE | 72.6
4 | R50 | VISOR, YouTube-VOS, DAVIS, MOSE, EgoTracks | 73.4
5 | R50 | VISOR, YouTube-VOS, DAVIS, MOSE, LaSOT | 73.3
6 | R50 | VISOR, YouTube-VOS, DAVIS, MOSE, GOT-10k | 73.3
7 | Swin-B | VISOR | 70.7
8 | Swin-B | VISOR, VIPSeg | 71.2
9 | Swin-B | VISOR, MOSE | 73.3
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE_2.strip().splitlines()]


@pytest.mark.parametrize(("row", "backbone", "data", "success"), ROWS)
def test_table_2_has_the_reports_rows(row, backbone, data, success, capsys):
    recipe = RECIPES[f"table2-{row}"]
    assert recipe.preset == {"R50": "r50-deaot-l", "Swin-B": "swinb-deaot-l"}[backbone]
    assert list(recipe.data.datasets) == data.lower().replace("got-10k", "got10k").split(", ")
    assert recipe.start == f"{recipe.preset}-phase1" and recipe.config == RECIPES["msdeaot-swinb-phase2"].config
    (published,) = (entry for entry in PUBLISHED if entry.recipe == recipe.name)
    assert published.tracker == f"{backbone.replace('-', '')}-DeAOT-L on {data}"
    assert published.success == pytest.approx(float(success) / 100)
    assert (published.dataset, published.protocol) == ("trek150", "ope")
    assert main(["train", "--list"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f"table2-{row} "))
    assert line.endswith(f"row {row} of the report's Table 2; published success ope {success}%")
    assert all("PASCAL" not in text and "pascal-s" not in text for text in (recipe.about, recipe.ours))


def test_every_published_recipe_is_one():
    assert {entry.recipe for entry in PUBLISHED if entry.recipe} <= RECIPES.keys()
    assert [name for name in RECIPES if name.startswith("table2")] == [f"table2-{row}" for row in range(1, 10)]


def test_phase_1_is_made_of_the_five_sets_that_the_report_cites():
    for name in ("msdeaot-swinb", "msdeaot-r50", "r50-deaot-l", "swinb-deaot-l"):
        stills = RECIPES[f"{name}-phase1"].data.datasets
        assert sorted(stills) == ["coco", "ecssd", "msra10k", "sbd", "voc"]
    assert "pascal-s" in DATASETS


def test_a_mix_takes_gaps_repeats_and_merging_from_the_aot_recipe(tmp_path):
    names = ("ecssd", "davis", "youtube-vos")
    for name in names:
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
    source = Mix(names).open({name: tmp_path / name for name in names})
    stills, davis, youtube = source.parts
    assert stills.merge == 1.0 and davis.merge == youtube.merge == 0.3
    assert (davis.max_gap, davis.repeat, youtube.max_gap) == (12, 5, 3)
    assert "davis 67%" in source.about, "two videos five times, three stills, two videos"


def test_every_dataset_that_is_missing_is_named(tmp_path):
    (tmp_path / "davis").mkdir()
    with pytest.raises(InputError) as caught:
        Mix(("davis", "mose", "visor")).open({"davis": tmp_path / "davis", "mose": tmp_path / "gone"})
    words = str(caught.value)
    for part in ("3 of 3", "JPEGImages", str(tmp_path / "gone"), "henghuiding.github.io/MOSE", "--data visor=DIR"):
        assert part in words


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_can_be_fine_tuned(name):
    recipe = fine_tuning(find_preset(name))
    size = recipe.data.config.size
    assert recipe.with_size(size) == recipe and size <= 465
    assert size * 16 / 9 <= find_preset(name).tracker.long_edge + 16


def test_unknown_recipes():
    with pytest.raises(InputError, match=r"unknown recipe 'msdeaot'; there are: .*msdeaot-small,"):
        find_recipe("msdeaot")
    with pytest.raises(InputError, match="no size of frames"):
        RECIPES["box-to-mask"].with_size(97)


class TestEstimate:
    TINY = Preset("tiny", ModelConfig("resnet_small", (Stage(16, 1, 16), Stage(8, 1, 16)), window=2))
    CONFIG = TrainConfig(batch_size=2, precision="32-true")

    def test_live_memory_is_that_of_tensors_that_are_held(self):
        with LiveMemory() as memory:
            first = torch.ones(1000)
            second = first + 1
            view = second[:10].reshape(2, 5)
            del second
            assert memory.now == 8000, "the view holds all of it"
            del view
            assert memory.now == 4000
            memory.forget(first)
        assert memory.now == 0 and memory.peak == 8000

    def cost(self, **changes):
        recipe = replace(RECIPES["msdeaot-small"], config=replace(self.CONFIG, **changes)).with_size(81)
        torch.manual_seed(0)
        return estimate(recipe, MSDeAOT(self.TINY), make_fabric("cpu", precision="32-true"), processes=1)

    def test_a_small_piece_tells_the_memory_of_the_whole(self, monkeypatch):
        whole = self.cost()
        assert whole.measured == "2 x 81x81 on cpu" and whole.seconds > 0
        monkeypatch.setattr(estimates, "_CPU_WORK", 1.0)
        monkeypatch.setattr(estimates, "_LEAST_SIDE", 48)
        piece = self.cost()
        assert piece.measured == "1 x 49x49 on cpu"
        assert piece.memory == pytest.approx(whole.memory, rel=0.15)

    def test_memory_follows_the_micro_batch_and_checkpointing(self):
        whole, half, frugal = self.cost(), self.cost(micro_batch=1), self.cost(checkpoint_frames=True)
        weights = 5 * sum(parameter.nbytes for parameter in MSDeAOT(self.TINY).parameters())
        assert half.memory - weights == pytest.approx((whole.memory - weights) / 2, rel=0.1)
        assert frugal.memory - weights < 0.8 * (whole.memory - weights)

    def test_of_the_initializer(self):
        recipe = replace(RECIPES["box-to-mask"], config=replace(RECIPES["box-to-mask"].config, batch_size=2))
        cost = estimate(recipe, BoxToMaskNet(), make_fabric("cpu", precision="bf16-mixed"), processes=1)
        assert cost.measured == "2 x 209x209 on cpu" and 5e7 < cost.memory < 5e9
