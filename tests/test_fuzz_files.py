"""Files of datasets, results and weights as nobody would write them: one line or an answer, never a traceback.

The same inputs each time, drawn by hypothesis: `INPUTS` of each kind.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from msdeaot_tracker.checkpoints import load_state, save_checkpoint
from msdeaot_tracker.checkpoints.state_dicts import read_state
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.config import ModelConfig, Preset, Stage
from msdeaot_tracker.data.datasets.box_sequences import read_dataset
from msdeaot_tracker.data.datasets.vot_regions import read_regions
from msdeaot_tracker.evaluation.layouts import LAYOUTS
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.types import CheckpointError, InputError

hypothesis = pytest.importorskip("hypothesis", reason="needs the extra `test`")
st = hypothesis.strategies
INPUTS = 130
FRAMES = 4
TINY = Preset("tiny", ModelConfig("resnet_small", (Stage(16, 1, 8),), window=1, objects=1))

many = hypothesis.settings(
    max_examples=INPUTS,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# ---------------------------------------------------------------- texts

plain = st.one_of(st.integers(0, 40).map(str), st.floats(0, 40).map(lambda x: f"{x:.2f}"))
odd = st.sampled_from(
    ["nan", "NaN", "inf", "1e999", "-0", "-1", "-7.5", "x", "", "0x1", "1_0", "٣", ".5", "4.", "1e2", "m1", "9" * 400]
)
value = st.one_of(plain, plain, plain, odd)
separator = st.sampled_from([",", ",", ", ", "\t", " ", ";", ",,"])
line = st.builds(
    lambda values, s, end: s.join(values) + end,
    st.lists(value, max_size=7),
    separator,
    st.sampled_from(["", "", ",", " "]),
)
box_line = st.builds(lambda values: ",".join(values), st.tuples(plain, plain, plain, plain))
runs = st.lists(st.integers(0, 9).map(str), max_size=6)
mask_line = st.builds(
    lambda head, tail: "m" + ",".join([*head, *tail]), st.tuples(*[st.integers(0, 6).map(str)] * 4), runs
)


def texts(*lines: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Mostly whole lines of these kinds, sometimes noise; in several encodings, with any line ends."""
    whole = st.lists(st.one_of(*lines), min_size=FRAMES, max_size=FRAMES)
    parts = st.one_of(whole, whole, st.lists(st.one_of(*lines, line), max_size=7))
    ends = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"])
    encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
    text = st.builds(lambda parts, end, code: (end.join(parts) + end).encode(code), parts, ends, encodings)
    return st.one_of(text, text, text, st.binary(max_size=40))


boxes = texts(box_line)
regions = texts(box_line, mask_line)
numbers = texts(st.sampled_from(["0", "1", "-1", "0.0", "2.5"]))
pairs = texts(st.sampled_from(["0,0", "3,1", "1,0", "9,0", "1,2"]))
triples = texts(st.sampled_from(["0,2,1", "1,3,0", "3,1,2", "0,9,0"]))
flags = st.one_of(texts(st.sampled_from(["0", "1", "0.0"])), st.sampled_from([b"0,1,0,0", b"0,1", b"0,0,0,0,", b""]))
properties = st.lists(
    st.one_of(
        st.builds("fps={}".format, value),
        st.builds("length={}".format, value),
        st.builds(
            "channels.{}={}".format,
            st.sampled_from(["color", "depth", "ir"]),
            st.sampled_from(
                ["color", "color/", "color\\%08d.jpg", "color/%08d.jpg", "%d", "../%08d.jpg", "/", "%99d.jpg", "", "a%"]
            ),
        ),
        st.sampled_from(
            ["groundtruth=other.txt", "groundtruth=../x", "groundtruth=", "interactions=0-2-1 9-9-9", "=", "name"]
        ),
        line,
    ),
    max_size=5,
).map(lambda lines: "\n".join(lines).encode())


def optional(strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes | None]:
    return st.one_of(strategy, strategy, st.none())


