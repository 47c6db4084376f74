"""SAM vit_b with random weights in a file, beside the predictor of the `segment-anything` package.

All of vit_b is loaded and compared; of the twelve blocks of its image encoder only the first runs, which leaves one
second of the twenty that an image takes on one core.
"""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from msdeaot_tracker.initializers import make_initializer
from msdeaot_tracker.initializers.box_prompt import MASK_LOGIT
from msdeaot_tracker.types import Box, CheckpointError, InputError, Points

segment_anything = pytest.importorskip("segment_anything", reason="needs the extra sam")

SHAPES = [(90, 160), (121, 67)]


def image_of(shape: tuple[int, int]) -> np.ndarray:
    """Flat patches under some noise."""
    random = np.random.default_rng(shape)
    patches = np.kron(random.integers(0, 200, (6, 6, 3)), np.ones((-(-shape[0] // 6), -(-shape[1] // 6), 1)))
    return (patches[: shape[0], : shape[1]] + random.integers(0, 55, (*shape, 3))).astype(np.uint8)


def boxes_of(shape: tuple[int, int]) -> list[Box]:
    height, width = shape
    return [Box(12.25, 20.5, 40.0, 50.75), Box(0, 0, width, height), Box(width - 1, 3, 1, height - 3)]


@pytest.fixture(scope="module")
def model():
    """The package's own network, with masks that differ by much more than the tolerances and are not empty."""
    torch.manual_seed(0)
    model = segment_anything.sam_model_registry["vit_b"]()
    for head in model.mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 50
    return model


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gewichte-ä") / "sam_vit_b.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pair(model, weights):
    """Our initializer and the package's predictor, with one image block each."""
    sam = make_initializer("sam", weights=weights, device="cpu")
    loaded = sam.model.state_dict()
    assert len(loaded) == 314 and all(torch.equal(tensor, loaded[key]) for key, tensor in model.state_dict().items())
    for network in (sam.model, model):
        network.image_encoder.blocks = network.image_encoder.blocks[:1]
    return sam, segment_anything.SamPredictor(model)


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_those_of_the_package(pair, shape):
    sam, predictor = pair
    image = image_of(shape)
    predictor.set_image(image)
    low = []
    encoded = []
    hooks = [
        sam.model.mask_decoder.register_forward_hook(lambda _, __, output: low.append(output[0][0].numpy())),
        sam.model.image_encoder.register_forward_hook(lambda *_: encoded.append(1)),
    ]
    for box in boxes_of(shape):
        corners = np.array([box.x, box.y, box.x + box.w, box.y + box.h])
        expected, predicted_iou, expected_low = predictor.predict(box=corners, return_logits=True)
        assert (expected > 0).any((1, 2)).all()
        assert expected_low.std((1, 2)).min() > 0.5 and np.ptp(expected_low, axis=0).mean() > 0.5
        logits, ours_iou = sam.candidates(image, box)
        np.testing.assert_allclose(low[-1], expected_low, rtol=0, atol=1e-4)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours_iou, predicted_iou, rtol=0, atol=1e-5)

        estimate = sam(image, box)
        taken = expected[estimate.details["chosen"]]
        certain = np.abs(taken) > 1e-4
        np.testing.assert_array_equal(estimate.mask[certain], (taken > 0)[certain])
        np.testing.assert_allclose(estimate.probability, 1 / (1 + np.exp(-taken)), atol=1e-4)
        assert estimate.source == "sam" and estimate.details["precision"] == "float32"
    assert len(encoded) == 1, "the image is encoded once for all its boxes"
    for hook in hooks:
        hook.remove()


def test_masks_of_clicks_are_those_of_the_package(pair):
    """With a box beside them, and with a mask that is everywhere, whose logits are one number."""
    sam, predictor = pair
    image = image_of((90, 160))[:, :90]
    predictor.set_image(image)
    where, labels = np.array([[30.0, 40.0], [60.0, 20.0], [10.0, 80.0]]), np.array([1, 1, 0])
    points = Points(((30.0, 40.0), (60.0, 20.0)), ((10.0, 80.0),))
    everywhere = np.full((1, 256, 256), MASK_LOGIT, np.float32)
    for box, mask in ((None, None), (Box(5, 6, 70, 60), None), (None, everywhere)):
        corners = None if box is None else np.array([box.x, box.y, box.x + box.w, box.y + box.h])
        expected, predicted_iou, _ = predictor.predict(where, labels, corners, mask, return_logits=True)
        given = replace(points, box=box, mask=None if mask is None else np.ones((90, 90), bool))
        logits, ours_iou = sam.candidates(image, given)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours_iou, predicted_iou, rtol=0, atol=1e-5)
    assert sam.from_points(image, Points(((30.0, 40.0),))).mask[40, 30]


def test_an_image_of_one_pixel(pair):
    sam, _ = pair
    estimate = sam(np.full((1, 1, 3), 100, np.uint8), Box(0.25, 0.25, 0.5, 0.5))
    assert estimate.mask.all() and estimate.mask.shape == (1, 1)


def test_half_precision_of_the_image_encoder_and_its_overflow(pair, weights, caplog):
    whole, _ = pair
    half = make_initializer("sam", weights=weights, device="cpu", half=True)
    half.model.image_encoder.blocks = half.model.image_encoder.blocks[:1]
    box, image = Box(8, 8, 40, 40), image_of((64, 64))
    estimate = half(image, box)
    assert estimate.details["precision"] == "float16" and estimate.probability.dtype == np.float32

    half.model.image_encoder.neck[0].weight.data *= 1e6  # too much for float16; the norm behind it takes it back
    assert half(255 - image, box).details["precision"] == "float32 (float16 overflowed)"
    assert "half precision overflows" in caplog.text
    logits, expected = (sam.candidates(255 - image, box)[0] for sam in (half, whole))
    assert (logits - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_an_unknown_variant_is_an_error_that_lists_them():
    with pytest.raises(InputError, match=r"'vit_x'.*vit_b, vit_l, vit_h"):
        make_initializer("sam", variant="vit_x", device="cpu")


def test_without_weights_the_download_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MSDEAOT_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="weights download sam-vit-l"):
        make_initializer("sam", variant="vit_l", device="cpu")


def test_a_file_of_another_variant_is_recognised(tmp_path):
    path = tmp_path / "sam.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, path)
    with pytest.raises(CheckpointError, match=r"sam\.pth looks like SAM vit_l, but vit_b was asked for.*variant=vit_l"):
        make_initializer("sam", weights=path, device="cpu")


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_a_file_that_does_not_fit_is_refused_by_its_first_wrong_key(tmp_path, weights, change):
    state = torch.load(weights, weights_only=True, mmap=True)
    key = "mask_decoder.iou_token.weight"
    if change == "missing":
        del state[key]
    elif change == "unexpected":
        key = "mask_decoder.hf_token.weight"  # as in SAM-HQ
        state[key] = torch.zeros(1, 256)
    else:
        state[key] = torch.zeros(2, 256)
    path = tmp_path / "odd.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"odd\.pth is no file of SAM vit_b: .*{key}"):
        make_initializer("sam", weights=path, device="cpu")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["missing", "text", "list", "hostile"])
def test_other_files_are_refused_and_run_nothing(tmp_path, content):
    path, traces = tmp_path / "sam.pth", tmp_path / "traces"
    if content == "text":
        path.write_text("no weights")
    elif content == "list":
        torch.save([torch.zeros(3)], path)
    elif content == "hostile":
        path.write_bytes(pickle.dumps({"image_encoder.pos_embed": Hostile(traces)}, protocol=2))
    with pytest.raises(CheckpointError, match=r"sam\.pth"):
        make_initializer("sam", weights=path, device="cpu")
    assert not traces.exists()


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(ImportError, match=r"msdeaot-tracker\[sam\]"):
        make_initializer("sam", weights=tmp_path / "sam.pth", device="cpu")
