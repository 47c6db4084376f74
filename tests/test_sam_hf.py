"""Networks of the SAM family through transformers, each tiny and with random weights, saved as published ones are."""

import sys

import numpy as np
import pytest
import torch

from msdeaot_tracker.initializers import make_initializer
from msdeaot_tracker.initializers.box_prompt import MASK_LOGIT
from msdeaot_tracker.types import Box, CheckpointError, InputError, Points

transformers = pytest.importorskip("transformers", reason="needs the extra sam-hf")
pytest.importorskip("torchvision", reason="needs the extra sam-hf")

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)
BOX = Box(20, 10, 40, 30)
SIZE, WIDTH = 64, 16
ATTENTION = {"num_hidden_layers": 2, "num_attention_heads": 2}


def sam_parts() -> dict:
    patches = {"image_size": SIZE, "patch_size": 8}
    return {
        "vision_config": {
            **ATTENTION, **patches, "hidden_size": WIDTH, "output_channels": WIDTH, "num_pos_feats": WIDTH // 2,
            "global_attn_indexes": [1], "window_size": 4, "mlp_dim": 32,
        },
        "prompt_encoder_config": {**patches, "hidden_size": WIDTH, "mask_input_channels": 4},
        "mask_decoder_config": {**ATTENTION, "hidden_size": WIDTH, "mlp_dim": 32, "iou_head_hidden_dim": WIDTH},
    }  # fmt: skip


def sam_processor() -> dict:
    return {
        "size": {"longest_edge": SIZE},
        "pad_size": {"height": SIZE, "width": SIZE},
        "mask_size": {"longest_edge": SIZE // 4},
        "mask_pad_size": {"height": SIZE // 4, "width": SIZE // 4},
    }


def sam():
    model = transformers.SamModel(transformers.SamConfig(**sam_parts()))
    return model, transformers.SamProcessor(transformers.SamImageProcessor(**sam_processor()))


def sam_hq():
    parts = sam_parts()
    parts["mask_decoder_config"]["vit_dim"] = WIDTH
    model = transformers.SamHQModel(transformers.SamHQConfig(**parts))
    return model, transformers.SamHQProcessor(transformers.SamImageProcessor(**sam_processor()))


def sam2_parts() -> dict:
    widths = [8, 16, 32, 64]
    backbone = {
        "image_size": [SIZE, SIZE], "hidden_size": 8, "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [1, 1, 2, 2], "global_attention_blocks": [3],
        "window_size_per_stage": [4, 4, 4, 4], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **backbone},
        "backbone_channel_list": widths[::-1],
        "backbone_feature_sizes": [[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
        "fpn_hidden_size": WIDTH,
    }
    prompt = {"hidden_size": WIDTH, "image_size": SIZE, "patch_size": 16, "mask_input_channels": 4}
    decoder = {**ATTENTION, "hidden_size": WIDTH, "mlp_dim": 32, "iou_head_hidden_dim": WIDTH}
    return {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}


def sam2():
    processor = transformers.Sam2ImageProcessor(size={"height": SIZE, "width": SIZE})
    return transformers.Sam2Model(transformers.Sam2Config(**sam2_parts())), transformers.Sam2Processor(processor)


@pytest.fixture(scope="module", params=[sam, sam_hq, sam2], ids=["sam", "sam-hq", "sam2"])
def published(request, tmp_path_factory):
    """Family, model, processor, and the folder they are saved in."""
    torch.manual_seed(3)
    model, processor = request.param()
    for parameter in model.parameters():  # transformers starts so near zero that the three masks hardly differ
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("gewichte-ä")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return request.param.__name__.replace("_", "-"), model.eval(), processor, folder


def test_masks_are_those_of_the_library_used_as_it_documents(published):
    family, model, processor, folder = published
    ours = make_initializer("sam-hf", weights=folder, device="cpu")
    inputs = processor(images=IMAGE, input_boxes=[[[20.0, 10.0, 60.0, 40.0]]], return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float())
    sizes = [inputs["original_sizes"]] + ([] if family == "sam2" else [inputs["reshaped_input_sizes"]])
    expected = processor.post_process_masks(output.pred_masks, *sizes)[0][0].numpy()

    logits, predicted_iou = ours.candidates(IMAGE, BOX)
    assert expected.shape == (3, 48, 80) and expected.any() and not expected.all()
    np.testing.assert_array_equal((logits > 0).numpy(), expected)
    torch.testing.assert_close(predicted_iou, output.iou_scores[0, 0], atol=1e-5, rtol=0)

    estimate = ours(IMAGE, BOX)
    assert estimate.source == family
    np.testing.assert_array_equal(estimate.mask, expected[estimate.details["chosen"]])


@pytest.mark.parametrize("masked", [False, True])
def test_masks_of_clicks_are_those_of_the_library_used_as_it_documents(published, masked):
    """The mask is everywhere on a square picture, so that its logits are one number."""
    family, model, processor, folder = published
    ours = make_initializer("sam-hf", weights=folder, device="cpu")
    image = np.ascontiguousarray(IMAGE[:, :48])
    prompts = {"input_points": [[[[30.0, 20.0], [5.0, 40.0]]]], "input_labels": [[[1, 0]]]}
    inputs = processor(images=image, **prompts, return_tensors="pt")
    side = ours.model.config.prompt_encoder_config.image_size * 4 // model.config.prompt_encoder_config.patch_size
    shown = {"input_masks": torch.full((1, 1, side, side), MASK_LOGIT)} if masked else {}
    with torch.no_grad():
        output = model(
            pixel_values=inputs["pixel_values"],
            input_points=inputs["input_points"].float(),
            input_labels=inputs["input_labels"],
            **shown,
        )
    sizes = [inputs["original_sizes"]] + ([] if family == "sam2" else [inputs["reshaped_input_sizes"]])
    expected = processor.post_process_masks(output.pred_masks, *sizes)[0][0].numpy()
    points = Points(((30.0, 20.0),), ((5.0, 40.0),), mask=np.ones((48, 48), bool) if masked else None)
    logits, predicted_iou = ours.candidates(image, points)
    np.testing.assert_array_equal((logits > 0).numpy(), expected)
    torch.testing.assert_close(predicted_iou, output.iou_scores[0, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(48, 80), (1, 1), (3, 50)])
def test_every_box_inside_the_image_gives_a_mask(published, size):
    _, _, _, folder = published
    ours = make_initializer("sam-hf", weights=folder, device="cpu")
    height, width = size
    image = np.ascontiguousarray(IMAGE[:height, :width])
    for box in (Box(0, 0, width, height), Box(width - 1, 0, 1, height), Box(0, height - 0.5, width, 0.5)):
        estimate = ours(image, box)
        assert estimate.mask.shape == size and estimate.mask.dtype == bool and estimate.mask.any()


def test_half_precision_gives_nearly_the_same(published):
    _, _, _, folder = published
    whole, half = (make_initializer("sam-hf", weights=folder, device="cpu", half=half) for half in (False, True))
    expected, _ = whole.candidates(IMAGE, BOX)
    logits, _ = half.candidates(IMAGE, BOX)
    assert half(IMAGE, BOX).details["precision"] == "float16"
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_the_image_is_encoded_once_for_all_its_boxes(published):
    _, _, _, folder = published
    ours = make_initializer("sam-hf", weights=folder, device="cpu")
    calls = []
    ours.model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    ours(IMAGE, BOX)
    ours(IMAGE.copy(), Box(0, 0, 80, 48))
    assert len(calls) == 1
    ours(255 - IMAGE, BOX)
    assert len(calls) == 2


def test_the_folder_of_a_sam2_video_network_serves_for_images(tmp_path):
    """Which is how SAM 2.1 is published."""
    transformers.set_seed(0)
    memory = {
        "memory_attention_hidden_size": WIDTH,
        "memory_encoder_output_channels": 8,
        "memory_encoder_hidden_size": WIDTH,
    }
    video = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**sam2_parts(), **memory))
    video.save_pretrained(tmp_path)
    sam2()[1].image_processor.save_pretrained(tmp_path)
    ours = make_initializer("sam-hf", weights=tmp_path, device="cpu")
    assert ours(IMAGE, BOX).source == "sam2"
    theirs = video.state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.model.state_dict().items())


