"""`msdeaot train`: what runs, what it says, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_data import LAYOUTS, cut_jpeg, draw, one_frame, write_folder

from msdeaot_tracker import load_model
from msdeaot_tracker.checkpoints import save_checkpoint
from msdeaot_tracker.checkpoints.io import write_tensors
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.config import MemoryConfig, find_preset
from msdeaot_tracker.data.procedural.clip import ClipConfig, generate_clip
from msdeaot_tracker.images import write_image, write_mask
from msdeaot_tracker.initializers import make_initializer
from msdeaot_tracker.initializers.lite import FORMAT, save_lite
from msdeaot_tracker.initializers.lite_net import BoxToMaskNet
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training.losses import segmentation_loss
from msdeaot_tracker.training.recipes import RECIPES
from msdeaot_tracker.training.rollout import rollout
from msdeaot_tracker.types import Box

QUICK = ["--device", "cpu", "--workers", "0", "--precision", "32-true", "--size", "49"]
SMALL = ["train", "msdeaot-small", "--batch-size", "2", *QUICK]
SHIPPED = Path(__file__).parents[1] / "msdeaot_tracker/weights/msdeaot-small.safetensors"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "Daten – 図"
    folder.mkdir()
    return folder


def says(capsys, command: list[object], code: int) -> str:
    """What the command prints, on stderr if it refuses: one line then."""
    assert main([str(part) for part in command]) == code
    printed = capsys.readouterr()
    if code:
        lines = [line for line in printed.err.splitlines() if line.startswith("msdeaot: error: ")]
        assert len(lines) == 1 and "Traceback" not in printed.err
        return lines[0]
    return printed.out


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_sequences(root: Path, seeds: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """Procedural clips as the folders that users have."""
    clips = []
    for seed in seeds:
        clip = generate_clip(seed, ClipConfig(height=97, width=113, frames=6, max_objects=2))
        for t, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
            for kind in ("JPEGImages", "Annotations"):
                (root / kind / f"clip{seed}").mkdir(parents=True, exist_ok=True)
            write_image(root / f"JPEGImages/clip{seed}/{t:05d}.jpg", frame)
            write_mask(root / f"Annotations/clip{seed}/{t:05d}.png", labels.astype(np.int32))
        clips.append((clip.frames, clip.labels))
    return clips


def write_stills(root: Path) -> None:
    """Tiny sets in the place of those that the recipes of real pictures read."""
    clip = generate_clip(7, ClipConfig(height=81, width=97, frames=8, max_objects=2))
    for name in ("coco128", "ccp", "caltech"):
        for kind in ("images", "masks"):
            (root / name / kind).mkdir(parents=True)
        for t, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
            write_image(root / name / f"images/{t}.jpg", frame)
            write_mask(root / name / f"masks/{t}.png", labels.astype(np.int32))
    (root / "photos").mkdir()
    write_image(root / "photos/0.jpg", clip.frames[0])
    write_sequences(root / "videos", range(7, 8))


def write_foreign(folder: Path) -> Path:
    """Weights in the initializer's format with a tensor that it does not have."""
    state = {**BoxToMaskNet().state_dict(), "surplus": torch.zeros(1)}
    write_tensors(folder / "foreign.safetensors", state, {"format": FORMAT})
    return folder / "foreign.safetensors"