def put(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def call(*command: object) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(part) for part in command])
    assert code in (0, 1, 2) and "Traceback" not in err.getvalue()
    if code == 2:
        assert sum(each.startswith("msdeaot: error: ") for each in err.getvalue().splitlines()) == 1
    return code, out.getvalue()


def check_dataset(kind: str, root: Path) -> None:
    """What is read is sound; a whole evaluation of it ends well, touches nothing else, and goes on where it was."""
    before = tree(root)
    try:
        sequences = read_dataset(kind, root)
    except InputError as error:
        assert str(root) in str(error)
        sequences = []
    for sequence in sequences:
        assert sequence.boxes.shape == (len(sequence), 4) and len(sequence.frames) in (0, len(sequence))
        hidden = np.isnan(sequence.boxes)
        assert (hidden.all(axis=1) == hidden.any(axis=1)).all() and not np.isinf(sequence.boxes).any()
        assert all(0 <= anchor.frame < len(sequence) for anchor in sequence.anchors)
        assert all(0 <= span.start <= span.end < len(sequence) for span in sequence.interactions)
        assert sequence.fps is None or 0 < sequence.fps < math.inf
        assert len(sequence) or sequence.problems
    out = root.with_name("out")
    evaluate = ["evaluate", root, "--dataset", kind, "--tracker", "static", "--protocol", "ope,mse,hoi,rte"]
    code, _ = call(*evaluate, "--out", out)
    code_again, printed = call(*evaluate, "--out", out)
    if code != 2:
        assert code_again == code and printed.startswith("0 runs done")
        for protocol in ("ope", "mse", "hoi"):
            call("score", root, "--dataset", kind, "--results", out, "--protocol", protocol)
    assert tree(root) == before
    assert {path.name for path in root.parent.iterdir()} <= {root.name, "out"}
    for path in sorted(out.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def sequence_folder(root: Path, frames: str) -> Path:
    """The only sequence of the dataset at `root`, with its frames."""
    (root / "s" / frames).mkdir(parents=True)
    for number in range(1, FRAMES + 1):
        Image.new("RGB", (48, 40), (number, 0, 0)).save(root / "s" / frames / f"{number:08d}.jpg")
    return root / "s"


@pytest.fixture(scope="module")
def vot(tmp_path_factory) -> Path:
    return sequence_folder(tmp_path_factory.mktemp("vot") / "root", "color")


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory) -> Path:
    return sequence_folder(tmp_path_factory.mktemp("plain") / "root", "img")


@many
@hypothesis.given(
    files=st.fixed_dictionaries(
        {"sequence": optional(properties), "groundtruth.txt": optional(regions), "anchor.value": optional(numbers)},
        optional={"other.txt": regions, "groundtruth_a.txt": regions},
    ),
    names=st.sampled_from([b"s\n", b"s\n", b"s\n", b"s\r\ns\n", b"\n", b"../s\n", b"gone\ns\n", b"\xff"]),
)
def test_vot(vot, files, names):
    put(vot, dict.fromkeys(("groundtruth_a.txt", "other.txt")) | files)
    (vot.parent / "list.txt").write_bytes(names)
    check_dataset("vot", vot.parent)


@many
@hypothesis.given(
    files=st.fixed_dictionaries(
        {
            "groundtruth_rect.txt": optional(boxes),
            "anchors.txt": optional(pairs),
            "anchors_hoi.txt": optional(triples),
        }
    )
)
def test_trek150(plain_folder, files):
    put(plain_folder, dict.fromkeys(("groundtruth.txt",)) | files)
    check_dataset("trek150", plain_folder.parent)


@many
@hypothesis.given(
    files=st.fixed_dictionaries(
        {"groundtruth.txt": optional(boxes), "full_occlusion.txt": optional(flags), "out_of_view.txt": optional(flags)}
    ),
    names=st.sampled_from([None, None, b"s\n", b"gone\n", b"/etc\n", b""]),
)
def test_lasot(plain_folder, files, names):
    put(plain_folder, dict.fromkeys(("groundtruth_rect.txt",)) | files)
    put(plain_folder.parent, {"testing_set.txt": names})
    check_dataset("lasot", plain_folder.parent)
    put(plain_folder.parent, {"testing_set.txt": None})


