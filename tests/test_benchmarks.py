"""The benchmarks run, and say what is wrong with what they were given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True)


def test_speed_prints_a_row_whose_parts_add_up():
    options = "--presets msdeaot-small --sizes 96x64 --objects 11 --memory 2 --frames 1 --device cpu --threads 1"
    result = run("speed.py", *options.split())
    assert result.returncode == 0, result.stderr
    name, size, objects, memory, total, *parts = result.stdout.splitlines()[-1].split()
    assert (name, size, objects, memory) == ("msdeaot-small", "96x64", "11", "2")
    assert len(parts) == 5
    assert abs(float(total) - sum(map(float, parts))) < 0.005


def test_speed_names_an_unknown_preset():
    result = run("speed.py", "--presets", "nonesuch")
    assert result.returncode == 2
    assert "nonesuch" in result.stderr


def test_a_folder_without_the_public_code_is_named(tmp_path):
    result = run("against_public.py", str(tmp_path))
    assert result.returncode == 2
    assert str(tmp_path) in result.stderr
    assert "no checkout" in result.stderr


def test_initializers_prints_scores_of_procedural_boxes():
    result = run("initializers.py", "--procedural", "1", "--seed", "3", "--initializers", "box", "grabcut", "--jitter")
    assert result.returncode == 0, result.stderr
    name, iou, median, box_iou, _milliseconds = result.stdout.splitlines()[-2].split()
    assert name == "box" and float(box_iou) > 0.99  # up to whole pixels
    assert 0.1 < float(iou) < 0.9 and 0.1 < float(median) < 0.9
    assert 0.1 < float(result.stdout.splitlines()[-1].split()[1]) < 1


def test_initializers_names_an_unknown_setting():
    result = run("initializers.py", "--procedural", "1", "--initializer-set", "grabcut.sum=3")
    assert result.returncode == 2
    assert "grabcut" in result.stderr and "sum" in result.stderr
