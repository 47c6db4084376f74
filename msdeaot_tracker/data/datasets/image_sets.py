"""Datasets of stills with masks, from the folders they are published in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...images import IMAGE_SUFFIXES, VOID, read_foreground, read_image, read_mask
from ...types import InputError
from .box_files import read_names
from .masked_videos import MaskedFrame, VideoSet, existing_folder, folder_names

_SHIFT = 4  # bits after the point in the coordinates that OpenCV fills polygons with
_MAX_SIDE = 1 << 14  # pixels


def open_ecssd(root: Path) -> VideoSet:
    """`images/0001.jpg` and `ground_truth_mask/0001.png`."""
    return _salience("ecssd", root / "images", root / "ground_truth_mask")


def open_msra10k(root: Path) -> VideoSet:
    """`Imgs/<name>.jpg` and `Imgs/<name>.png`."""
    return _salience("msra10k", root / "Imgs", root / "Imgs")


def open_pascal_s(root: Path) -> VideoSet:
    """`datasets/imgs/pascal/1.jpg` and `datasets/masks/pascal/1.png`, grey by how many people chose a segment."""
    return _salience("pascal-s", root / "datasets/imgs/pascal", root / "datasets/masks/pascal")


def open_stills(root: Path, name: str = "stills") -> VideoSet:
    """`images/<name>.jpg` (or another format) and `masks/<name>.png`, indexed by object. InputError: no such pairs."""
    images, masks = existing_folder(root / "images"), existing_folder(root / "masks")
    found = {Path(file).stem: file for file in folder_names(images) if Path(file).suffix.lower() in IMAGE_SUFFIXES}
    stems = [file[: -len(".png")] for file in folder_names(masks) if file.lower().endswith(".png")]
    for there, missing, what in ((stems, found, "picture"), (found, set(stems), "mask")):
        alone = [stem for stem in there if stem not in missing]
        if alone:
            raise InputError(f"{root}: {len(alone)} of {len(there)} have no {what}, {alone[0]!r} among them")
    return VideoSet(name, stems, partial(_named_still, images, found, masks), stills=True)


def open_photographs(root: Path, name: str = "photos") -> VideoSet:
    """Pictures without masks, in the folder itself. InputError: there are none."""
    files = [file for file in folder_names(root) if Path(file).suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise InputError(f"there are no pictures in {root}")
    return VideoSet(name, files, partial(_bare_picture, root), stills=True, masked=False)


def _named_still(images: Path, files: Mapping[str, str], masks: Path, stem: str) -> list[MaskedFrame]:
    return [MaskedFrame(images / files[stem], partial(read_mask, masks / f"{stem}.png"))]


def _bare_picture(folder: Path, file: str) -> list[MaskedFrame]:
    return [MaskedFrame(folder / file, partial(_no_objects, folder / file))]


def _no_objects(picture: Path) -> np.ndarray:
    return np.zeros(read_image(picture).shape[:2], np.int32)


def open_voc(root: Path) -> VideoSet:
    """PASCAL VOC 2012: JPEGImages, SegmentationObject and ImageSets/Segmentation/trainval.txt.

    root: VOCdevkit/VOC2012, or what holds it. Outlines are void.
    """
    root = existing_folder(root / "VOCdevkit" / "VOC2012", root / "VOC2012", root)
    names = read_names(root / "ImageSets" / "Segmentation" / "trainval.txt")
    masks = existing_folder(root / "SegmentationObject")
    return _listed("voc", names, existing_folder(root / "JPEGImages"), masks, ".png", read_mask)


def open_sbd(root: Path) -> VideoSet:
    """The Semantic Boundaries Dataset: img/*.jpg and inst/*.mat of train.txt and val.txt.

    root: benchmark_RELEASE/dataset, or what holds it. ImportError: reading MATLAB's files needs scipy.
    """
    try:
        import scipy.io  # noqa: F401
    except ImportError:
        raise ImportError("SBD's .mat files are read by scipy: pip install 'msdeaot-tracker[train]'") from None
    root = existing_folder(root / "benchmark_RELEASE" / "dataset", root / "dataset", root)
    names = [name for split in ("train.txt", "val.txt") for name in read_names(root / split)]
    return _listed("sbd", names, existing_folder(root / "img"), existing_folder(root / "inst"), ".mat", _read_sbd)


def open_coco(root: Path) -> VideoSet:
    """COCO 2017: `annotations/instances_train2017.json` and `train2017/*.jpg` (or `images/train2017`).

    What is marked as a crowd is void.
    """
    index = _CocoIndex(root / "annotations" / "instances_train2017.json")
    images = existing_folder(root / "train2017", root / "images" / "train2017")
    return VideoSet("coco", index.names, partial(_coco_frame, index, images), stills=True)


def _salience(name: str, images: Path, masks: Path) -> VideoSet:
    existing_folder(images)
    names = [file[:-4] for file in folder_names(masks) if file.endswith(".png")]
    return _listed(name, names, images, masks, ".png", read_foreground)


def _listed(
    name: str, names: Sequence[str], images: Path, masks: Path, suffix: str, read: Callable[[Path], np.ndarray]
) -> VideoSet:
    return VideoSet(name, names, partial(_still, images, masks, suffix, read), stills=True)


def _still(images: Path, masks: Path, suffix: str, read: Callable, name: str) -> list[MaskedFrame]:
    mask = masks / f"{name}{suffix}"
    # The masks of salience are soft by nature, and SBD's are no images.
    return [MaskedFrame(images / f"{name}.jpg", partial(read, mask), mask if read is read_mask else None)]


def _read_sbd(path: Path) -> np.ndarray:
    """int32 [H, W] of GTinst.Segmentation."""
    from scipy.io import loadmat

    try:
        labels = loadmat(path)["GTinst"]["Segmentation"][0, 0]
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise ValueError(f"Segmentation is {labels.dtype} {labels.shape}")
        return labels.astype(np.int32)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    # what scipy raises for files that are cut or of another kind
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, NotImplementedError) as error:
        raise InputError(f"{path} is not a mask of SBD: {error!r}") from error


class _CocoIndex:
    """Outlines of all images as a few arrays: as objects of Python they would take gigabytes in every worker.

    Image i has polygons _of_image[i] to _of_image[i + 1]; polygon p has points _of_polygon[p] to _of_polygon[p + 1]
    and is part of object _object[p], counted from 1 in each image. Crowds are few and stay run lengths.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            self._read(json.loads(path.read_bytes(), object_hook=_compact))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} does not hold instances in COCO's format: {error!r}") from None

    def _read(self, content: Any) -> None:
        by_image: dict[int, list[Any]] = {}
        for annotation in content["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        with_objects = {key for key, found in by_image.items() if not all(one["iscrowd"] for one in found)}
        images = [image for image in content["images"] if image["id"] in with_objects]
        self.names = [image["file_name"] for image in images]
        for name in self.names:
            if not re.fullmatch(r"[\w.-]+", name):
                raise InputError(f"{self._path}: {name[:40]!r} is no name of an image")
        self._row = {name: row for row, name in enumerate(self.names)}
        self._sizes = np.array([(image["height"], image["width"]) for image in images], np.int32).reshape(-1, 2)
        if self._sizes.size and not 0 < self._sizes.min() <= self._sizes.max() <= _MAX_SIDE:
            raise InputError(f"{self._path}: an image of {self._sizes.min()} to {self._sizes.max()} pixels")
        self._crowds: dict[int, list[np.ndarray]] = {}
        points, objects, of_image, of_polygon = [], [], [0], [0]
        for row, image in enumerate(images):
            for number, annotation in enumerate(by_image[image["id"]], start=1):
                shape = annotation["segmentation"]
                if annotation["iscrowd"]:
                    self._crowds.setdefault(row, []).append(np.array(shape["counts"], np.int64))
                    continue
                for polygon in shape:
                    points.append(polygon.reshape(-1, 2))
                    of_polygon.append(of_polygon[-1] + len(points[-1]))
                    objects.append(number)
            of_image.append(len(objects))
        self._points = np.concatenate(points) if points else np.empty((0, 2), np.float32)
        self._object = np.array(objects, np.int32)
        self._of_image, self._of_polygon = np.array(of_image), np.array(of_polygon)

    def labels(self, name: str) -> np.ndarray:
        """int32 [H, W]; small objects lie over large ones where they overlap."""
        row = self._row[name]
        height, width = self._sizes[row].tolist()
        labels = np.zeros((height, width), np.int32)
        for counts in self._crowds.get(row, ()):
            if counts.min(initial=0) < 0 or counts.sum() != labels.size:
                raise InputError(f"{self._path}: a crowd of {name} has run lengths of another size")
            inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)  # column by column
            labels[inside.reshape(width, height).T] = VOID
        span = range(self._of_image[row], self._of_image[row + 1])
        outlines: dict[int, list[np.ndarray]] = {}
        for polygon in span:
            part = self._points[self._of_polygon[polygon] : self._of_polygon[polygon + 1]]
            # COCO counts from the corner of a pixel, OpenCV from its centre.
            fixed = np.round((np.clip(part, 0, (width, height)) - 0.5) * (1 << _SHIFT)).astype(np.int32)
            outlines.setdefault(int(self._object[polygon]), []).append(fixed)
        masks = []
        for number, polygons in outlines.items():
            mask = np.zeros((height, width), np.uint8)
            for outline in polygons:  # one by one: together, overlaps would count as holes
                cv2.fillPoly(mask, [outline], 1, shift=_SHIFT)
            masks.append((int(mask.sum()), number, mask.astype(bool)))
        for _, number, mask in sorted(masks, key=lambda entry: -entry[0]):
            labels[mask] = number if number < VOID else number + 1
        return labels


def _coco_frame(index: _CocoIndex, images: Path, name: str) -> list[MaskedFrame]:
    return [MaskedFrame(images / name, partial(index.labels, name))]


def _compact(node: dict[str, Any]) -> dict[str, Any]:
    """Of an annotation what is needed, polygons as arrays, while the file is read: all of it would take 5 GB."""
    if "segmentation" not in node:
        return node
    shape = node["segmentation"]
    if isinstance(shape, list):
        shape = [np.array(polygon, np.float32) for polygon in shape]
    return {"image_id": node["image_id"], "iscrowd": node.get("iscrowd", 0), "segmentation": shape}