@many
@hypothesis.given(
    lines=st.lists(st.one_of(box_line, mask_line, line, st.sampled_from(["0", "1,2,3,4,5,6"])), min_size=1)
)
def test_regions_that_the_toolkit_reads_are_read_alike(tmp_path_factory, lines):
    """Where it does: what it stops at may be read, or refused by name."""
    toolkit = pytest.importorskip("vot.region.io", reason="needs the extra `vot`")
    from vot.region import RegionType, Special

    path = tmp_path_factory.mktemp("regions") / "groundtruth.txt"
    for text in lines:
        path.write_text(f"0\n{text}\n1\n", encoding="utf-8")
        try:
            values = [float(part) for part in text.removeprefix("m").split(",")]
            hypothesis.assume(not text.startswith("m") or sum(values[4:]) <= values[2] * values[3])  # it would overrun
            region = toolkit.parse_region(text)
        except (ValueError, IndexError, OverflowError, TypeError):
            region = None
        try:
            _, ours, _ = read_regions(path)
        except InputError as error:
            assert f"{path}, line 2" in str(error)
            # Numbers that are not finite are no places, and other numbers of values no regions.
            assert region is None or "inf" in text or "1e999" in text or "9" * 400 in text
            continue
        if region is None:
            continue
        if isinstance(region, Special):
            assert np.isnan(ours).all()
        elif region.type == RegionType.MASK:
            if region.mask.size == 0 and (ours[2:] == 1).all():
                continue  # a single pixel, which the toolkit loses
            rows, columns = np.nonzero(region.mask)
            x, y = region.offset
            expected = (
                [columns.min() + x, rows.min() + y, np.ptp(columns) + 1, np.ptp(rows) + 1]
                if len(rows)
                else [np.nan] * 4
            )
            np.testing.assert_array_equal(ours, expected)
        else:
            box = region.convert(RegionType.RECTANGLE)
            np.testing.assert_allclose(ours, [box.x, box.y, box.width, box.height], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- results


@many
@hypothesis.given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    content=boxes,
    times=optional(texts(plain)),
    settings=st.one_of(st.none(), st.sampled_from([b"{}", b"[" * 100_000, b'{"tracker": "static"}', b"\xff", b"3"])),
    extra=st.lists(
        st.sampled_from(["t/x.txt", "ope", "t/ope/times/s_time.txt", "é 好/ope/s.txt", "-x/ope/s.txt"]), max_size=3
    ),
)
def test_results(plain_folder, tmp_path_factory, layout, content, times, settings, extra):
    put(plain_folder, {"groundtruth_rect.txt": b"10,5,20,12\n" * FRAMES, "anchors.txt": None, "anchors_hoi.txt": None})
    root = tmp_path_factory.mktemp("results")
    folder = root / "r" / "t"
    kind = LAYOUTS[layout]
    place = kind.folder(root / "r", "t/p" if layout == "pytracking" else "t", "ope")
    for path, data in ((kind.boxes(place, "s"), content), (kind.times(place, "s"), times)):
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path.parent, {path.name: data})
    for name in extra:
        path = root / "r" / name
        if not path.exists() and path.parent.is_dir() != path.parent.is_file():
            path.touch()
        elif not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if layout == "trek150":
        put(place, {"settings.json": settings})
    before = tree(root)
    score = ["score", plain_folder.parent, "--dataset", "trek150", "--protocol", "ope", "--layout", layout]
    code, _ = call(*score, "--results", root / "r", "--json", root / "scores.json")
    if code == 0:
        assert len(content.split()) == FRAMES
    call(
        "report",
        plain_folder.parent,
        "--dataset",
        "trek150",
        "--import",
        f"{layout}={root / 'r'}",
        "--out",
        root / "page.html",
    )
    made = {"scores.json", "page.html"}
    assert {name: data for name, data in tree(root).items() if name not in made} == before
    if layout == "trek150" and not extra:
        evaluate = ["evaluate", plain_folder.parent, "--dataset", "trek150", "--protocol", "ope", "--tracker", "static"]
        code, _ = call(*evaluate, "--name", "t", "--out", root / "r2")
        (root / "r2" / "TREK-150" / "t" / "ope" / "settings.json").write_bytes(settings or b"")
        code, _ = call(*evaluate, "--name", "t", "--out", root / "r2")
        assert code == (0 if settings == b'{"tracker": "static"}' else 2)
    assert folder.parent.is_dir()


