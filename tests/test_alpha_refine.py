"""Alpha-Refine: published files and what only looks like one, geometry of crop and way back, hard and bad input."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import types
from collections import OrderedDict
from copy import deepcopy
from itertools import pairwise

import golden_recipes
import numpy as np
import parity
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdeaot_tracker.checkpoints.cache import CACHE_VARIABLE
from msdeaot_tracker.geometry import ellipse_in_box, mask_iou
from msdeaot_tracker.initializers import BoxRefiner, make_initializer
from msdeaot_tracker.initializers.alpha_refine import (
    AlphaRefine,
    NetworkRefiner,
    box_in_image,
    clip_as_published,
    cut_out,
    paste,
    search_region,
)
from msdeaot_tracker.initializers.alpha_refine_net import AlphaRefineNet, Refinement
from msdeaot_tracker.initializers.alpha_refine_weights import (
    DROPPED,
    build_alpha_refine,
    fill,
    load_alpha_refine,
    published_key,
)
from msdeaot_tracker.models.encoder import Encoder
from msdeaot_tracker.types import Box, CheckpointError, Features, InputError, TrackerError

# ---------------------------------------------------------------- networks


class TinyBackbone(Encoder):
    """Maps of other widths than the published ones."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {2: 6, 4: 8, 8: 10, 16: 12}
        self.deep_channels = 12
        widths = (3, *self.channels.values())
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))

    def forward(self, image: Tensor) -> Features:
        maps = {}
        for stride, stage in zip(self.channels, self.stages, strict=True):
            image = maps[stride] = stage(image).relu()
        return Features(maps, image)


class BrightnessNet(nn.Module):
    """Stands in for a trained network: the object is what is bright, exactly, at sub-pixel corners."""

    def reference(self, crop: Tensor) -> Tensor:
        return crop.mean(dim=(2, 3))

    def forward(self, crop: Tensor, kernel: Tensor | None = None) -> Refinement:
        bright = crop.mean(dim=1, keepdim=True)
        across, down = bright.amax(dim=2)[0, 0], bright.amax(dim=3)[0, 0]
        (x1, x2), (y1, y2) = edges(across), edges(down)
        heat_maps = torch.zeros(1, 2, 16, 16)
        heat_maps[:, :, 5, 5] = 1.0
        return Refinement(torch.stack([x1, y1, x2, y2])[None], heat_maps, bright.clamp(1e-4, 1 - 1e-4).logit())


def edges(profile) -> tuple:
    """Start and end of the only run of ones in a profile of coverages in [0, 1]."""
    positions = np.arange(len(profile)) + 0.5
    if isinstance(profile, Tensor):
        positions = torch.from_numpy(positions).float()
    length = profile.sum()
    centre = (profile * positions).sum() / max(length, 1e-6)
    return centre - length / 2, centre + length / 2


@pytest.fixture(scope="module")
def tiny() -> AlphaRefineNet:
    torch.manual_seed(0)
    return AlphaRefineNet(TinyBackbone()).eval()


def published_state(variant: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    state = build_alpha_refine(variant).state_dict()
    return {published_key(key): tensor for key, tensor in state.items()}


@pytest.fixture(scope="module")
def r18_state() -> dict[str, Tensor]:
    return published_state("r18")


@pytest.fixture(scope="module")
def r18_file(tmp_path_factory, r18_state):
    path = tmp_path_factory.mktemp("weights") / "gewichte-ä.pth.tar"
    torch.save({"net": r18_state, "epoch": 40}, path)
    return path


# ---------------------------------------------------------------- published weights


def test_every_published_key_is_used_or_dropped_with_a_reason():
    content = json.loads((parity.DATA / "alpha_refine_keys.json").read_text(encoding="utf-8"))
    network = build_alpha_refine("r34")
    used = {published_key(key): list(tensor.shape) for key, tensor in network.state_dict().items()}
    left = set(content["keys"]) - set(used)
    assert {key: content["keys"][key] for key in used} == used
    assert len(left) == 42 + 2
    assert all(key.startswith(("feature_extractor.layer4.", "feature_extractor.fc.")) for key in left)
    assert all(DROPPED.values())


def test_published_weights_arrive_where_their_names_say(r18_state):
    network = build_alpha_refine("r18")
    fill(network, r18_state | {"feature_extractor.fc.bias": torch.zeros(1000)}, "r18")
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, r18_state[published_key(key)]), key