class TestRuns:
    def test_a_recipe_stops_in_time_and_goes_on(self, folder, capsys):
        command = [*SMALL, "--steps", "3", "--micro-batch", "1", "--out", folder]
        text = says(capsys, [*command, "--time-budget", "0.001s"], 0)
        assert "at step 1 of 3" in text
        text = says(capsys, command, 0)
        assert "msdeaot-small on 1 x cpu: 3 steps of 2 samples; procedural clips, 5 frames of 49x49" in text
        assert "stopped" not in text and f"weights: {folder / 'weights.safetensors'}" in text
        assert rows(folder)[-1]["step"] == "3"
        before = (folder / "weights.safetensors").read_bytes(), (folder / "state.pt").read_bytes()
        for other in (["--seed", "1"], ["--size", "65"], ["--set", "schedule.learning_rate=1e-3"]):
            assert "was made with other settings" in says(capsys, [*command, *other], 2)
        assert before == ((folder / "weights.safetensors").read_bytes(), (folder / "state.pt").read_bytes())

    def test_the_initializer(self, folder, capsys):
        write_stills(folder)
        save_lite(folder / "start.safetensors", BoxToMaskNet())
        command = ["train", "box-to-mask", "--steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
        command += ["--data-root", folder, "--start", folder / "start.safetensors"]
        text = says(capsys, [*command, "--out", folder], 0)
        assert "crops of coco128" in text and "collage" in text and "209x209" in text
        assert rows(folder)[-1].keys() >= {"loss", "iou", "iou_error"}
        image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
        weights = folder / "weights.safetensors"
        estimate = make_initializer("lite", device="cpu", weights=weights)(image, Box(20, 15, 30, 24))
        assert estimate.source == "lite" and estimate.mask.any()
        assert "caltech: no folder given" in says(capsys, ["train", "box-to-mask", "--out", folder / "a"], 2)
        assert "does not fit" in says(capsys, [*command[:-1], write_foreign(folder), "--out", folder / "a"], 2)
        assert "has no size of frames" in says(capsys, [*command, "--size", "97", "--out", folder], 2)
        assert "--checkpoint-frames" in says(capsys, [*command, "--small-memory", "--out", folder], 2)
        assert "does not" in says(capsys, [*command, "--validate", "procedural", "--out", folder / "b"], 2)

    def test_fine_tuning_learns_a_users_folder(self, folder, capsys):
        clips, out, start = write_sequences(folder / "data", range(7, 9)), folder / "out", folder / "start.safetensors"
        model = load_model(device="cpu")
        with torch.no_grad():
            model.decoder.output.weight.zero_()  # what is left to learn: a good model's last steps show only by chance
        save_checkpoint(start, model)
        options = ["--steps", "12", "--batch-size", "2", "--size", "97", "--seed", "3", "--freeze-encoder"]
        options += ["--set", "schedule.learning_rate=4e-3"]
        watch = ["--tensorboard", "--picture-every", "12", "--validate", folder / "data", "--validate-every", "12"]
        command = ["train", "--finetune", start, "--data", folder / "data", "--out", out, *QUICK, *options, *watch]
        text = says(capsys, command, 0)
        assert "fine-tuning on 1 x cpu: 12 steps of 2 samples; folder 100%" in text
        weights = out / "weights.safetensors"
        before, after = (load_model(weights=path, device="cpu") for path in (start, weights))
        assert sum(map(partial(loss_on, after), clips)) < 0.93 * sum(map(partial(loss_on, before), clips))
        frozen = before.encoder.state_dict()
        assert all(torch.equal(tensor, frozen[key]) for key, tensor in after.encoder.state_dict().items())
        assert 0 < float(rows(out)[-1]["validation_J"]) <= 1
        assert list((out / "pictures").iterdir()) and list((out / "charts").iterdir())
        sequence = folder / "data/JPEGImages/clip7"
        mask = folder / "data/Annotations/clip7/00000.png"
        track = ["track", sequence, "--mask", mask, "--device", "cpu", "--out", folder / "tracked"]
        says(capsys, [*track, "--weights", weights], 0)
        assert json.loads((folder / "tracked/result.json").read_text())["preset"] == "msdeaot-lite"

    def test_a_big_recipe_runs_on_datasets_as_they_are_published(self, folder, capsys):
        for name in ("visor", "davis", "youtube-vos"):
            (folder / name).mkdir()
            LAYOUTS[name](folder / name)
        save_checkpoint(folder / "phase1.safetensors", MSDeAOT(find_preset("r50-deaot-l")))
        command = ["train", "table2-2", "--data-root", folder, "--start", folder / "phase1.safetensors", *QUICK]
        text = says(capsys, [*command, "--steps", "1", "--batch-size", "1", "--out", folder / "out"], 0)
        assert "table2-2 on 1 x cpu: 1 steps of 1 samples; visor 14%, youtube-vos 14%, davis 71%" in text
        assert np.isfinite(float(rows(folder / "out")[-1]["loss"]))
        assert load_model(weights=folder / "out/weights.safetensors", device="cpu").preset.name == "r50-deaot-l"

    def test_a_loss_that_is_no_number_can_be_replayed(self, folder, capsys):
        model = load_model("msdeaot-small", device="cpu")
        with torch.no_grad():
            model.decoder.output.weight.fill_(1e38)  # finite, unlike what comes of it
        save_checkpoint(folder / "huge.safetensors", model)
        command = [*SMALL, "--steps", "2", "--start", folder / "huge.safetensors", "--out", folder / "out"]
        assert "replay-0.pt" in says(capsys, command, 2)
        text = says(capsys, ["train", "--replay", folder / "out/replay-0.pt", "--device", "cpu"], 0)
        assert "loss of micro-batch 0: nan" in text


def loss_on(model, clip: tuple[np.ndarray, np.ndarray]) -> float:
    """From the first frame's masks, over the clip."""
    frames = torch.from_numpy(clip[0]).permute(0, 3, 1, 2)[None].float() / 255
    labels = torch.from_numpy(clip[1])[None].long()
    with torch.inference_mode():
        logits = rollout(model, frames, labels, MemoryConfig())[0, 1:]
        enlarged = torch.nn.functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=True)
        return segmentation_loss(enlarged, labels[0, 1:], 1.0).item()


