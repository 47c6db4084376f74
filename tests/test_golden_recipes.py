"""The recipes against the check sums that come with the reference numbers."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import golden_recipes
import numpy as np
import parity
import pytest

DATA = Path(__file__).parent / "data"


def keys_of(model: str) -> dict:
    return json.loads((DATA / f"{model}_keys.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", [*parity.PRESET_OF, "vmos", "intern_t", "alpha_refine"])
def test_weights_have_the_stated_first_last_and_sum(model):
    keys = keys_of(model)
    if model == "vmos":
        weights = golden_recipes.vmos_weights(keys["keys"])
    elif model == "intern_t":
        weights = golden_recipes.intern_image_weights(keys["keys"])
    elif model == "alpha_refine":
        weights = golden_recipes.alpha_refine_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
        weights = {key: value for key, value in weights.items() if value.dtype == np.float32}
    else:
        weights = golden_recipes.deaot_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    probes = keys["recipe_probe_first_last_sum"]
    assert set(weights) == set(probes)
    for key, (first, last, total) in probes.items():
        flat = weights[key].ravel()
        assert flat[0] == pytest.approx(first, rel=1e-6), key
        assert flat[-1] == pytest.approx(last, rel=1e-6), key
        assert flat.sum(dtype=np.float64) == pytest.approx(total, abs=1e-4), key


@pytest.mark.parametrize(
    "name", ["aott_a", "aott_b", "r50_aotl_a", "swinb_aotl_a", "deaott_a", "deaott_b", "r50_deaotl_a", "swinb_deaotl_a"]
)
def test_video_is_bit_exact(name):
    golden = np.load(DATA / f"{name}.npz")
    meta = json.loads(str(golden["meta"]))
    clip = list(golden_recipes.video(meta["H"], meta["W"], meta["nobj"], meta["frames"], meta["seed"]))
    assert [zlib.crc32(image.tobytes()) for image, _ in clip] == golden["frame_crc32"].tolist()
    assert np.array_equal(clip[0][1], golden["ref_label"])
    means = [golden_recipes.network_input(image).mean(dtype=np.float64) for image, _ in clip]
    assert np.allclose(means, golden["input_mean"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["vmos_a", "vmos_b", "vmos_c"])
def test_features_are_bit_exact(name):
    golden = np.load(DATA / f"{name}.npz")
    meta = json.loads(str(golden["meta"]))
    labels = golden["gt_label"]
    found = [[zlib.crc32(m.tobytes()) for m in maps] for maps in golden_recipes.features(labels, meta["seed"])]
    assert found == golden["feat_crc32"].tolist()
    clip = golden_recipes.video(meta["H"], meta["W"], meta["nobj"], meta["frames"], meta["seed"])
    assert np.array_equal(labels, np.stack([label for _, label in clip]))


def test_a_clip_longer_than_its_background_is_refused():
    with pytest.raises(ValueError, match="33"):
        next(golden_recipes.video(64, 64, 1, 33, 0))