def test_counters_may_be_absent(r18_state):
    without = {key: tensor for key, tensor in r18_state.items() if not key.endswith("num_batches_tracked")}
    assert len(without) < len(r18_state)
    fill(build_alpha_refine("r18"), without, "r18")


def test_a_file_gives_the_published_numbers(tmp_path):
    """End to end, from a file of the recipe's weights to a box and a mask in the image."""
    keys = json.loads((parity.DATA / "alpha_refine_keys.json").read_text(encoding="utf-8"))
    weights = golden_recipes.alpha_refine_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    torch.save({"net": {key: torch.from_numpy(value) for key, value in weights.items()}}, tmp_path / "r34.pth")
    refiner = make_initializer("ar", device="cpu", weights=tmp_path / "r34.pth", threshold=0.65)
    assert isinstance(refiner, BoxRefiner)

    golden = np.load(parity.DATA / "alpha_refine_a.npz")
    meta = json.loads(str(golden["meta"]))
    frames = [image for image, _ in golden_recipes.video(meta["H"], meta["W"], meta["nobj"], 1, meta["seed"])]
    reference = refiner.reference(frames[0], Box(*meta["ref_box"]))
    for query in (0, 1):
        estimate = refiner.refine(frames[1], Box(*meta["queries"][query][1]), reference)
        wanted = np.unpackbits(golden["img_mask65_bits"][query], count=meta["H"] * meta["W"])
        assert np.count_nonzero(estimate.mask.ravel() != wanted) <= 5
        assert np.allclose(estimate.probability[::4, ::4], golden["img_prob"][query], rtol=0, atol=5e-4)
        x, y, w, h = estimate.box
        assert np.allclose([x, y, x + w, y + h], golden["box_clipped"][query], rtol=0, atol=0.02)
        assert estimate.source == "ar" and "fallback" not in estimate.details
        assert estimate.details["peak_top_left"] == pytest.approx(golden["heat_tl"][query].max(), abs=1e-4)


def with_training_objects(state: dict[str, Tensor], monkeypatch, *extra: str) -> dict:
    """What the published files hold: weights among objects of a training framework that nobody has installed."""
    classes = {}
    for dotted in (
        "ltr.admin.model_constructor.NetConstructor",
        "ltr.admin.settings.Settings",
        "ltr.admin.local.EnvironmentSettings",
        "ltr.admin.stats.AverageMeter",
        "ltr.admin.stats.StatValue",
        *extra,
    ):
        place, _, name = dotted.rpartition(".")
        for depth in range(1, place.count(".") + 2):
            module = ".".join(place.split(".")[:depth])
            monkeypatch.setitem(sys.modules, module, sys.modules.get(module) or types.ModuleType(module))
        classes[name] = type(name, (), {"__module__": place})
        setattr(sys.modules[place], name, classes[name])
    constructor, settings, environment, meter, value, *others = (kind() for kind in classes.values())
    constructor.args, constructor.kwds, constructor.fun_name = (), {"backbone_pretrained": True}, "build"
    environment.workspace_dir = "/nowhere"
    settings.env, settings.batch_size, settings.others = environment, 32, others
    meter.avg, value.history = 0.5, [1.0, 2.0]
    stats = OrderedDict(train=OrderedDict({"Loss/total": meter, "LearningRate": value}))
    return {"epoch": 40, "net": state, "constructor": constructor, "stats": stats, "settings": settings}


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_the_training_framework_are_replaced_by_empty_ones(tmp_path, monkeypatch, r18_state, zipped):
    with monkeypatch.context() as patch:
        content = with_training_objects(r18_state, patch)
        torch.save(content, tmp_path / "ar.pth.tar", _use_new_zipfile_serialization=zipped)
    assert not [name for name in sys.modules if name.split(".")[0] == "ltr"]
    network = load_alpha_refine(tmp_path / "ar.pth.tar", "r18")
    assert not [name for name in sys.modules if name.split(".")[0] == "ltr"]
    assert all(torch.equal(t, r18_state[published_key(key)]) for key, t in network.state_dict().items())
    assert not network.training


