"""Training on real pictures: stills in their folders, what is held out of them, cut-outs, mixes that grow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from msdeaot_tracker import InputError
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.cut_outs import Photographs, make_cut_out
from msdeaot_tracker.data.datasets.image_sets import open_photographs, open_stills
from msdeaot_tracker.data.datasets.masked_videos import VideoSet, held_out, hold_out
from msdeaot_tracker.data.mixing import DrawnPart, MixConfig, MixedBatches, Part
from msdeaot_tracker.data.procedural.clip import generate_clip
from msdeaot_tracker.data.procedural.config import ClipConfig
from msdeaot_tracker.images import write_image, write_mask
from msdeaot_tracker.training.recipes import find_recipe

QUIET = ClipConfig(
    height=96,
    width=96,
    frames=4,
    max_distractors=0,
    camouflage_probability=0,
    occluder_probability=0,
    screen_probability=0,
    shadow_probability=0,
    lighting_probability=0,
    motion_blur_probability=0,
    defocus_probability=0,
    noise=(0, 0),
    jpeg_probability=0,
    absence_probability=0,
    turning_probability=0,
    blurred_background_probability=0,
)


def write_still(root: Path, name: str, colour=(200, 0, 0), side: int = 40) -> None:
    """A square of a colour on grey."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image, labels = np.full((60, 80, 3), 90, np.uint8), np.zeros((60, 80), np.int32)
    image[10 : 10 + side, 20 : 20 + side], labels[10 : 10 + side, 20 : 20 + side] = colour, 1
    write_image(root / "images" / f"{name}.png", image)
    write_mask(root / "masks" / f"{name}.png", labels)


@pytest.fixture
def stills(tmp_path) -> VideoSet:
    for i in range(40):
        write_still(tmp_path / "stills", f"{i:02d}")
    return open_stills(tmp_path / "stills")


@pytest.fixture
def blue(tmp_path) -> VideoSet:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "sky.png", np.full((90, 120, 3), (0, 0, 220), np.uint8))
    return open_photographs(tmp_path / "photos")