# ---------------------------------------------------------------- weights


@cache
def tiny_model() -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(TINY)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, bytes]:
    """One model, by the kind of file."""
    model, folder = tiny_model(), tmp_path_factory.mktemp("weights")
    save_checkpoint(folder / "own", model)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, folder / "zip")
    torch.save({"model": model.state_dict()}, folder / "old", _use_new_zipfile_serialization=False)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


changes = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "insert", "repeat"]), st.binary(min_size=1, max_size=9)),
    max_size=3,
)


@many
@hypothesis.given(kind=st.sampled_from(["own", "zip", "old"]), changes=changes, head=st.booleans())
def test_weights(weights, tmp_path_factory, kind, changes, head):
    """Bytes changed anywhere, or where files say what they are. They load, all or nothing, or are refused by name."""
    content = bytearray(weights[kind])
    for place, change, noise in changes:
        at = int(place * (min(len(content), 3000) if head else len(content)))
        if change == "flip":
            content[at : at + len(noise)] = noise
        elif change == "cut":
            del content[at:]
        else:
            content[at:at] = noise if change == "insert" else content[:at][-50:]
    check_weights(bytes(content), tmp_path_factory.mktemp("w"))


plain_values = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5))
tensors = st.sampled_from(
    [
        torch.zeros(3),
        torch.full((2, 2), math.nan),
        torch.zeros(2, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        torch.zeros(0),
        torch.zeros(2, device="meta"),
        torch.tensor(3),
    ]
)
names = st.sampled_from(
    ["state_dict", "model", "net", "module.model.norm.weight", "norm.weight", "LSTT.layers.0.x", "ema", ""]
)
contents = st.recursive(
    st.one_of(plain_values, tensors),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, st.integers()), inner, max_size=4)
    ),
    max_leaves=8,
)


@many
@hypothesis.given(
    content=contents, way=st.sampled_from(["zip", "old", "pickle", "bytes"]), noise=st.binary(max_size=60)
)
def test_weights_of_anything(tmp_path_factory, content, way, noise):
    file = io.BytesIO()
    if way == "bytes":
        file.write(noise)
    elif way == "pickle":
        pickle.dump(repr(content), file)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=way == "zip")
    check_weights(file.getvalue(), tmp_path_factory.mktemp("w"))


@many
@hypothesis.given(
    noise=st.binary(max_size=40),
    header=st.sampled_from([b"{}", b'{"__metadata__":{"format":"x"}}', b'{"a":', b"[" * 9000]),
)
def test_heads_of_safetensors_and_archives(tmp_path_factory, noise, header):
    folder = tmp_path_factory.mktemp("w")
    check_weights(len(header).to_bytes(8, "little") + header + noise, folder)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", noise)
        file.writestr("a/version", "3")
    check_weights(archive.getvalue(), folder)


def check_weights(content: bytes, folder: Path) -> None:
    path, model = folder / "w.pth", tiny_model()
    path.write_bytes(content)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        load_state(model, path)
    except CheckpointError as error:
        assert "w.pth" in str(error) and "\n" not in str(error)
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    else:
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        model.load_state_dict(before)
    try:
        state = read_state(path)  # as the readers of encoders and initializers do
    except CheckpointError as error:
        assert "w.pth" in str(error)
    else:
        assert state and all(isinstance(key, str) and tensor.device.type == "cpu" for key, tensor in state.items())
    assert [each.name for each in folder.iterdir()] == ["w.pth"]