def test_other_classes_of_the_framework_are_refused_by_name(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        content = with_training_objects({}, patch, "ltr.actors.bbreg.Actor")
        torch.save(content, tmp_path / "ar.pth")
    with pytest.raises(CheckpointError, match=r"ar\.pth.*ltr\.actors\.bbreg\.Actor"):
        load_alpha_refine(tmp_path / "ar.pth", "r18")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_runs_nothing_and_names_what_it_wanted(tmp_path, monkeypatch, zipped):
    trap, path = tmp_path / "trap", tmp_path / "ar.pth"
    with monkeypatch.context() as patch:
        content = with_training_objects({}, patch)
        content["settings"].bomb = Bomb(str(trap))
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"more than weights: it mentions \w+\.open,"):
        load_alpha_refine(path, "r34")
    path.write_bytes(pickle.dumps(Bomb(str(trap)), protocol=2))
    with pytest.raises(CheckpointError, match="damaged, or holds more than weights"):
        load_alpha_refine(path, "r34")
    assert not trap.exists()
    Bomb(str(trap)).__reduce__()[0](trap, "w").close()  # what would have happened
    assert trap.exists()


def refused(state: dict[str, Tensor], variant: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        fill(build_alpha_refine(variant), state, variant)
    return str(caught.value)


def test_weights_of_another_variant_are_refused_by_what_differs(r18_state, r18_file):
    assert "its ResNet begins with 2+2+2 blocks, that of 'r34' with 3+4+6" in refused(r18_state, "r34")
    assert "its ResNet begins with 3+4+6 blocks, that of 'r18' with 2+2+2" in refused(published_state("r34"), "r18")
    with pytest.raises(CheckpointError, match=r"gewichte-ä.*does not fit Alpha-Refine 'r34'.*2\+2\+2"):
        make_initializer("ar", device="cpu", weights=r18_file)


def test_older_networks_are_refused_by_their_parts(r18_state):
    renamed = {key.replace("corner_head.", "bb_regressor."): tensor for key, tensor in r18_state.items()}
    message = refused(renamed, "r18")
    assert "no part 'corner_head'" in message and "a part 'bb_regressor'" in message and "AR34c+m" in message
    without_mask = {key: tensor for key, tensor in r18_state.items() if not key.startswith("mask_head.")}
    assert "no part 'mask_head'" in refused(without_mask, "r18")


def test_single_keys_and_shapes_are_named(r18_state):
    key = "neck.post_corr.3.weight"
    assert f"key {key!r} is missing" in refused({k: t for k, t in r18_state.items() if k != key}, "r18")
    assert "unexpected key 'neck.extra.weight'" in refused(r18_state | {"neck.extra.weight": torch.zeros(3)}, "r18")
    assert f"key {key!r}: expected shape [128, 128, 1, 1], found [2]" in refused(
        r18_state | {key: torch.zeros(2)}, "r18"
    )


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"net": 3}, {"net": {"a": 1}}, [1, 2]])
def test_files_without_a_network_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "ar.pth")
    with pytest.raises(CheckpointError, match=r"ar\.pth.*no state dict of tensors"):
        load_alpha_refine(tmp_path / "ar.pth", "r18")


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match="msdeaot weights download alpha-refine-r34"):
        make_initializer("ar", device="cpu")
    with pytest.raises(CheckpointError, match="msdeaot weights download alpha-refine-r18"):
        make_initializer("ar", device="cpu", variant="r18")
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        make_initializer("ar", device="cpu", weights=tmp_path / "absent.pth")


def test_settings_are_checked(tiny):
    with pytest.raises(InputError, match=r"'r50'.*r34, r18"):
        AlphaRefine(variant="r50")
    for threshold in (0, 1, "high", float("nan")):
        with pytest.raises(InputError, match="threshold"):
            NetworkRefiner(tiny, device="cpu", threshold=threshold)


# ---------------------------------------------------------------- network


