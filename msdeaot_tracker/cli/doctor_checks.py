"""What `msdeaot doctor` looks at: packages, device, weights, toolkits, and whether the tracker tracks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..types import InputError, TrackerError
from ..words import counted

if TYPE_CHECKING:
    import torch

NAME = "msdeaot-tracker"
_NOT_FOR_USERS = ("test", "dev", "docs")  # extras
_OF_PYTRACKING = ("pandas", "matplotlib", "jpeg4py", "visdom")  # what its scripts import, and its clone does not bring
_PYTRACKING_LINE = (  # as in docs/toolkits.md, which says why
    'pip install pandas matplotlib jpeg4py cffi "setuptools<81" wheel && pip install --no-build-isolation visdom'
)
LIBRARIES = "apt install libgl1 libglib2.0-0"  # what OpenCV wants of a server without a desktop
_IMPORT_SECONDS = 180
_FRAMES = 12  # of the drawn video
_GOOD_OVERLAP = 0.5  # with the truth: less is a fault of the installation


class Finding(NamedTuple):
    """good: None where it is neither. mend: the line that makes it good, or what to read."""

    good: bool | None
    text: str
    mend: str = ""


def extras() -> list[str]:
    """The extras of this installation that a user may want."""
    return [name for name in distribution(NAME).metadata.get_all("Provides-Extra") or () if name not in _NOT_FOR_USERS]


def core_packages() -> Iterator[Finding]:
    needed = [Requirement(text) for text in distribution(NAME).requires or ()]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    yield from _installed(needed, f"pip install --upgrade {NAME}")


def extra_packages(extra: str) -> Iterator[Finding]:
    """Whether what an extra asks for is there, fits, and can be imported."""
    declared = [Requirement(text) for text in distribution(NAME).requires or ()]
    declared = [each for each in declared if each.marker is not None and f'extra == "{extra}"' in str(each.marker)]
    needed = [each for each in declared if each.marker.evaluate({"extra": extra})]
    if not needed:
        yield Finding(False, f"has no packages for {sys.platform} on {platform.machine()}", "see docs/toolkits.md")
        return
    findings = list(_installed(needed, f'pip install "{NAME}[{extra}]"'))
    yield from findings
    if all(finding.good for finding in findings):
        for requirement in needed:
            yield from _conflicts(distribution(requirement.name))
        yield from _import([_module(requirement.name) for requirement in needed])


def _installed(needed: list[Requirement], mend: str) -> Iterator[Finding]:
    there = []
    for requirement in needed:
        found = _find(requirement.name)
        if found is None:
            yield Finding(False, f"{requirement.name} is not installed", mend)
        elif not requirement.specifier.contains(found.version, prereleases=True):
            yield Finding(False, f"{requirement.name} {found.version}, needed is {requirement.specifier}", mend)
        else:
            there.append(f"{requirement.name} {found.version}")
    if there:
        yield Finding(True, ", ".join(there))


def _conflicts(of: Distribution) -> Iterator[Finding]:
    """What a package asks for itself, and does not find."""
    for text in of.requires or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _find(requirement.name)
        if found is None or not requirement.specifier.contains(found.version, prereleases=True):
            there = "not installed" if found is None else f"here is {found.version}"
            wanted = f"{requirement.name}{requirement.specifier}"
            yield Finding(False, f"{of.name} {of.version} wants {wanted}: {there}", f'pip install "{wanted}"')


def _import(modules: list[str]) -> Iterator[Finding]:
    """In a process of its own, which may crash."""
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        yield Finding(False, f"{command[2]!r} takes more than {_IMPORT_SECONDS} s")
        return
    last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    if done.returncode == 0:
        yield Finding(True, command[2])
    else:
        yield Finding(False, f"{command[2]}: {last}", LIBRARIES if ".so" in last else "")


def _module(package: str) -> str:
    """The module that a package is imported by: the one of its name, or else its first."""
    name = canonicalize_name(package)
    found = [m for m, of in packages_distributions().items() if name in map(canonicalize_name, of)]
    found = sorted(module for module in found if module.isidentifier() and not module.startswith("_"))
    named = [module for module in found if canonicalize_name(module) == name]
    return (named or found or [package.replace("-", "_")])[0]


def _find(package: str) -> Distribution | None:
    try:
        return distribution(package)
    except PackageNotFoundError:
        return None


def opencv() -> Iterator[Finding]:
    """Whether one build of it is there, and can be imported."""
    builds = sorted(set(packages_distributions().get("cv2", ())))
    text = " and ".join(f"{name} {distribution(name).version}" for name in builds)
    mend = f"pip uninstall -y {' '.join(builds)} && pip install opencv-python"
    if len(builds) > 1:
        yield Finding(False, f"{text} write to one folder, and it is chance which is used", mend)
    elif builds:
        yield Finding(True, text)
    yield from _import(["cv2"])


def toolkit() -> Iterator[Finding]:
    """Whether `import vot` and `import trax` bring what they should, and what this version cannot do."""
    from msdeaot_integration.requirements import toolkit_limits, toolkit_version

    try:
        version = toolkit_version()
    except ImportError as error:
        text, _, mend = str(error).partition(": ")
        yield Finding(False, text, mend)
        return
    yield Finding(True, "the modules vot and trax are those of vot-toolkit and vot-trax")
    for limit in toolkit_limits(version):
        yield Finding(None, limit)


def pytracking(clone: Path | None) -> Iterator[Finding]:
    """clone: None, the folder this runs in."""
    from msdeaot_integration import pytracking_install

    for name in pytracking_install.namesakes():
        yield Finding(False, f"{name} is installed, another project, and hides the clone", f"pip uninstall {name}")
    folder = Path() if clone is None else clone
    try:
        todo = [name for done, name in pytracking_install.plan(folder) if done != "unchanged"]
    except InputError as error:
        mend = "git clone https://github.com/visionml/pytracking && msdeaot install-pytracking pytracking"
        yield Finding(False, str(error), mend)
    else:
        text = f"{len(todo)} of our files are not in {folder}, or not of this version" if todo else f"in {folder}"
        yield Finding(not todo, text, f"msdeaot install-pytracking {folder}" if todo else "")
    missing = [name for name in _OF_PYTRACKING if _find(name) is None]
    if missing:
        text = f"its scripts import {', '.join(missing)}: not installed"
        yield Finding(False, text, _PYTRACKING_LINE)


def device(name: str) -> Iterator[Finding]:
    """Where the network would run, in which precision, with how many threads, and why."""
    import torch

    from ..config import PRESETS, find_preset
    from ..device import pick_device, pick_precision

    try:
        chosen = pick_device(name)
    except InputError as error:
        yield Finding(False, str(error), "--device auto")
        return
    yield Finding(True, f"device {chosen}: {_why_device(torch, chosen, name)}")
    precision = pick_precision(find_preset(next(iter(PRESETS))).tracker.precision, chosen)
    reason = "no half precision is faster here" if precision == "float32" else "the device multiplies in it"
    yield Finding(True, f"precision {precision}: {reason}; --set tracker.precision=… says another")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variable = os.environ.get("OMP_NUM_THREADS")
    reason = f"OMP_NUM_THREADS={variable}" if variable else "torch's choice; OMP_NUM_THREADS says another"
    spin = os.environ.get("GOMP_SPINCOUNT")
    waiting = f"; while they wait they spin {spin} rounds (GOMP_SPINCOUNT)" if spin else ""
    yield Finding(True, f"{counted(torch.get_num_threads(), 'thread')} on {counted(cores, 'core')}: {reason}{waiting}")


def _why_device(torch_module: torch, chosen: torch.device, name: str) -> str:
    if chosen.type == "cuda":
        return torch_module.cuda.get_device_name(chosen)
    if name != "auto":
        return "as asked"
    if chosen.type == "mps":
        return "Apple's GPU"
    build = torch_module.version.cuda
    if build is None:
        return f"torch {torch_module.__version__} is built without CUDA"
    return f"torch {torch_module.__version__} is built for CUDA {build}, but finds no such device"


def weights() -> Iterator[Finding]:
    """The shipped ones, and what is in the cache folder; files whose hash is not published cannot be verified."""
    from ..checkpoints import shipped_weights
    from ..checkpoints.cache import cache_dir, verify, weights_path
    from ..checkpoints.zoo import MANIFEST
    from ..config import PRESETS

    for preset in PRESETS.values():
        if preset.weights is not None:
            try:
                size = shipped_weights(preset).stat().st_size
                yield Finding(True, f"{preset.name}: ships with the package, {size / 1e6:.1f} MB")
            except TrackerError as error:
                yield Finding(False, str(error), f"pip install --force-reinstall --no-deps {NAME}")
    cached = [name for name in MANIFEST if weights_path(name).is_file()]
    for name in cached:
        verdict = verify(name)
        good = {"verified": True, "unverifiable": None}.get(verdict.state, False)
        mend = "" if good is not False else f"delete {weights_path(name)}, then msdeaot weights download {name}"
        yield Finding(good, f"{name}: {verdict.reason}", mend)
    if not cached:
        yield Finding(None, f"nothing is downloaded in {cache_dir()}")


def speed(name: str, seconds: float) -> Iterator[Finding]:
    """Track a drawn video with the default model for about so long, and look whether the object is found."""
    from ..data.procedural import generate_clip
    from ..geometry import mask_iou
    from ..loading import load_tracker
    from .demo import CLIPS

    clip = generate_clip(0, replace(CLIPS, frames=_FRAMES))
    overlaps, spent = [], 0.0
    try:
        tracker = load_tracker(device=name)
        tracker.initialize(clip.frames[0], {1: clip.boxes[0][0]})
        tracker.track(clip.frames[1])  # the first takes longer
        began = time.perf_counter()
        for frame, labels in zip(clip.frames[2:], clip.labels[2:], strict=True):
            overlaps.append(mask_iou(tracker.track(frame).labels == 1, labels == 1))
            spent = time.perf_counter() - began
            if spent >= seconds:
                break
    except (TrackerError, RuntimeError) as error:
        yield Finding(False, f"the tracker fails: {error}", "msdeaot doctor --debug")
        return
    mean = sum(overlaps) / len(overlaps)
    text = f"{spent / len(overlaps):.3f} s per frame of {CLIPS.width}x{CLIPS.height}, {counted(len(overlaps), 'frame')}"
    yield Finding(mean > _GOOD_OVERLAP, f"{text}; overlap with the truth {mean:.2f}")