def test_weights_must_be_named():
    with pytest.raises(InputError, match="weights"):
        make_initializer("sam-hf", device="cpu")


def test_a_folder_without_safetensors_is_refused_even_when_it_holds_a_pickle(published, tmp_path):
    _, model, processor, _ = published
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        make_initializer("sam-hf", weights=tmp_path, device="cpu")


def test_missing_tensors_are_an_error_not_random_numbers(published, tmp_path):
    _, model, processor, _ = published
    state = {key: tensor for key, tensor in model.state_dict().items() if "iou_prediction_head" not in key}
    model.save_pretrained(tmp_path, state_dict=state)
    processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="iou_prediction_head"):
        make_initializer("sam-hf", weights=tmp_path, device="cpu")


def test_another_kind_of_network_is_refused(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="bert"):
        make_initializer("sam-hf", weights=tmp_path, device="cpu")


@pytest.mark.parametrize("damage", ["no folder", "config", "weights"])
def test_damaged_or_missing_files_are_named(published, tmp_path, damage):
    _, model, processor, _ = published
    folder = tmp_path / "weights"
    if damage != "no folder":
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / {"config": "config.json", "weights": "model.safetensors"}[damage]).write_bytes(b"no such thing")
    with pytest.raises(CheckpointError, match="weights"):
        make_initializer("sam-hf", weights=folder, device="cpu")


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"msdeaot-tracker\[sam-hf\]"):
        make_initializer("sam-hf", weights=tmp_path, device="cpu")