class TestBrokenData:
    """A folder that is not as it should be; what is broken is named and replaced, and nothing more."""

    COMMAND = ("train", "--finetune", SHIPPED, "--steps", "2", "--batch-size", "4", *QUICK)

    def test_a_video_of_one_frame_void_many_objects_a_cut_picture(self, folder, capsys, caplog):
        data = folder / "data"
        write_folder(data, {"bad": {}, "crowd": {"objects": 12}, "void": {"objects": 2}})
        cut_jpeg(data)
        write_folder(data, {"short": {"frames": 1}})
        for path in (data / "Annotations/void").iterdir():
            labels = draw(int(path.stem), 2)[1]
            labels[40:] = 255
            write_mask(path, labels)
        options = ["--data", data, "--out", folder / "out", "--set", "save_every=1", "--small-memory"]
        says(capsys, [*self.COMMAND, *options], 0)
        assert all(np.isfinite(float(row["loss"])) for row in rows(folder / "out"))
        warnings = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
        assert any("1 frame with a mask" in w for w in warnings) and any(
            "00002.jpg cannot be read" in w for w in warnings
        )

    @pytest.mark.parametrize(
        ("spoil", "message"), [(cut_jpeg, "00002.jpg cannot be read"), (one_frame, "1 frame with a")]
    )
    def test_nothing_else_to_train_on(self, spoil, message, folder, capsys):
        data, out = folder / "data", folder / "out"
        write_folder(data, {"bad": {"frames": 3}})
        spoil(data)
        out.mkdir()
        (out / "weights.safetensors").write_bytes(b"earlier")
        error = says(capsys, [*self.COMMAND, "--data", data, "--out", out], 2)
        assert "folder: 100 clips of it in a row are of no use" in error and message in error and "bad" in error
        assert (out / "weights.safetensors").read_bytes() == b"earlier"


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["msdeaot-big"], "unknown recipe 'msdeaot-big'"),
            ([], "name a recipe, or --finetune"),
            (["msdeaot-small", "--finetune", "x"], "not both"),
            (["msdeaot-small", "--preset", "msdeaot-small"], "--preset belongs to --finetune"),
            (["msdeaot-small", "--size", "160"], "160x160: msdeaot-small takes sides of the form 16k+1, as 161"),
            (["msdeaot-swinb-phase1", "--size", "465"], "takes sides of the form 16k, as 464"),
            (["msdeaot-small", "--steps", "0"], "--steps 0: at least 1"),
            (["msdeaot-small", "--batch-size", "4", "--micro-batch", "3"], "a batch of 4 is not made of"),
            (["msdeaot-small", "--batch-size", "3", "--devices", "2"], "3 cannot be shared out between 2 processes"),
            (["msdeaot-small", "--devices", "0"], "between 0 processes"),
            (["msdeaot-small", "--set", "schedule.speed=1"], "has no 'speed'"),
            (["msdeaot-small", "--set", "schedule.warm_up=fast"], "expected float"),
            (["msdeaot-small", "--data", "davis=x"], "msdeaot-small has no such dataset; it reads none"),
            (["table2-2", "--data", "mose=x"], "it reads visor, youtube-vos, davis"),
            (["table2-2", "--data", "davis"], "is not NAME=DIR"),
            (["table2-2", "--data", "davis=x", "--data", "davis=y"], "--data davis is given twice"),
            (["table2-2"], "goes on from the weights of r50-deaot-l-phase1: --start"),
            (["msdeaot-small-continued"], "goes on from the weights of msdeaot-small: --start"),
            (["msdeaot-small", "--encoder-weights", "x"], "does not start from an encoder's weights"),
            (["msdeaot-small", "--start", "gone.pth"], "cannot read weights gone.pth"),
            (["msdeaot-small", "--validate", "gone"], "gone"),
            (["msdeaot-small", "--picture-every", "0"], "at least every step"),
            (["msdeaot-small", "--device", "gpu"], "unknown device 'gpu'"),
        ],
    )
    def test_options(self, options, message, folder, capsys):
        out = folder / "out"
        assert message in says(capsys, ["train", "--device", "cpu", "--workers", "0", "--out", out, *options], 2)
        assert not (out / "state.pt").exists()

    def test_no_place_to_write_to(self, capsys):
        assert "--out DIR" in says(capsys, ["train", "msdeaot-small"], 2)

    @pytest.mark.parametrize("text", ["soon", "9", "9m30", ""])
    def test_times(self, text, capsys):
        with pytest.raises(SystemExit, match="2"):
            main([*SMALL, "--time-budget", text])
        assert "is no time" in capsys.readouterr().err

    def test_weights_that_are_none(self, folder, capsys):
        (folder / "noise.pth").write_bytes(b"noise and noise and noise")
        command = ["train", "--data", folder, "--out", folder / "out", "--device", "cpu"]
        assert "noise.pth is no weights file" in says(capsys, [*command, "--finetune", folder / "noise.pth"], 2)
        torch.save({"state_dict": {"a": torch.zeros(1)}}, folder / "bare.pth")
        assert "--preset NAME" in says(capsys, [*command, "--finetune", folder / "bare.pth"], 2)
        named = [*command, "--finetune", folder / "bare.pth", "--preset", "r50-deaot-l"]
        write_folder(folder)
        assert "bare.pth" in says(capsys, named, 2)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_worker_says_no_more_than_the_one_line(self, folder, capsys, workers):
        """Also where the fault is found in a process of its own, whose traceback would come with it."""
        write_folder(folder)
        for path in (folder / "JPEGImages").glob("*/*"):
            path.write_bytes(b"no picture")
        command = ["train", "--finetune", "msdeaot-small", "--data", folder, "--out", folder / "out", *QUICK]
        error = says(capsys, [*command, "--steps", "1", "--workers", workers], 2)
        assert "clips of it in a row are of no use" in error and len(error) < 500
        assert not any(word in error for word in ("Caught", "Original", "DataLoader"))

    def test_weights_by_name(self, folder, capsys, monkeypatch):
        monkeypatch.setenv("MSDEAOT_CACHE", str(folder / "cache"))
        write_folder(folder)
        command = ["train", "--data", folder, "--dry-run", *QUICK, "--finetune"]
        assert "msdeaot-small from given weights" in says(capsys, [*command, "msdeaot-small"], 0)
        assert "msdeaot weights download r50-deaot-l-pre" in says(capsys, [*command, "r50-deaot-l-pre"], 2)
        assert "sam-vit-b is no model to track with" in says(capsys, [*command, "sam-vit-b"], 2)

    def test_datasets_that_are_missing_or_half_there(self, folder, capsys):
        (folder / "davis").mkdir()
        LAYOUTS["davis"](folder / "davis")
        (folder / "youtube-vos").mkdir()
        LAYOUTS["youtube-vos"](folder / "youtube-vos")
        shutil.rmtree(folder / "youtube-vos/train/Annotations")
        command = ["train", "table2-2", "--data-root", folder, "--start", SHIPPED, "--device", "cpu"]
        error = says(capsys, [*command, "--out", folder / "out"], 2)
        assert "2 of 3 datasets cannot be used" in error and "epic-kitchens.github.io/VISOR" in error
        assert "Annotations: is the dataset complete" in error and "davis:" not in error


