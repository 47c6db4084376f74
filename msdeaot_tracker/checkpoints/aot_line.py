"""Public weights of the AOT line: AOT, DeAOT, DMAOT and HQTrack's multi-scale DeAOT, as data (rules: zoo.py)."""

from __future__ import annotations

from dataclasses import replace

from .release import UNPUBLISHED, Release, drive

_STATIC = "static images with synthetic motion (stage PRE)"


def _releases(
    preset: str, official: str, pre_id: str, main_id: str, sha256: str | None = None, size: int | None = None
) -> tuple[Release, Release]:
    """The releases of both stages; the preset's own name is that of the stage to track with, as are hash and size."""
    main = Release(
        name=preset,
        file=f"{official}_PRE_YTB_DAV.pth",
        purpose=f"{official.replace('_', '-')}: the stage to track with",
        training=f"{_STATIC}, then YouTube-VOS 2019 and DAVIS 2017 (stage PRE_YTB_DAV)",
        licence="BSD-3-Clause (the repository's)",
        page="https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md",
        urls=(drive(main_id),),
        sha256=sha256,
        size=size,
        used_by=(f"preset:{preset}",),
        preset=preset,
        note="Hash and size are those of independent projects that fetched this address; the authors publish neither."
        if sha256
        else UNPUBLISHED,
    )
    pre = replace(
        main,
        name=f"{preset}-pre",
        file=f"{official}_PRE.pth",
        purpose=f"{official.replace('_', '-')} before it saw video: to start a training from",
        training=_STATIC,
        urls=(drive(pre_id),),
        sha256=None,
        size=None,
        used_by=(),
        note=UNPUBLISHED,
    )
    return main, pre


AOT_LINE = (
    *_releases("aot-t", "AOTT", "1_513h8Hok9ySQPMs_dHgX5sPexUhyCmy", "1owPmwV4owd_ll6GuilzklqTyAd0ZvbCu"),
    *_releases("aot-s", "AOTS", "1QUP0-VED-lOF1oX_ppYWnXyBjvUzJJB7", "1beU5E6Mdnr_pPrgjWvdWurKAIwJSz1xf"),
    *_releases("aot-b", "AOTB", "11Bx8n_INAha1IdpHjueGpf7BrKmCJDvK", "1hH-GOn4GAxHkV8ARcQzsUy8Ax6ndot-A"),
    *_releases("aot-l", "AOTL", "1WL6QCsYeT7Bt-Gain9ZIrNNXpR2Hgh29", "1L1N2hkSPqrwGgnW9GyFHuG59_EYYfTG4"),
    *_releases("r50-aot-l", "R50_AOTL", "1hS4JIvOXeqvbs-CokwV6PwZV-EvzE6x8", "1qJDYn3Ibpquu4ffYoQmVjg1YCbr2JQep"),
    *_releases("swinb-aot-l", "SwinB_AOTL", "1LlhKQiXD8JyZGGs3hZiNzcaCLqyvL9tj", "192jCGQZdnuTsvX-CVra-KVZl2q1ZR0vW"),
    *_releases("deaot-t", "DeAOTT", "11C1ZBoFpL3ztKtINS8qqwPSldfYXexFK", "1ThWIZQS03cYWx1EKNN8MIMnJS5eRowzr"),
    *_releases("deaot-s", "DeAOTS", "1uUidrWVoaP9A5B5-EzQLbielUnRLRF3j", "1YwIAV5tBtn5spSFxKLBQBEQGwPHyQlHi"),
    *_releases("deaot-b", "DeAOTB", "1bEQr6vIgQMVITrSOtxWTMgycKpS0cor9", "1BHxsonnvJXylqHlZ1zJHHc-ymKyq-CFf"),
    *_releases("deaot-l", "DeAOTL", "1_vBL4KJlmBy0oBE4YFDOvsYL1ZtpEL32", "18elNz_wi9JyVBcIUYKhRdL08MA-FqHD5"),
    *_releases(
        "r50-deaot-l",
        "R50_DeAOTL",
        "1sTRQ1g0WCpqVCdavv7uJiZNkXunBt3-R",
        "1QoChMkTVxdYZ_eBlZhK2acq9KMQZccPJ",
        sha256="7e8a8d83310739bac02817f6bf48b6bbe2bbd7d5325722f1084088eb3aee1e06",
        size=236513959,
    ),
    *_releases(
        "swinb-deaot-l", "SwinB_DeAOTL", "16BZEE53no8CxT-pPLDC2q1d6Xlg8mWPU", "1g4E-F0RPOx9Nd6J7tU9AE1TjsouL4oZq"
    ),
    Release(
        name="dmaot-swinb",
        file="SwinB_DeAOTL_PRE_YTB_DAV_VIP_MOSE_OVIS_LASOT_GOT.pth",
        purpose="SwinB-DeAOT-L as in DMAOT, which won VOTS 2023; the preset swinb-deaot-l takes it as well",
        training=f"{_STATIC}, then YouTube-VOS, DAVIS 2017, LaSOT, GOT-10k, MOSE, VIPSeg and OVIS",
        licence="BSD-3-Clause (the repository's)",
        page="https://github.com/yamy-cheng/DMAOT-VOTS2023",
        urls=(drive("1KTJdR354BtFEGTrA_a4fcKUUHe2woxtn"),),
        used_by=("preset:dmaot-swinb",),
        preset="dmaot-swinb",
        note="Data as in the repository's settings; its author names the same without VIPSeg. The file's name is what"
        " the repository's tracker reads. Neither hash nor size is published.",
    ),
    Release(
        name="vmos",
        file="hqtrack_vmos.pth",
        purpose="HQTrack's VMOS, a multi-scale DeAOT on InternImage-T, second in VOTS 2023",
        training=f"{_STATIC}, then YouTube-VOS, DAVIS and VIPSeg",
        licence="MIT (the repository's)",
        page="https://github.com/jiawen-zhu/HQTrack",
        used_by=("preset:vmos",),
        preset="vmos",
        note="Published in a folder, https://drive.google.com/drive/folders/1Hh10hLtz3YL_zE3PfBCiLB0tvj3Yvv26; HQTrack"
        " reads save_step_42000.pth. Neither hash nor size is published.",
    ),
)
