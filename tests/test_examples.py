"""The examples in the docstrings of public names are run as they stand."""

import doctest
import json

import numpy as np
import pytest

import msdeaot_tracker
from msdeaot_tracker.images import write_image

BOX = (10, 12, 20, 16)
SPOKEN_FOR = {"PRESETS": msdeaot_tracker.Preset}  # a dictionary has no docstring of its own


def picture(index: int) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (64, 96, 3)).astype(np.uint8)
    image[12:28, 10 + 2 * index : 30 + 2 * index] = (220, 60, 40)
    image[40:60, 4:24] = (40, 90, 220)
    return image


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict:
    """What the examples use without saying where it is from, in a folder with the files that they name."""
    (tmp_path / "clip").mkdir()
    for index in range(3):
        write_image(tmp_path / "clip" / f"{index:05d}.png", picture(index))
    prompts = {"0": {"1": {"box": BOX}}, "2": {"1": {"points": {"foreground": [[40, 20]]}}}}
    (tmp_path / "prompts.json").write_text(json.dumps({"frames": prompts}))
    monkeypatch.chdir(tmp_path)
    own = {"np": np, "image": picture(0), "images": [picture(1)], "video": "clip", "box": BOX}
    return {name: getattr(msdeaot_tracker, name) for name in msdeaot_tracker.__all__} | own


@pytest.mark.parametrize("name", ["msdeaot_tracker", *msdeaot_tracker.__all__])
def test_examples_run(name, names):
    of = SPOKEN_FOR.get(name) or getattr(msdeaot_tracker, name, msdeaot_tracker)
    example = doctest.DocTestParser().get_doctest(of.__doc__, names, name, None, None)
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)