def test_the_network_takes_a_backbone_of_any_width_and_trains():
    torch.manual_seed(0)
    network = AlphaRefineNet(TinyBackbone()).train()
    crops = torch.rand(2, 3, 256, 256)
    corners, heat_maps, logits = network(crops, network.reference(torch.rand(2, 3, 256, 256)))
    assert corners.shape == (2, 4) and heat_maps.shape == (2, 2, 16, 16) and logits.shape == (2, 1, 256, 256)
    assert torch.allclose(heat_maps.sum(dim=(2, 3)), torch.ones(2, 2))
    ((corners / 256 - 0.5).square().mean() + F.softplus(logits).mean()).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for name, p in network.named_parameters() if "bias" not in name
    )


@torch.inference_mode()
def test_one_kernel_serves_many_crops_and_a_crop_can_be_its_own(tiny):
    crops = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    kernel = tiny.reference(crops[1:2])
    assert kernel.shape == (1, 12, 8, 8)
    together = tiny(crops, kernel)
    for i in range(2):
        for joint, alone in zip(together, tiny(crops[i : i + 1], kernel), strict=True):
            assert torch.allclose(joint[i : i + 1], alone, atol=1e-4)
    for own, given in zip(tiny(crops[1:2]), tiny(crops[1:2], kernel), strict=True):
        assert torch.equal(own, given)
    strong = tiny(crops[1:2], 1e4 * kernel)  # random features are small
    assert not torch.allclose(given, strong.mask_logits, atol=1e-4)


# ---------------------------------------------------------------- geometry

HEIGHT, WIDTH = 120, 160
PLACES = [  # box whose region crosses no border, each one, two, all of them; whole, half, odd and other sizes
    (60, 40, 30, 30),
    (6, 40, 40, 25),
    (50, 4, 41, 30),
    (110, 50, 44, 20),
    (60, 90, 33, 26),
    (3, 2, 35, 31),
    (120, 3, 36, 29),
    (5, 84, 39, 33),
    (118, 86, 37, 30),
    (2, 3, 155, 114),
    (20.5, 33.5, 61.5, 40.5),
    (-9.5, -7, 90, 77),
    (110, 2.5, 45, 116),
    (-40, -30, 250, 190),
]


def bright_rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[y0:y1, x0:x1] = 255
    return image


def inside(box: Box) -> tuple[int, int, int, int]:
    """A rectangle within the box and the image, off every border: x0, y0, x1, y1."""
    x0, y0 = int(max(box.x, 0) + 2), int(max(box.y, 0) + 3)
    return x0, y0, int(min(box.x + box.w, WIDTH) - 3), int(min(box.y + box.h, HEIGHT) - 4)


