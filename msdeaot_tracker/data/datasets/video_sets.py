"""Datasets of videos with masks, from the folders they are published in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from ...images import read_mask
from ...types import InputError
from ..mask_records import KEPT, read_records, records_path
from .box_files import read_names
from .davis_folders import find_davis
from .masked_videos import MaskedFrame, VideoSet, existing_folder, folder_names, paired_frames

TREK150_SEQUENCES = "sequences.txt"


def open_folders(root: Path) -> VideoSet:
    """`JPEGImages/<video>/*.jpg` with `Annotations/<video>/*.png` for all frames or some of them.

    Or the same in DAVIS' own layout; where that has a list `train`, the videos on it.
    """
    folders = find_davis(root)
    return _open_pair("folder", folders.images, folders.masks, folders.listed("train"))


def open_davis(root: Path) -> VideoSet:
    """`JPEGImages/480p`, `Annotations/480p`, and the videos of `ImageSets/2017/train.txt`, as DAVIS is published.

    Or `JPEGImages`, `Annotations`, and all videos in them. InputError: as published, but without the list.
    """
    folders = find_davis(root)
    names = folders.listed("train")
    if names is None and folders.is_official:
        raise InputError(f"{folders.sets / '2017' / 'train.txt'} does not exist: which videos may be trained on?")
    return _open_pair("davis", folders.images, folders.masks, names)


def open_youtube_vos(root: Path) -> VideoSet:
    """`train/{JPEGImages, Annotations, meta.json}`, or the folder that holds these three; the videos of meta.json."""
    root = existing_folder(root / "train", root)
    path = root / "meta.json"
    try:
        names = sorted(json.loads(path.read_bytes())["videos"].keys())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: is {root} the training split of YouTube-VOS?") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or no list of YouTube-VOS: {error!r}") from None
    return _open_pair("youtube-vos", root / "JPEGImages", root / "Annotations", _checked(names, path))


def open_mose(root: Path) -> VideoSet:
    """`train/{JPEGImages, Annotations}/<video>`, or the folder that holds these two."""
    root = existing_folder(root / "train", root)
    return _open_pair("mose", root / "JPEGImages", root / "Annotations")


def open_visor(root: Path) -> VideoSet:
    """VISOR as its `visor_to_davis.py` writes it, without the videos that TREK-150 is made of.

    `{JPEGImages, Annotations}/480p/<video>_seq_<number>` and `ImageSets/2022/train.txt`, and in the same folder
    `sequences.txt` of TREK-150's annotations, whose lines are <participant>-<video>-<number>.
    InputError: without that list, since a model trained on TREK-150's videos cannot be measured on TREK-150.
    """
    excluded = read_trek150_videos(root / TREK150_SEQUENCES)
    names = read_names(root / "ImageSets" / "2022" / "train.txt")
    strange = [name for name in names if not epic_video(name)]
    if strange:
        raise InputError(f"{root}: {strange[0]!r} does not begin with a video of EPIC-KITCHENS (as P01_01 is)")
    kept = [name for name in names if epic_video(name) not in excluded]
    return _open_pair("visor", root / "JPEGImages" / "480p", root / "Annotations" / "480p", kept)


def read_trek150_videos(path: Path) -> frozenset[str]:
    """The videos of EPIC-KITCHENS in a list of TREK-150's sequences: P03-P03_09-4 is cut from P03_09."""
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: VISOR is used without the videos of TREK-150, so their list is needed; it is "
            f"{TREK150_SEQUENCES} in TREK-150-annotations.zip (machinelearning.uniud.it/datasets/trek150)"
        )
    videos = set()
    for number, name in enumerate(read_names(path), start=1):
        match = re.fullmatch(r"P\d+-(P\d+_\d+)-\d+", name, re.ASCII)
        if not match:
            raise InputError(f"{path}, line {number}: {name[:40]!r} is no sequence of TREK-150 (as P03-P03_09-4 is)")
        videos.add(match[1])
    if not videos:
        raise InputError(f"{path} is empty")
    return frozenset(videos)


