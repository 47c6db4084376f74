"""Who may import whom (the arrows of the design), and habits that must not creep in."""

import ast
from pathlib import Path

import pytest

import msdeaot_tracker
from msdeaot_tracker import evaluation

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "msdeaot_tracker"
ADAPTERS = ROOT / "integration"

# Part of the package -> the parts it may import.
BASE = {"types", "config", "geometry", "words"}
ALLOWED = {
    "lazy": set(),
    "threads": set(),
    "pipeline": set(),
    "types": set(),
    "words": set(),
    "config": {"types", "words"},
    "geometry": {"types"},
    "device": {"types"},
    "models": BASE,
    "memory": {"types", "config"},
    "checkpoints": BASE | {"lazy", "models", "device"},
    "initializers": {"types", "words", "geometry", "checkpoints", "models", "device"},
    "files": set(),
    "mask_files": {"types"},
    "images": {"types", "mask_files"},
    "video_file": {"types"},
    "video": {"types", "words", "images", "video_file"},
    "overlay": {"types", "images", "parts"},
    "processes": {"types"},
    "exports": {"types", "words", "geometry", "files", "images", "video", "__version__"},
    "data": {"types", "geometry", "files", "images", "mask_files", "video", "processes"},
    "targets": {"types", "geometry", "images", "mask_files", "initializers"},
    "parts": {"types", "geometry"},
    "boxes": BASE | {"initializers", "parts"},
    "onnx_export": BASE | {"models"},
    "views": BASE,
    "sightings": {"types", "config", "geometry"},
    "groups": {"types", "config", "device", "geometry", "boxes", "parts", "memory", "sightings", "views"},
    "enlargement": {"types", "views"},
    "readout": {"types", "enlargement", "views"},
    "dense_readout": {"types", "device", "readout"},
    "look": {"types", "config", "dense_readout", "device", "groups", "memory", "models", "parts", "readout", "views"},
    "tracker": BASE
    | {"targets", "images", "boxes", "parts", "groups", "readout", "look", "views", "models", "memory"}
    | {"device", "initializers"},
    "loading": {"types", "checkpoints", "initializers", "tracker"},
    "prompts": {"types", "words", "images", "targets"},
    "passes": {"types", "video", "targets", "prompts", "tracker", "pipeline"},
    "whole_video": {"types", "video", "targets", "prompts", "passes", "tracker", "loading"},
    "app": {"types", "words", "files", "geometry", "images", "overlay", "video", "targets", "tracker", "exports"}
    | {"cli"},  # for the folder of results that it hands out
    "training": BASE | {"images", "models", "memory", "initializers", "data", "checkpoints", "device"},
    "evaluation": {"types", "geometry", "data", "images", "video", "processes", "threads", "pipeline"},
}
# Room of the package's data -> the other rooms it may import.
ROOMS = {"procedural": set(), "datasets": set(), "masks": {"datasets"}}
ONLY_IN = {
    "timm": ("models/encoder.py", "models/resnet.py", "models/swin.py"),
    "segment_anything": ("initializers/sam.py",),
    "transformers": ("initializers/sam_hf.py",),
    "onnx": ("onnx_export.py",),
    "onnxruntime": ("onnx_export.py",),
    "onnxscript": ("onnx_export.py",),
    "lightning_fabric": ("training/engine.py",),
    "supervision": ("types.py",),
    "gradio": ("app/actions.py", "app/page.py", "app/server.py"),
}


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *ADAPTERS.rglob("*.py")])


def imports(path: Path) -> list[str]:
    """Absolute dotted names of everything a file imports, wherever in the file."""
    top, name = (PACKAGE, "msdeaot_tracker") if path.is_relative_to(PACKAGE) else (ADAPTERS, "msdeaot_integration")
    inside = [name, *path.relative_to(top).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*parts, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_design(path):
    inside_package = path.is_relative_to(PACKAGE)
    relative = path.relative_to(PACKAGE if inside_package else ADAPTERS)
    part = relative.parts[0].removesuffix(".py")
    for name in imports(path):
        first, *rest = name.split(".")
        if first in ONLY_IN:
            assert inside_package and relative.as_posix() in ONLY_IN[first], f"{name} belongs to {ONLY_IN[first]}"
        if first == "msdeaot_integration":
            assert not inside_package or part == "cli", f"{path} imports {name}"
        if first == "msdeaot_tracker" and inside_package and part in ALLOWED and rest and rest[0] != part:
            assert rest[0] in ALLOWED[part], f"{part} imports {rest[0]}"
        if part == "data" and (room := relative.parts[1]) in ROOMS and rest[:1] == ["data"] and rest[1] in ROOMS:
            assert rest[1] == room or rest[1] in ROOMS[room], f"{room} imports {rest[1]}"
        if first == "msdeaot_tracker" and not inside_package:
            public = evaluation.__all__ if rest[:1] == ["evaluation"] else msdeaot_tracker.__all__
            assert rest and rest[-1] in public, f"{path} uses {name}, which is not public"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_habits(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350, "a file that long holds two things"
    for habit in ("sys.path.", ".cuda(", "import *"):
        assert habit not in text, habit
