"""The datasets that can be trained on: their layouts, where they come from, under what terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...types import InputError
from . import image_sets, video_sets
from .masked_videos import VideoSet


@dataclass(frozen=True)
class DatasetInfo:
    """max_gap and repeat: what `Part` takes; facts of the AOT recipe for DAVIS and YouTube-VOS, else our choice."""

    open: Callable[[Path], VideoSet]
    summary: str
    source: str  # where to get it
    terms: str  # licence, in short; docs/datasets.md says more
    max_gap: int = 1
    repeat: float = 1.0


DATASETS: dict[str, DatasetInfo] = {
    "coco": DatasetInfo(
        image_sets.open_coco,
        "stills, COCO 2017 train, instances",
        "cocodataset.org",
        "masks CC BY 4.0, pictures Flickr's",
    ),
    "ecssd": DatasetInfo(
        image_sets.open_ecssd,
        "1,000 stills, salient objects",
        "cse.cuhk.edu.hk/leojia/projects/hsaliency",
        "see its page",
    ),
    "msra10k": DatasetInfo(
        image_sets.open_msra10k, "10,000 stills, salient objects", "mmcheng.net/msra10k", "see its page"
    ),
    "pascal-s": DatasetInfo(
        image_sets.open_pascal_s, "850 stills, salient objects", "cbs.ic.gatech.edu/salobj", "see its page"
    ),
    "voc": DatasetInfo(
        image_sets.open_voc,
        "stills, PASCAL VOC 2012 trainval, objects",
        "host.robots.ox.ac.uk/pascal/VOC",
        "pictures Flickr's",
    ),
    "sbd": DatasetInfo(
        image_sets.open_sbd,
        "stills of PASCAL VOC, more of them",
        "home.bharathh.info/pubs/codes/SBD",
        "pictures Flickr's",
    ),
    "youtube-vos": DatasetInfo(
        video_sets.open_youtube_vos,
        "videos, YouTube-VOS 2018 or 2019, train; every fifth frame",
        "youtube-vos.org",
        "research, not commercial",
        max_gap=3,
    ),
    "davis": DatasetInfo(
        video_sets.open_davis,
        "60 videos, DAVIS 2017 train, 480p",
        "davischallenge.org",
        "BSD licence",
        max_gap=12,
        repeat=5,
    ),
    "mose": DatasetInfo(
        video_sets.open_mose, "videos, MOSE train", "henghuiding.github.io/MOSE", "CC BY-NC-SA 4.0", max_gap=3
    ),
    "visor": DatasetInfo(
        video_sets.open_visor,
        "videos, VISOR train in DAVIS' layout, without those of TREK-150",
        "epic-kitchens.github.io/VISOR",
        "CC BY-NC 4.0",
        max_gap=2,
    ),
    "lasot": DatasetInfo(
        video_sets.open_lasot_rts,
        "videos, LaSOT train with the masks of RTS; every fifth frame",
        "vision.cs.stonybrook.edu/~lasot and, the masks, github.com/visionml/pytracking (ltr/README.md)",
        "see its page",
        max_gap=3,
    ),
    "egotracks": DatasetInfo(
        video_sets.open_made_masks,
        "videos, masks made by `msdeaot masks --boxes egotracks:DIR`",
        "ego4d-data.org",
        "Ego4D's licence agreement",
        max_gap=3,
    ),
    "got10k": DatasetInfo(
        video_sets.open_made_masks,
        "videos, masks made by `msdeaot masks --boxes got10k:DIR`",
        "got-10k.aitestunion.com",
        "see its page",
        max_gap=5,
    ),
    "masks": DatasetInfo(
        video_sets.open_made_masks,
        "videos, masks made by `msdeaot masks` from other boxes",
        "-",
        "the dataset's",
        max_gap=3,
    ),
    "vipseg": DatasetInfo(
        video_sets.open_vipseg,
        "videos, VIPSeg train, its things",
        "github.com/VIPSeg-Dataset/VIPSeg-Dataset",
        "see its page",
        max_gap=3,
    ),
    "stills": DatasetInfo(
        image_sets.open_stills,
        "stills, images/*.jpg + masks/*.png with object ids",
        "you",
        "yours",
    ),
    "coco128": DatasetInfo(
        partial(image_sets.open_stills, name="coco128"),
        "120 stills: the first pictures of COCO 2017 train, instances, in the layout of `stills`",
        "cocodataset.org",
        "masks CC BY 4.0, pictures Flickr's",
    ),
    "ccp": DatasetInfo(
        partial(image_sets.open_stills, name="ccp"),
        "502 stills: people in the street (Clothing Co-Parsing), in the layout of `stills`",
        "github.com/bearpaw/clothing-co-parsing",
        "Apache-2.0 (the repository's), photographs from the web",
    ),
    "caltech": DatasetInfo(
        partial(image_sets.open_stills, name="caltech"),
        "813 stills: single objects of Caltech-101 with outlines made automatically, in the layout of `stills`",
        "data.caltech.edu/records/mzrjq-6wc02",
        "CC BY 4.0",
    ),
    "photos": DatasetInfo(
        image_sets.open_photographs,
        "pictures without masks, for backgrounds: 583 of Caltech-101 for msdeaot-lite",
        "data.caltech.edu/records/mzrjq-6wc02",
        "CC BY 4.0",
    ),
    "videos": DatasetInfo(
        video_sets.open_folders,
        "videos like `folder`; for msdeaot-lite tennis and schoolgirls of DAVIS 2017 train, chair of PUMaVOS",
        "davischallenge.org, max810.github.io/xmem2-project-page",
        "BSD licence, CC BY 4.0",
        max_gap=4,
    ),
    "folder": DatasetInfo(
        video_sets.open_folders,
        "videos, JPEGImages/<video>/*.jpg + Annotations/<video>/*.png",
        "you",
        "yours",
        max_gap=5,
    ),
}


def find_dataset(name: str) -> DatasetInfo:
    """InputError: no such dataset."""
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def open_dataset(name: str, folder: Path) -> VideoSet:
    """The training split of a dataset. InputError, naming what is missing: not in that layout, or only half of it."""
    info = find_dataset(name)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; {name} is from {info.source} ({info.terms})")
    return info.open(folder)