@pytest.mark.parametrize("place", PLACES)
def test_a_rectangle_in_the_image_comes_back_where_it_is(place):
    """Through the crop and back; the published way shifts the box, but not the mask, by the rounding of the region."""
    box = Box(*place)
    region = search_region(box)
    x0, y0, x1, y1 = truth = inside(box)
    estimate = NetworkRefiner(BrightnessNet(), device="cpu")(bright_rectangle(*truth), box)
    across = edges(estimate.probability[(y0 + y1) // 2].astype(np.float64))
    down = edges(estimate.probability[:, (x0 + x1) // 2].astype(np.float64))
    reduced = max(region.w, region.h) > 256  # then the crop skips pixels
    limit = 0.3 if reduced else 0.15
    assert np.abs(np.subtract((across[0], down[0], across[1], down[1]), truth)).max() <= limit
    assert mask_iou(estimate.mask, bright_rectangle(*truth)[..., 0] > 0) >= (0.97 if reduced else 1)
    x, y, w, h = estimate.box
    shift = (box.x - box.w / 2 - region.x, box.y - box.h / 2 - region.y) * 2
    assert np.abs(shift).max() <= 0.5
    assert np.abs(np.subtract((x, y, x + w, y + h), shift) - truth).max() <= limit


@pytest.mark.parametrize("place", PLACES)
def test_a_rectangle_in_the_crop_comes_back_within_half_a_pixel(place):
    box = Box(*place)
    region = search_region(box)
    painted = np.zeros((256, 256), np.float32)
    painted[70:190, 50:180] = 1
    wanted = [region.x + u * region.w / 256 for u in (50, 180)], [region.y + v * region.h / 256 for v in (70, 190)]
    whole = paste(painted, region, HEIGHT, WIDTH)
    for profile, ends, side in zip((whole.max(axis=0), whole.max(axis=1)), wanted, (WIDTH, HEIGHT), strict=True):
        assert np.abs(np.subtract(edges(profile), np.clip(ends, 0, side))).max() <= 0.5
    x, y, w, h = box_in_image(np.float32([50, 70, 180, 190]), box)
    assert np.abs(np.subtract(([x, x + w], [y, y + h]), wanted)).max() <= 0.5


@pytest.mark.parametrize(
    ("box", "region"),
    [
        ((1, 2, 3, 5), (0, 0, 6, 10)),  # corners at -0.5: to the even number
        ((2, 3, 3, 5), (0, 0, 6, 10)),  # 0.5
        ((3, 4, 3, 5), (2, 2, 6, 10)),  # 1.5
        ((10.3, 10.3, 1.1, 0.2), (9, 10, 3, 1)),
    ],
)
def test_corners_are_rounded_half_to_even(box, region):
    assert search_region(Box(*box)) == region


def test_last_column_and_row_are_black_only_where_the_region_reaches_them():
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    at_the_end = search_region(Box(64, 24, 64, 64))
    assert at_the_end == (32, -8, 128, 128)  # ends at the last column and row
    crop = cut_out(image, at_the_end)
    assert (crop[40, -1] == 0).all() and (crop[-1, 40] == 0).all() and (crop[40, -4] == 200).all()
    assert (cut_out(image, search_region(Box(63, 23, 64, 64)))[40:, -1] == 200).all()


def test_clipping_leaves_ten_pixels_of_the_image():
    assert clip_as_published(Box(-50, -60, 40, 30), 100, 200) == (0, 0, 10, 10)
    assert clip_as_published(Box(300, 400, 40, 30), 100, 200) == (190, 90, 10, 10)
    assert clip_as_published(Box(20.25, 30, 40, 30.5), 100, 200) == (20.25, 30, 40, 30.5)
    assert clip_as_published(Box(-3, 2, 4, 90), 6, 200) == (0, 0, 10, 6)  # an image lower than that


# ---------------------------------------------------------------- hard and bad input


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, WIDTH, HEIGHT),  # everything
        (-500, -400, 3000, 2000),  # larger than the image
        (70, 0, 1, HEIGHT),
        (0, 60, WIDTH, 1),
        (159, 119, 1, 1),
        (33.3, 20.2, 0.2, 0.3),
        (-300, -300, 20, 20),  # the whole region outside
        (400, 50, 20, 30),
        (50, 400, 20, 30),
        (-300, 50, 20, 30),
    ],
)
def test_every_box_gives_a_mask_and_a_box_in_the_image(tiny, box):
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    refiner = NetworkRefiner(tiny, device="cpu")
    estimate = refiner.refine(image, Box(*box), refiner.reference(image, Box(40, 40, 30, 20)))
    assert estimate.mask.shape == (HEIGHT, WIDTH) and estimate.mask.dtype == bool and estimate.mask.any()
    assert estimate.probability.shape == (HEIGHT, WIDTH) and estimate.probability.dtype == np.float32
    if estimate.box is not None:
        x, y, w, h = estimate.box
        assert 0 <= x < x + w <= WIDTH and 0 <= y < y + h <= HEIGHT


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (40, 2)])
def test_tiny_images(tiny, shape):
    estimate = NetworkRefiner(tiny, device="cpu")(np.full((*shape, 3), 128, np.uint8), Box(0, 0, 1, 1))
    assert estimate.mask.shape == shape and estimate.mask.any()


