"""Our network against the reference numbers of the public ones, and the comparison against planted errors."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import parity
import parity_dmaot
import pytest
import torch

from msdeaot_tracker import memory

GOLDENS = sorted(path.name for path in parity.DATA.glob("*.npz") if path.name.rsplit("_", 1)[0] in parity.TOLERANCES)


def check(name: str) -> parity.Report:
    model = name.rsplit("_", 1)[0]
    return parity.check(parity.DATA / name, model, parity.find_keys(parity.DATA, model))


@pytest.mark.parametrize("name", GOLDENS)
def test_numbers_of_the_public_network_are_reproduced(name):
    report = check(name)
    assert report.problems == []
    assert 0 < report.logits < report.tolerance.logits
    assert 0 < report.inner < report.tolerance.inner
    assert report.label_pixels > 0


def run_on_altered(tmp_path, **changes) -> int:
    golden = dict(np.load(parity.DATA / "deaott_a.npz"))
    for name, change in changes.items():
        golden[name] = change(golden[name].copy())
    np.savez(tmp_path / "deaott_x.npz", **golden)
    return parity.main([str(tmp_path)])


def add_at_one_place(amount):
    def change(values):
        values.ravel()[values.size // 2] += amount
        return values

    return change


@pytest.mark.parametrize(
    ("array", "amount", "code"),
    [
        ("logits", 1e-4, 0),
        ("logits", 2e-3, 1),
        ("f0_logits", 2e-3, 1),
        ("up_logits_last", 2e-3, 1),
        ("f0_idemb", 5e-3, 1),
        ("f1_gpm0_short_id", 5e-3, 1),
        ("f1_dec4", np.nan, 1),
        ("mem_tokens", 1, 1),
        ("frame_crc32", 1, 1),
        ("label_net", 1, 1),
    ],
)
def test_a_planted_difference_is_found(tmp_path, capsys, array, amount, code):
    assert run_on_altered(tmp_path, **{array: add_at_one_place(amount)}) == code
    assert ("FAILED" in capsys.readouterr().out) == bool(code)


def test_an_array_without_counterpart_is_a_failure(tmp_path, capsys):
    golden = dict(np.load(parity.DATA / "deaott_a.npz"))
    np.savez(tmp_path / "deaott_x.npz", f1_unheard_of=np.zeros(3), **golden)
    assert parity.main([str(tmp_path)]) == 1
    assert "f1_unheard_of" in capsys.readouterr().out


def test_unknown_files_are_skipped_aloud_and_an_empty_folder_fails(tmp_path, capsys):
    np.savez(tmp_path / "somebody_a.npz", x=np.zeros(1))
    assert parity.main([str(tmp_path)]) == 1
    assert "somebody_a.npz" in capsys.readouterr().out
    shutil.copy(parity.DATA / "deaott_a.npz", tmp_path)
    assert parity.main([str(tmp_path)]) == 0
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("deaott_a.npz", {"long_term_gap": None}),
        ("vmos_b.npz", {"short_term_lag": 1}),
        ("vmos_c.npz", {"long_term_max": None}),
        ("vmos_c.npz", {"long_term_max": 7}),
        ("vmos_c.npz", {"policy": "oldest", "long_term_max": 5}),
    ],
)
def test_another_memory_policy_is_found(monkeypatch, name, wrong):
    right = parity.memory_config
    monkeypatch.setattr(parity, "memory_config", lambda meta, *, vmos: replace(right(meta, vmos=vmos), **wrong))
    monkeypatch.setattr(parity, "compare_memory", lambda *_: None)  # by the numbers alone
    assert any("logits" in problem for problem in check(name).problems)


def dmaot() -> parity.Report:
    model = parity.build("r50_deaotl", parity.find_keys(parity.DATA, "r50_deaotl"))
    return parity_dmaot.check(parity.DATA / "dmaot_a.npz", model)


def test_memory_of_dmaot_is_reproduced():
    report = dmaot()
    assert report.problems == []
    assert 0 < report.logits < report.tolerance.logits and report.label_pixels > 0


@pytest.mark.parametrize("mistake", ["keys alone", "most alike leaves", "lag"])
def test_another_memory_than_that_of_dmaot_is_found(monkeypatch, mistake):
    likeness, config = memory._likeness, parity_dmaot.memory_config
    if mistake == "keys alone":

        def keys(entry):
            return tuple(replace(tokens, value=tokens.key) for tokens in entry)

        monkeypatch.setattr(memory, "_likeness", lambda one, two: likeness(keys(one), keys(two)))
    elif mistake == "lag":
        monkeypatch.setattr(parity_dmaot, "memory_config", lambda meta: replace(config(meta), short_term_lag=1))
    else:
        monkeypatch.setattr(memory, "_likeness", lambda a, b: -likeness(a, b))
    assert any("logits" in problem for problem in dmaot().problems)


@torch.inference_mode()
def test_twelve_objects_are_two_groups_with_shifted_ids():
    model = parity.build("deaott", parity.find_keys(parity.DATA, "deaott"))
    features = model.encode(torch.rand(1, 3, 65, 81, generator=torch.Generator().manual_seed(0)))
    labels = np.zeros((65, 81), np.uint8)
    for k in range(12):
        labels[16 * (k // 4) : 16 * (k // 4) + 12, 20 * (k % 4) : 20 * (k % 4) + 15] = k + 1
    labels[60:] = 255

    many = parity.Groups(model, 12, parity.MemoryConfig())
    many.reference(features, labels)
    merged = many.merge(many.decode(features))
    few = parity.Groups(model, 2, parity.MemoryConfig())
    few.reference(features, np.where((labels == 11) | (labels == 12), labels, 10) - 10)

    alone = few.decode(features)[0][0].softmax(dim=0)
    first = many.decode(features)[0][0].softmax(dim=0)
    assert merged.shape == (21, 17, 21)
    assert torch.allclose(merged[11:13].sigmoid(), alone[1:3].clamp(1e-5, 1 - 1e-5), atol=1e-6)
    assert torch.allclose(merged[0].sigmoid(), (first[0] * alone[0]).clamp(1e-5, 1 - 1e-5), atol=1e-6)
    assert torch.allclose(merged[13:].sigmoid(), torch.tensor(1e-5), atol=1e-7)