def epic_video(sequence: str) -> str | None:
    """As P03_09 of P03_09_seq_00012."""
    match = re.match(r"P\d+_\d+(?=_|$)", sequence, re.ASCII)
    return match[0] if match else None


def open_lasot_rts(root: Path) -> VideoSet:
    """LaSOT's `<class>/<sequence>/img/*.jpg`, with RTS' `lasot_masks/<sequence>/*.png` unpacked beside the classes.

    The masks are of every fifth frame, of the training split (pytracking, ltr/dataset/lasotvos.py). What
    `testing_set.txt` names is left out.
    """
    testing = root / "testing_set.txt"
    excluded = set(read_names(testing)) if testing.is_file() else set()
    names = [name for name in folder_names(root / "lasot_masks") if name not in excluded]
    return VideoSet("lasot", names, partial(_lasot_frames, root))


def _lasot_frames(root: Path, name: str) -> list[MaskedFrame]:
    images = existing_folder(root / name.rpartition("-")[0] / name / "img", root / name / "img")
    return paired_frames(images, root / "lasot_masks" / name, _read_one_object)


def _read_one_object(path: Path) -> np.ndarray:
    """int32 [H, W], 1 where the mask is not 0."""
    return (read_mask(path) > 0).astype(np.int32)


def open_vipseg(root: Path) -> VideoSet:
    """`imgs/<video>/*.jpg` and `panomasks/<video>/*.png`, as published, or `VIPSeg_720P/{images, panomasks}`.

    The videos of `train.txt`.
    """
    images = existing_folder(root / "imgs", root / "VIPSeg_720P" / "images")
    names = read_names(root / "train.txt")
    return VideoSet("vipseg", names, partial(_vipseg_frames, images, existing_folder(images.parent / "panomasks")))


def _vipseg_frames(images: Path, masks: Path, name: str) -> list[MaskedFrame]:
    return paired_frames(images / name, masks / name, _read_things)


def _read_things(path: Path) -> np.ndarray:
    """Ids from 125 are instances, 100 class + number; below are regions of a class, and 0 is void.

    Regions (sky, road) are background here. Source: VIPSeg's create_panoptic_video_labels.py.
    """
    labels = read_mask(path)
    return np.where(labels >= 125, labels, 0)


def open_made_masks(root: Path) -> VideoSet:
    """What `msdeaot masks` has written: the frames that `masks/<video>.csv` calls kept; finished videos only."""
    names = [name[:-4] for name in folder_names(root / "masks") if name.endswith(".csv")]
    return VideoSet("masks", names, partial(_made_frames, root))


def _made_frames(root: Path, name: str) -> list[MaskedFrame]:
    """Frames from JPEGImages; where no links could be made, from where they were when the masks were made."""
    links, masks = root / "JPEGImages" / name, root / "Annotations" / name
    linked = set(folder_names(links)) if links.is_dir() else set()
    frames = []
    for record in read_records(records_path(root, name)):
        if record.status == KEPT:
            image = Path(record.image)
            image = links / image.name if image.name in linked else image
            frames.append(MaskedFrame(image, partial(_read_first, masks / f"{record.frame}.png")))
    return frames


def _read_first(path: Path) -> np.ndarray:
    return (read_mask(path) == 1).astype(np.int32)


def _open_pair(name: str, images: Path, masks: Path, names: Iterable[str] | None = None) -> VideoSet:
    existing_folder(images)
    existing_folder(masks)
    found = folder_names(masks) if names is None else list(names)
    return VideoSet(name, found, partial(_pair_frames, images, masks))


def _pair_frames(images: Path, masks: Path, name: str) -> list[MaskedFrame]:
    return paired_frames(images / name, masks / name)


def _checked(names: list[str], path: Path) -> list[str]:
    """InputError: a name that leads elsewhere."""
    for name in names:
        if not re.fullmatch(r"[\w-]+", name):
            raise InputError(f"{path}: {name[:40]!r} is no name of a video")
    return names