def test_a_region_outside_the_image_is_black_and_gives_no_box(caplog):
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for box in (Box(-300, 50, 20, 30), Box(50, -300, 20, 30), Box(400, 50, 20, 30), Box(50, 400, 20, 30)):
        assert not cut_out(image, search_region(box)).any()
        with caplog.at_level(logging.WARNING):
            estimate = NetworkRefiner(BrightnessNet(), device="cpu")(image, box)
        assert estimate.box is None
        assert estimate.details["fallback"] == "no pixel above the threshold"
        assert not estimate.probability.any()
    assert "no corners" in caplog.text and "(400, 50, 20, 30)" in caplog.text


@pytest.mark.parametrize("box", [(5, 5, 0, 3), (5, 5, 3, -1), (float("nan"), 0, 3, 3), (0, 0, float("inf"), 3)])
def test_impossible_boxes_are_input_errors(tiny, box):
    with pytest.raises(InputError, match="box"):
        NetworkRefiner(tiny, device="cpu")(np.zeros((HEIGHT, WIDTH, 3), np.uint8), Box(*box))


def test_flat_heat_maps_give_no_box_but_the_mask_stays(tiny, caplog):
    network = deepcopy(tiny)
    nn.init.zeros_(network.corner_head.top_left[-1].weight)
    image = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    with caplog.at_level(logging.WARNING):
        estimate = NetworkRefiner(network, device="cpu")(image, Box(40, 30, 50, 40))
    assert estimate.box is None
    assert estimate.details["peak_top_left"] == pytest.approx(1 / 256)
    assert "no corners near box (40, 30, 50, 40)" in caplog.text
    assert estimate.mask.any()


def test_an_empty_mask_becomes_the_ellipse_with_a_warning(caplog):
    box = Box(40, 30, 50, 40)
    with caplog.at_level(logging.WARNING):
        estimate = NetworkRefiner(BrightnessNet(), device="cpu")(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), box)
    assert np.array_equal(estimate.mask, ellipse_in_box(box, HEIGHT, WIDTH))
    assert estimate.details["fallback"] == "no pixel above the threshold"
    assert "ellipse" in caplog.text
    assert estimate.probability.max() == pytest.approx(90 / 255, abs=1e-3)  # still what the network said


def overflowing() -> AlphaRefineNet:
    """Features whose products are beyond what half precision can hold, harmless in single precision."""
    torch.manual_seed(0)
    network = AlphaRefineNet(TinyBackbone()).eval()
    with torch.no_grad():
        network.backbone.stages[-1].weight *= 1e4
        network.correlation.mix[0][0].weight *= 1e-8
    return network


def test_half_precision_that_overflows_is_repeated_in_single_precision(caplog):
    image = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    box = Box(40, 30, 50, 40)
    single = NetworkRefiner(overflowing(), device="cpu")(image, box)
    assert single.details["precision"] == "float32"
    with caplog.at_level(logging.WARNING):
        repeated = NetworkRefiner(overflowing(), device="cpu", half=True)(image, box)
    assert "not finite in float16" in caplog.text
    assert repeated.details["precision"] == "float32 (not finite in float16)"
    assert np.array_equal(repeated.probability, single.probability)
    assert repeated.box == single.box


def test_half_precision_that_suffices_is_used(tiny):
    image = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    single, half = (NetworkRefiner(tiny, device="cpu", half=half)(image, Box(40, 30, 50, 40)) for half in (False, True))
    assert half.details["precision"] == "float16"
    assert not np.array_equal(half.probability, single.probability)
    assert np.allclose(half.probability, single.probability, atol=0.01)


def test_weights_that_give_no_numbers_are_an_error():
    network = AlphaRefineNet(TinyBackbone())
    nn.init.constant_(network.mask_head.merge[0].weight, float("nan"))
    with pytest.raises(TrackerError, match=r"not finite.*damaged"):
        NetworkRefiner(network, device="cpu")(np.zeros((HEIGHT, WIDTH, 3), np.uint8), Box(40, 30, 50, 40))


def test_a_full_device_is_an_error_with_a_remedy(tiny, monkeypatch):
    def forward(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiny, "forward", forward)
    with pytest.raises(TrackerError, match=r"out of memory while refining a box: .*r18"):
        NetworkRefiner(tiny, device="cpu")(np.zeros((HEIGHT, WIDTH, 3), np.uint8), Box(40, 30, 50, 40))