class TestFolders:
    def test_half_of_the_pairs(self, tmp_path):
        write_still(tmp_path, "a")
        write_still(tmp_path, "b")
        (tmp_path / "masks" / "b.png").unlink()
        with pytest.raises(InputError, match="1 of 2 have no mask, 'b' among them"):
            open_stills(tmp_path)
        (tmp_path / "images" / "a.png").unlink()
        (tmp_path / "images" / "b.png").unlink()
        with pytest.raises(InputError, match="1 of 1 have no picture, 'a' among them"):
            open_stills(tmp_path)

    def test_no_masks(self, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(InputError, match=r"there is no folder .*masks"):
            open_stills(tmp_path)
        (tmp_path / "masks").mkdir()
        with pytest.raises(InputError, match="no pictures to train on"):
            open_stills(tmp_path)

    def test_a_mask_of_another_size_and_a_broken_picture_are_skipped_and_counted(self, tmp_path, caplog):
        for name in "abc":
            write_still(tmp_path, name)
        write_mask(tmp_path / "masks" / "a.png", np.ones((5, 6), np.int32))
        (tmp_path / "images" / "b.png").write_bytes(b"no picture")
        data = MixedBatches([Part(open_stills(tmp_path), merge=0)], MixConfig(1, 48, 3, min_pixels=10), 30, 0)
        assert {data.sample(number).origin for number in range(30)} == {"stills: c"}
        assert data.skipped > 0 and "its mask 6x5" in caplog.text and "b.png" in caplog.text

    def test_a_recipe_whose_data_are_not_whole_does_not_start(self, tmp_path, capsys):
        for name in find_recipe("msdeaot-lite").data.datasets:
            (tmp_path / name).mkdir()
        assert main(["train", "msdeaot-lite", "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "5 of 5 datasets cannot be used" in said and "coco128" in said and not (tmp_path / "out").exists()


class TestHeldOut:
    def test_stills_are_in_one_of_the_two(self, stills):
        trained, kept = set(hold_out(stills).names), set(held_out(stills).names)
        assert trained | kept == set(stills.names) and not trained & kept and 0 < len(kept) < len(stills.names) / 4
        assert set(hold_out(replace(stills, names=stills.names[:20])).names) <= trained  # whatever else is there

    def test_videos_lose_their_end(self):
        videos = VideoSet("v", ["a"], lambda name: list(range(50)))
        trained, kept = (each.frames("a") for each in (hold_out(videos), held_out(videos)))
        assert trained + kept == list(range(50)) and len(kept) == 10

    def test_the_command_writes_what_can_be_evaluated(self, tmp_path, capsys):
        for name in ("coco128", "ccp", "caltech"):
            for i in range(20):
                write_still(tmp_path / "data" / name, str(i))
        (tmp_path / "data" / "photos").mkdir()
        for i in range(20):
            write_image(tmp_path / "data" / "photos" / f"{i}.png", np.full((60, 60, 3), 7 * i, np.uint8))
        for i in range(10):
            for folder in ("JPEGImages", "Annotations"):
                (tmp_path / "data" / "videos" / folder / "v").mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / f"data/videos/JPEGImages/v/{i:05d}.png", np.full((40, 40, 3), i, np.uint8))
            write_mask(tmp_path / f"data/videos/Annotations/v/{i:05d}.png", np.eye(40, dtype=np.int32))
        command = ["data", "held-out", str(tmp_path / "val"), "--data-root", str(tmp_path / "data"), "--count", "2"]
        assert main(command) == 0 and "3 sequences" in capsys.readouterr().out
        assert sorted(path.name for path in (tmp_path / "val" / "JPEGImages").iterdir()) == ["000-one", "001-two", "v"]
        assert len(list((tmp_path / "val" / "Annotations" / "v").iterdir())) == 2
        assert main(command) == 2 and "already" in capsys.readouterr().err


class TestCutOuts:
    def test_labels_are_where_the_object_is(self, stills, blue):
        clip = generate_clip(3, QUIET, Photographs([stills], [1.0], blue, crowded=0.0))
        assert clip.labels[0].any()
        for frame, labels in zip(clip.frames.astype(int), clip.labels, strict=True):
            reddish = frame[..., 0] > frame[..., 2]
            assert (reddish == (labels > 0)).mean() > 0.97

    def test_backgrounds_come_from_stills_where_there_are_no_others(self, stills):
        clip = generate_clip(3, QUIET, Photographs([stills], [1.0], None))
        ground = clip.frames[0][clip.labels[0] == 0].astype(int)
        assert (ground[:, 2] < ground[:, 0] + 60).mean() > 0.98, "red squares on grey, nothing blue"

    @pytest.mark.parametrize("diameter", [8, 40, 150])
    def test_size_and_coverage(self, diameter):
        rng = np.random.default_rng(0)
        mask = np.zeros((40, 60), bool)
        mask[:, 20:] = True
        figure = make_cut_out(rng, np.full((40, 60, 3), 100, np.uint8), mask, diameter, 0.05)
        picture = figure.draw(0.0, 0.0)
        longest = min(diameter, 2.5 * 60)
        area = np.count_nonzero(picture[..., 3] >= 128)
        assert area == pytest.approx(longest**2 * 40 / 60 * 40 / 60, rel=0.15)
        assert (picture[..., :3] <= picture[..., 3:]).all(), "colours are premultiplied"
        turned = figure.draw(0.0, 1.2)
        assert np.count_nonzero(turned[..., 3] >= 128) < 0.6 * area

    def test_pictures_without_a_usable_object(self, tmp_path, blue):
        write_still(tmp_path / "small", "a", side=5)
        with pytest.raises(InputError, match="no object of 14 pixels"):
            generate_clip(0, QUIET, Photographs([open_stills(tmp_path / "small")], [1.0], blue))
        with pytest.raises(InputError, match="share above 0"):
            Photographs([], [], blue)


class TestMix:
    CONFIG = MixConfig(batch_size=2, size=33, frames=2, min_pixels=9, growing=((0.5, 49, 3), (0.75, 65, 4)))

    def test_clips_grow(self, stills):
        data = MixedBatches([Part(stills, merge=0)], self.CONFIG, 8, 0)
        shapes = [tuple(data[i][0][1].shape[1:]) for i in range(8)]
        assert shapes == 4 * [(2, 33, 33)] + 2 * [(3, 49, 49)] + 2 * [(4, 65, 65)]

    def test_drawn_parts_by_their_share(self, stills, blue):
        clips = ClipConfig(absence_probability=0)
        props = Photographs([stills], [1.0], blue)
        parts = [Part(stills, merge=0, weight=1.0), DrawnPart("painted", 1.0, clips), DrawnPart("c", 2.0, clips, props)]
        data = MixedBatches(parts, self.CONFIG, 8, 0)
        origins = [data.sample(number).origin.partition(":")[0] for number in range(60)]
        assert 8 <= origins.count("painted") <= 24 and 20 <= origins.count("c") <= 40
        again = MixedBatches(parts, self.CONFIG, 8, 0).sample(7).clip
        assert all(np.array_equal(a, b) for a, b in zip(data.sample(7).clip, again, strict=True))
        with pytest.raises(InputError, match="give every dataset of a mix a weight, or none"):
            MixedBatches([Part(stills), parts[1]], self.CONFIG, 8, 0)

    def test_a_batch_holds_objects_and_nothing_void(self, stills):
        frames, labels = MixedBatches([Part(stills, merge=0.5)], self.CONFIG, 2, 0)[0][0]
        assert frames.dtype == labels.dtype == torch.uint8 and labels[:, 0].flatten(1).amax(dim=1).min() > 0