class TestDryRun:
    def test_what_is_missing_is_told_and_what_it_would_cost(self, folder, capsys):
        (folder / "davis").mkdir()
        LAYOUTS["davis"](folder / "davis")
        command = ["train", "table2-2", "--data-root", folder, "--dry-run", "--device", "cpu", "--size", "113"]
        assert main([str(part) for part in (*command, "--micro-batch", "1", "--devices", "8")]) == 2
        text = capsys.readouterr().out
        for part in (
            "davis        found: 2 videos",
            "youtube-vos  missing: there is no folder",
            "youtube-vos.org (research, not commercial)",
            "19.8 million parameters",
            "200,000 of 16 samples = 8 processes x 2 of 1 at once",
            "0.0002 to 1e-05, warm-up 5%; of the encoder x 0.1; weight decay 0.07",
            "GB per process",
            "s a step",
            "would not run: 2 of 3 datasets cannot be used; table2-2 goes on from the weights of r50-deaot-l-",
        ):
            assert part in text
        assert not any(path.suffix in (".pt", ".csv") for path in folder.rglob("*"))

    def test_what_would_run(self, capsys):
        text = says(capsys, [*SMALL, "--dry-run"], 0)
        assert "3.8 million parameters" in text and "2 x 49x49 on cpu" in text
        assert text.rstrip().endswith("would run") and "would not run" not in text

    def test_list(self, capsys):
        text = says(capsys, ["train", "--list"], 0)
        assert [line.split()[0] for line in text.splitlines()] == list(RECIPES)
