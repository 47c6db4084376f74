"""Datasets to train on: each layout, what a batch holds of them, and what becomes of what is broken."""

import json
import logging
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.augmentation import Augmentation
from msdeaot_tracker.data.dataset_check import check_videos
from msdeaot_tracker.data.datasets.catalogue import DATASETS, open_dataset
from msdeaot_tracker.data.datasets.masked_videos import VideoSet, object_ids, read_frame
from msdeaot_tracker.data.mask_records import FrameRecord, RecordFile, records_path
from msdeaot_tracker.data.mixing import MixConfig, MixedBatches, Part, choose_frames
from msdeaot_tracker.images import read_image, write_image, write_mask
from msdeaot_tracker.types import InputError

HEIGHT, WIDTH = 48, 64
PLAIN = Augmentation(recolour=0, blur=0, reverse=0, flip=0, zoom=1, aspect=1)
SMALL = MixConfig(batch_size=2, size=48, frames=3, min_pixels=10, augmentation=PLAIN)


def draw(frame: int, objects: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Squares in a row, moving right; object k has the red value 20 k, the background 0."""
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    for k in range(objects):
        row, column = divmod(k, 5)
        labels[4 + 13 * row : 14 + 13 * row, 3 + 11 * column + frame : 12 + 11 * column + frame] = k + 1
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0], image[..., 1] = labels * 20, frame
    return image, labels


def write(path: Path, image: np.ndarray, mask: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (write_mask if mask else write_image)(path, image)


def write_video(
    images: Path, masks: Path, frames: int = 5, objects: int = 2, name: str = "{:05d}", suffix=".png"
) -> None:
    """PNG images by default, so that values are kept; their suffix says so."""
    for frame in range(frames):
        image, labels = draw(frame, objects)
        write(images / f"{name.format(frame)}{suffix}", image)
        write(masks / f"{name.format(frame)}.png", labels, mask=True)


def write_folder(root: Path, videos: dict[str, dict] | None = None) -> Path:
    for name, options in (videos or {"ape": {}, "bee": {}}).items():
        write_video(root / "JPEGImages" / name, root / "Annotations" / name, **options)
    return root


def lines(path: Path, *text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


# --- each layout -----------------------------------------------------------------------------------------------------


def make_folder(root):
    write_folder(root)
    (root / "Annotations" / "ape" / "00001.png").unlink()  # not every frame has a mask
    return {"ape": 4, "bee": 5}, [1, 2]


def make_davis(root):
    for name in ("bear", "dog", "val"):
        write_video(root / "JPEGImages/480p" / name, root / "Annotations/480p" / name, suffix=".jpg")
    lines(root / "ImageSets/2017/train.txt", "bear", "dog")
    return {"bear": 5, "dog": 5}, [1, 2]


def make_youtube_vos(root):
    for name in ("003234408d", "0043f083b5"):
        write_video(root / "train/JPEGImages" / name, root / "train/Annotations" / name, suffix=".jpg")
    videos = {
        name: {"objects": {"1": {"category": "ape", "frames": ["00000"]}}} for name in ("0043f083b5", "003234408d")
    }
    (root / "train/meta.json").write_text(json.dumps({"videos": videos}))
    return {"003234408d": 5, "0043f083b5": 5}, [1, 2]


def make_mose(root):
    write_video(root / "train/JPEGImages/0a1b", root / "train/Annotations/0a1b", suffix=".jpg")
    return {"0a1b": 5}, [1, 2]


def make_visor(root):
    names = ("P01_01_seq_00001", "P01_107_seq_00002", "P03_09_seq_00012")
    for name in names:
        write_video(
            root / "JPEGImages/480p" / name, root / "Annotations/480p" / name, name=f"{name[:6]}_frame_{{:010d}}"
        )
    lines(root / "ImageSets/2022/train.txt", *names)
    lines(root / "sequences.txt", "P03-P03_09-4", "P01-P01_10-56")
    return {"P01_01_seq_00001": 5, "P01_107_seq_00002": 5}, [1, 2]


def make_lasot(root):
    for name in ("cat-1", "cat-20"):
        write_video(root / "cat" / name / "img", root / "lasot_masks" / name, 11, 1, "{:08d}", ".jpg")
        for path in (root / "lasot_masks" / name).iterdir():
            if int(path.stem) % 5 != 1:
                path.unlink()
            else:
                write_image(path, read_image(path)[..., :1].repeat(3, axis=2) // 128 * 255)  # a grey picture, 0 and 255
    lines(root / "testing_set.txt", "cat-20")
    return {"cat-1": 2}, [1]


def make_masks(root):
    write_video(root / "JPEGImages/cat-1", root / "Annotations/cat-1", 4, 1, "{:08d}")
    elsewhere = root.parent / "elsewhere"
    write_video(elsewhere, root / "Annotations/dog-1", 3, 1, "{:08d}")
    for video, count in (("cat-1", 4), ("dog-1", 3)):
        with RecordFile(records_path(root, video)) as records:
            for frame in range(count):
                status = "rejected" if frame == 1 else "kept"
                records.append(FrameRecord(f"{frame:08d}", str(elsewhere / f"{frame:08d}.png"), 1, 2, 3, 4, status))
    (root / "masks" / "later.csv.part").touch()
    return {"cat-1": 3, "dog-1": 2}, [1]


def make_vipseg(root):
    write_video(root / "imgs/12_ab", root / "panomasks/12_ab", 3, 3, "{:08d}", ".jpg")
    for path in (root / "panomasks/12_ab").iterdir():
        labels = draw(int(path.stem), 3)[1].astype(np.uint16)
        from PIL import Image

        Image.fromarray(np.array([0, 61, 6100, 6101], np.uint16)[labels]).save(path)  # a region and two instances
    lines(root / "train.txt", "12_ab")
    return {"12_ab": 3}, [6100, 6101]


def make_coco(root):
    images = [{"id": 7, "file_name": "000007.jpg", "height": HEIGHT, "width": WIDTH}]
    images += [{"id": i, "file_name": f"00000{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in (8, 9)]
    inner, outer = [20, 10, 30, 10, 30, 20, 20, 20], [10, 5, 40, 5, 40, 30, 10, 30]
    crowd = {"counts": [HEIGHT * 60, HEIGHT * 4], "size": [HEIGHT, WIDTH]}  # the last four columns
    annotations = [
        {"image_id": 7, "segmentation": [inner], "iscrowd": 0},
        {"image_id": 7, "segmentation": [outer, [2, 40, 6, 40, 6, 44, 2, 44]], "iscrowd": 0},
        {"image_id": 7, "segmentation": crowd, "iscrowd": 1},
        {"image_id": 8, "segmentation": crowd, "iscrowd": 1},
    ]
    for image in images:
        write(root / "train2017" / image["file_name"], draw(0)[0])
    (root / "annotations").mkdir()
    content = {"images": images, "annotations": annotations}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return {"000007.jpg": 1}, [1, 2]


def make_salience(images: str, masks: str, name: str):
    def make(root):
        for i in range(3):
            image, labels = draw(i)
            write(root / images / f"{name.format(i)}.jpg", image)
            soft = np.where(labels == 1, 200, np.arange(WIDTH)[None] + 10).astype(np.uint8)  # many grey levels
            write(root / masks / f"{name.format(i)}.png", soft[..., None].repeat(3, axis=2))
        return {name.format(i): 1 for i in range(3)}, [1]

    return make


def make_voc(root):
    root = root / "VOCdevkit/VOC2012"
    image, labels = draw(0, 2)
    labels[3, :] = 255
    write(root / "JPEGImages/2007_000032.jpg", image)
    write(root / "SegmentationObject/2007_000032.png", labels, mask=True)
    lines(root / "ImageSets/Segmentation/trainval.txt", "2007_000032")
    return {"2007_000032": 1}, [1, 2]


def make_sbd(root):
    savemat = pytest.importorskip("scipy.io", reason="SBD needs the extra train").savemat
    image, labels = draw(0, 2)
    write(root / "img/2008_000002.jpg", image)
    (root / "inst").mkdir()
    savemat(root / "inst/2008_000002.mat", {"GTinst": {"Segmentation": labels.astype(np.uint8), "Categories": [1, 2]}})
    lines(root / "train.txt", "2008_000002")
    lines(root / "val.txt")
    return {"2008_000002": 1}, [1, 2]


def make_stills(root):
    for i in range(3):
        image, labels = draw(i, 2)
        write(root / f"images/{i}.jpg", image)
        write(root / f"masks/{i}.png", labels, mask=True)
    return {str(i): 1 for i in range(3)}, [1, 2]


def make_photographs(root):
    for i in range(3):
        write(root / f"{i}.jpg", draw(i)[0])
    (root / "README.txt").touch()
    return {f"{i}.jpg": 1 for i in range(3)}, []


LAYOUTS = {
    "folder": make_folder,
    "videos": make_folder,
    "stills": make_stills,
    "coco128": make_stills,
    "ccp": make_stills,
    "caltech": make_stills,
    "photos": make_photographs,
    "davis": make_davis,
    "youtube-vos": make_youtube_vos,
    "mose": make_mose,
    "visor": make_visor,
    "lasot": make_lasot,
    "egotracks": make_masks,
    "got10k": make_masks,
    "masks": make_masks,
    "vipseg": make_vipseg,
    "coco": make_coco,
    "ecssd": make_salience("images", "ground_truth_mask", "{:04d}"),
    "msra10k": make_salience("Imgs", "Imgs", "{:04d}_x"),
    "pascal-s": make_salience("datasets/imgs/pascal", "datasets/masks/pascal", "{}"),
    "voc": make_voc,
    "sbd": make_sbd,
}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "Daten – 図"
    folder.mkdir()
    return folder


def test_every_dataset_has_a_layout_here():
    assert LAYOUTS.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name, root):
    expected, ids = LAYOUTS[name](root)
    videos = open_dataset(name, root)
    assert {video: len(videos.frames(video)) for video in videos.names} == expected
    for video in videos.names:
        maps = []
        for frame in videos.frames(video):
            image, labels = read_frame(frame)
            assert image.shape == (HEIGHT, WIDTH, 3) and labels.shape == (HEIGHT, WIDTH) and labels.dtype == np.int32
            maps.append(labels)
        assert object_ids(maps) == ids
    if ids:
        sample = MixedBatches([Part(videos)], SMALL, 1, 0).sample(0)
        assert sample.clip.labels[0].any() and sample.origin.startswith(f"{videos.name}: ")
    again = pickle.loads(pickle.dumps(videos))  # as for a worker that is spawned
    assert len(again.frames(again.names[0])) == expected[again.names[0]]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_wrong_or_half_a_folder_is_named(name, root, capsys):
    assert main(["data", "check", name, str(root / "missing")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["data", "check", name, str(root)]) == 2
    error = capsys.readouterr().err
    assert str(root) in error and "\n" not in error.strip()
    LAYOUTS[name](root)
    for folder in sorted(root.rglob("*"), reverse=True):  # all masks gone
        if folder.is_dir() and any(
            part in folder.name.lower() for part in ("anno", "mask", "segmentationobject", "inst")
        ):
            shutil.rmtree(folder)
    if name not in ("msra10k", "photos"):  # images and masks in one folder, or no masks
        assert main(["data", "check", name, str(root)]) == 2
        assert str(root) in capsys.readouterr().err


def test_frames_of_masks_are_those_with_the_same_name(root):
    make_visor(root)
    videos = open_dataset("visor", root)
    for index, frame in enumerate(videos.frames("P01_01_seq_00001")):
        image, labels = read_frame(frame)
        assert (image[..., 1] == index).all() and (labels == draw(index, 2)[1]).all()


def test_visor_is_not_used_without_the_list_of_trek150(root):
    make_visor(root)
    (root / "sequences.txt").unlink()
    with pytest.raises(InputError, match=r"sequences\.txt does not exist.*TREK-150-annotations\.zip"):
        open_dataset("visor", root)
    for text, message in (("P03_09", "line 1: 'P03_09' is no sequence"), ("", "is empty")):
        lines(root / "sequences.txt", text)
        with pytest.raises(InputError, match=message):
            open_dataset("visor", root)
    lines(root / "sequences.txt", "P03-P03_09-4")
    lines(root / "ImageSets/2022/train.txt", "kitchen_1")
    with pytest.raises(InputError, match="'kitchen_1' does not begin with a video"):
        open_dataset("visor", root)


def test_rejected_masks_are_not_used_and_images_are_found_without_links(root):
    make_masks(root)
    videos = open_dataset("masks", root)
    cat, dog = videos.frames("cat-1"), videos.frames("dog-1")
    assert [frame.image.name for frame in cat] == ["00000000.png", "00000002.png", "00000003.png"]
    assert cat[0].image.parent == root / "JPEGImages/cat-1"
    assert dog[1].image == root.parent / "elsewhere/00000002.png"
    assert (read_frame(dog[1])[1] == draw(2, 1)[1]).all()


def test_numbers_without_zeros_are_in_order(root):
    write_folder(root, {"ape": {"frames": 12, "name": "{}"}})
    names = [frame.image.stem for frame in open_dataset("folder", root).frames("ape")]
    assert names == [str(i) for i in range(12)]


def test_coco_polygons_crowds_and_overlaps(root):
    make_coco(root)
    labels = read_frame(open_dataset("coco", root).frames("000007.jpg")[0])[1]
    assert (labels[10:20, 20:30] == 1).all(), "the small object lies over the large one"
    assert (labels[5:30, 10:20] == 2).all() and (labels[41:43, 3:5] == 2).all()
    assert abs(int((labels == 1).sum()) - 100) <= 21 and abs(int((labels == 2).sum()) - 666) <= 130  # outlines count
    assert (labels[:, 60:] == 255).all() and (labels[:, :60] != 255).all()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"images": [], "annotations": []}', '{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}'],
)
def test_coco_files_that_are_none(content, root):
    make_coco(root)
    (root / "annotations/instances_train2017.json").write_text(content)
    with pytest.raises(InputError, match=r"instances_train2017\.json|no pictures to train on"):
        open_dataset("coco", root)


def test_lists_and_masks_of_another_kind(root):
    make_youtube_vos(root)
    for content in ("{", '{"videos": ["a"]}', "[]"):
        (root / "train/meta.json").write_text(content)
        with pytest.raises(InputError, match=r"meta\.json is damaged"):
            open_dataset("youtube-vos", root)
    make_sbd(root)
    frame = open_dataset("sbd", root).frames("2008_000002")[0]
    (root / "inst/2008_000002.mat").write_bytes(b"MATLAB" * 40)
    with pytest.raises(InputError, match=r"2008_000002\.mat is not a mask of SBD"):
        read_frame(frame)


def test_names_do_not_lead_out_of_the_folder(root):
    make_youtube_vos(root)
    (root / "train/meta.json").write_text(json.dumps({"videos": {"../../secret": {}}}))
    with pytest.raises(InputError, match="is no name of a video"):
        open_dataset("youtube-vos", root)
    make_davis(root)
    lines(root / "ImageSets/2017/train.txt", "../bear")
    with pytest.raises(InputError, match="leads out of the folder"):
        open_dataset("davis", root)


# --- samples ---------------------------------------------------------------------------------------------------------


def folder_set(root: Path, **videos) -> VideoSet:
    return open_dataset("folder", write_folder(root, videos))


def test_choose_frames():
    rng = np.random.default_rng(0)
    steps, starts = Counter(), Counter()
    for _ in range(400):
        order = choose_frames(rng, 30, 5, 3)
        assert order.min() >= 0 and order.max() < 30 and len(order) == 5
        steps.update(np.diff(order).tolist())
        starts[int(order[0])] += 1
    assert set(steps) == {1, 2, 3} and min(steps.values()) > 400 and len(starts) > 15
    assert set(np.diff(choose_frames(rng, 6, 5, 12))) == {1}, "a short video has short steps"
    for _ in range(20):
        order = choose_frames(rng, 3, 7, 12)
        assert set(order) == {0, 1, 2} and (abs(np.diff(order)) == 1).all(), "to and fro"
    with pytest.raises(InputError, match="1 frame with a mask; a video needs two"):
        choose_frames(rng, 1, 5, 3)


def test_a_sample_follows_from_seed_and_number(root):
    videos = folder_set(root, ape={"objects": 3}, bee={"objects": 2}, cat={"objects": 5})
    config = replace(SMALL, augmentation=Augmentation())
    data = MixedBatches([Part(videos)], config, 5, seed=1)
    batches = [data[i] for i in range(5)]
    assert all(len(batch) == 1 for batch in batches)
    frames, labels = batches[3][0]
    assert frames.shape == (2, 3, 3, 48, 48) and labels.shape == (2, 3, 48, 48)
    assert frames.dtype == labels.dtype == torch.uint8 and frames.is_contiguous()
    other = MixedBatches([Part(videos)], replace(config, batch_size=3), 5, seed=1)
    sample = other.sample(7)  # the second of batch 3
    assert (frames[1].permute(0, 2, 3, 1).numpy() == sample.clip.frames).all()
    assert (labels[1].numpy() == sample.clip.labels).all()
    assert (MixedBatches([Part(videos)], config, 5, seed=2)[3][0][0] != frames).any()
    with pytest.raises(IndexError):
        data[5]


def test_workers_draw_the_same_and_count_together(root, caplog):
    videos = folder_set(root, ape={}, bee={})
    (root / "JPEGImages/bee/00002.png").write_bytes(b"no image")
    parts = [Part(videos, merge=0)]
    here = MixedBatches(parts, SMALL, 6, seed=0)
    expected = [here[i][0] for i in range(6)]
    data = MixedBatches(parts, SMALL, 6, seed=0)
    loader = DataLoader(data, batch_size=None, num_workers=2)
    for (frames, labels), [batch] in zip(expected, loader, strict=True):
        assert torch.equal(frames, batch[0]) and torch.equal(labels, batch[1])
    assert data.skipped == here.skipped > 0


def test_labels_follow_their_objects_and_are_random(root):
    videos = folder_set(root, ape={"objects": 8})
    data = MixedBatches([Part(videos, merge=0)], SMALL, 1, 0)
    seen = set()
    for number in range(12):
        clip = data.sample(number).clip
        ids = [i for i in np.unique(clip.labels) if i]
        assert ids == list(range(1, len(ids) + 1))
        reds = {i: set(np.unique(clip.frames[clip.labels == i][:, 0])) for i in ids}
        assert all(len(red) == 1 for red in reds.values()), "one object, one colour, on all frames"
        seen.add(tuple(red.pop() for red in reds.values()))
    assert len(seen) > 8


def test_of_more_than_ten_objects_some_are_drawn(root):
    videos = folder_set(root, ape={"objects": 12, "frames": 3})
    config = replace(SMALL, size=64, max_objects=10, augmentation=replace(PLAIN, aspect=1.34))
    reds: Counter[int] = Counter()
    for number in range(30):
        clip = MixedBatches([Part(videos, merge=0)], config, 1, 0).sample(number).clip
        assert clip.labels.max() <= 10
        shown = range(1, clip.labels[0].max() + 1)
        reds.update(round(np.median(clip.frames[0][clip.labels[0] == i][:, 0]) / 20) for i in shown)
    assert set(reds) == set(range(1, 13)), "each has its turn"


def test_a_target_that_is_absent_at_first_is_drawn_anew(root):
    videos = folder_set(root, ape={"frames": 9, "objects": 1})
    for frame in range(4):
        write_mask(root / f"Annotations/ape/{frame:05d}.png", np.zeros((HEIGHT, WIDTH), np.int32))
    for reverse in (0, 1):
        config = replace(SMALL, augmentation=replace(PLAIN, reverse=reverse))
        data = MixedBatches([Part(videos, merge=0)], config, 1, 0)
        clips = [data.sample(number).clip for number in range(20)]
        assert all((clip.labels[0] == 1).sum() >= 10 for clip in clips)
        assert any(not clip.labels[-1].any() for clip in clips) == bool(reverse)
        assert data.skipped == 0, "no file is at fault"


def test_void_stays_and_is_no_object(root):
    videos = folder_set(root, ape={"objects": 2})
    for path in (root / "Annotations/ape").iterdir():
        labels = draw(int(path.stem), 2)[1]
        labels[40:] = 255
        write_mask(path, labels)
    clip = MixedBatches([Part(videos, merge=0)], SMALL, 1, 0).sample(0).clip
    assert set(np.unique(clip.labels)) == {0, 1, 2, 255}
    assert (clip.labels[:, 41:] == 255).all()


def test_255_alone_is_the_object(root):
    videos = folder_set(root, ape={"objects": 1})
    for path in (root / "Annotations/ape").iterdir():
        write_mask(path, draw(int(path.stem), 1)[1] * 255)
    clip = MixedBatches([Part(videos, merge=0)], SMALL, 1, 0).sample(0).clip
    assert set(np.unique(clip.labels)) == {0, 1}


def test_samples_are_merged_as_often_as_asked(root):
    ape, bee = folder_set(root / "a", ape={"objects": 1}), folder_set(root / "b", bee={"objects": 6})
    for merge, low, high in ((0.0, 0, 0), (0.3, 8, 32), (1.0, 60, 60)):
        data = MixedBatches([Part(ape, merge=merge), Part(bee, merge=merge)], SMALL, 1, 0)
        samples = [data.sample(number) for number in range(60)]
        assert low <= sum(" + " in sample.origin for sample in samples) <= high
    both = [s for s in samples if "ape" in s.origin and "bee" in s.origin]
    assert both and all(2 <= sample.clip.labels.max() <= 7 for sample in both)


def test_shares(root):
    ape, bees = folder_set(root / "a", ape={}), folder_set(root / "b", bee={}, cee={}, dee={})

    def share(*parts: Part) -> float:
        data = MixedBatches(parts, replace(SMALL, frames=2, size=32), 1, 0)
        return sum("ape" in data.sample(number).origin for number in range(150)) / 150

    assert share(Part(ape, merge=0), Part(bees, merge=0)) == pytest.approx(0.25, abs=0.1)
    assert share(Part(ape, merge=0, repeat=9), Part(bees, merge=0)) == pytest.approx(0.75, abs=0.1)
    assert share(Part(ape, merge=0, weight=1), Part(bees, merge=0, weight=1)) == pytest.approx(0.5, abs=0.12)
    for parts in ([], [Part(ape, weight=-1)], [Part(ape, weight=0)], [Part(ape, weight=1), Part(bees)]):
        with pytest.raises(InputError):
            MixedBatches(parts, SMALL, 1, 0)
    for wrong in ({"frames": 1}, {"batch_size": 0}, {"max_objects": 200}):
        with pytest.raises(InputError, match="clips have two frames or more"):
            replace(SMALL, **wrong)
    for wrong in ({"max_gap": 0}, {"merge": 1.5}, {"repeat": float("nan")}):
        with pytest.raises(InputError, match="max_gap is from 1"):
            MixedBatches([Part(ape, **wrong)], SMALL, 1, 0)


# --- what is broken --------------------------------------------------------------------------------------------------


def cut_jpeg(root):
    (root / "JPEGImages/bad/00002.png").unlink()
    path = root / "JPEGImages/bad/00002.jpg"
    write_image(path, np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])
    return "00002.jpg cannot be read"


def lose_frame(root):
    (root / "JPEGImages/bad/00002.png").unlink()
    return "00002"


def lose_folder(root):
    shutil.rmtree(root / "JPEGImages/bad")
    return "no folder"


def resize_mask(root):
    write_mask(root / "Annotations/bad/00002.png", np.ones((HEIGHT, WIDTH + 1), np.int32))
    return f"{WIDTH}x{HEIGHT} pixels, its mask {WIDTH + 1}x{HEIGHT}"


def resize_frame(root):
    write_image(root / "JPEGImages/bad/00002.png", np.zeros((20, 30, 3), np.uint8))
    write_mask(root / "Annotations/bad/00002.png", np.ones((20, 30), np.int32))
    return f"different sizes: 30x20 and {WIDTH}x{HEIGHT}"


def colour_mask(root):
    write_image(
        root / "Annotations/bad/00002.png", np.dstack([draw(2)[0][..., 0]] * 2 + [draw(2)[1] + 7]).astype(np.uint8)
    )
    return "a picture in colours, not a mask"


def one_frame(root):
    for path in list((root / "Annotations/bad").iterdir())[1:]:
        path.unlink()
    return "1 frame with a mask; a video needs two"


BROKEN = [cut_jpeg, lose_frame, lose_folder, resize_mask, resize_frame, colour_mask, one_frame]


@pytest.mark.parametrize("spoil", BROKEN)
def test_broken_videos_are_named_counted_and_skipped(spoil, root, caplog):
    videos = folder_set(root, bad={}, good={})
    message = spoil(root)
    with caplog.at_level(logging.WARNING):
        data = MixedBatches([Part(videos, merge=0)], SMALL, 8, 0)
        origins = {data.sample(number).origin for number in range(16)}
    assert "folder: good" in origins
    assert data.skipped >= 1
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1 and "bad" in warnings[0] and message in warnings[0], "each fault is named once"


def test_a_dataset_of_which_nothing_can_be_used_is_an_error(root):
    videos = folder_set(root, bad={}, worse={})
    for path in (root / "JPEGImages").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"folder: 100 clips of it in a row are of no use; the last: .*00.*\.png"):
        MixedBatches([Part(videos)], SMALL, 1, 0).sample(0)
    shutil.rmtree(root)
    videos = folder_set(root, bad={"objects": 0})
    with pytest.raises(InputError, match="no object of 10 pixels on the first frame"):
        MixedBatches([Part(videos)], SMALL, 1, 0).sample(0)


def test_check_counts_every_kind(root):
    videos = folder_set(root, **{name: {} for name in "abcdefgh"}, i={"objects": 11}, j={"objects": 0})
    faults = {}
    for name, spoil in zip("abcdefg", BROKEN, strict=True):
        (root / "JPEGImages" / name).rename(root / "JPEGImages/bad")
        (root / "Annotations" / name).rename(root / "Annotations/bad")
        spoil(root)
        (root / "Annotations/bad").rename(root / "Annotations" / name)
        if spoil is not lose_folder:
            (root / "JPEGImages/bad").rename(root / "JPEGImages" / name)
    report = check_videos(videos, videos.names)
    faults = {kind: [text[0] for text in texts] for kind, texts in report.faults.items()}
    assert faults == {
        "unreadable files": ["a", "c", "f"],
        "missing frames": ["b"],
        "masks of another size": ["d"],
        "videos whose frames are of different sizes": ["e"],
        "videos of fewer than two frames": ["g"],
        "with more than 10 objects": ["i"],
        "without any object": ["j"],
    }
    assert report.videos == 10 and report.frames == 5 * 8 + 1 and report.empty_frames == 5
    assert not report.is_sound
    assert check_videos(videos, videos.names, threads=3) == report
    assert check_videos(videos, ["h", "i"]).is_sound, "more than ten objects are no fault"


def test_check_command(root, tmp_path, capsys):
    write_folder(root, {"ape": {"objects": 2}, "bee": {"objects": 11}})
    sheet = tmp_path / "sheet.png"
    command = ["data", "check", "folder", str(root), "--sheet", str(sheet), "--rows", "2"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "2 videos, 10 frames" in output and "13 objects" in output and "no faults" in output and "bee: 11" in output
    assert read_image(sheet).shape[1] > 1000
    sheet.unlink()
    cut = root / "JPEGImages/ape/00002.png"
    cut.write_bytes(cut.read_bytes()[:50])
    assert main(command) == 1
    output = capsys.readouterr().out
    assert "1 unreadable files" in output and str(cut) in output and sheet.is_file()
    for path in (root / "JPEGImages").rglob("*.png"):
        path.unlink()
    assert main([*command, "--videos", "1"]) == 1
    output = capsys.readouterr().out
    assert "1 video, 5 frames" in output and "5 missing frames" in output and "no clips can be drawn" in output
    assert main([*command, "--videos", "3"]) == 2
    assert "--videos 3: there are 2" in capsys.readouterr().err
    assert main([*command, "--threads", "0"]) == 2
    assert "0 threads" in capsys.readouterr().err
    assert main([*command[:-4], "--sheet", "clips"]) == 2
    assert "--sheet clips: a picture's name ends in" in capsys.readouterr().err


def test_list_command(capsys):
    assert main(["data", "list"]) == 0
    output = capsys.readouterr().out
    assert all(f"{name} " in output and info.source in output for name, info in DATASETS.items())
