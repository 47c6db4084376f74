"""Prompts on any frame, whichever way a video is gone through; files of them; sources of every kind."""

import http.server
import json
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import video_files
from colour_model import ColourModel, scene

import msdeaot_tracker.video as video_module
from msdeaot_tracker import Points, Tracker, track_video
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.geometry import rectangle_iou
from msdeaot_tracker.images import write_image, write_mask
from msdeaot_tracker.passes import Run
from msdeaot_tracker.prompts import read_prompts
from msdeaot_tracker.types import Box, FrameResult, InputError, InputErrors
from msdeaot_tracker.video import open_backward, open_source

SIZE, FRAMES = (64, 96), 8


def red(index: int) -> Box:
    return Box(10 + 4 * index, 12, 20, 16)


GREEN = Box(60, 40, 20, 16)


def close(one: Box, other: Box) -> bool:
    """Up to a pixel of the network's size, which is not the picture's."""
    return rectangle_iou(one, other) > 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight pictures: red moves to the right, green stays."""
    path = tmp_path_factory.mktemp("Bilder – 图像") / "clip"
    path.mkdir()
    for index in range(FRAMES):
        write_image(path / f"{index + 1:05d}.png", scene(SIZE, {1: red(index), 2: GREEN}))
    return path


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(ColourModel(), initializer="box")


# Python


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, range(3, 8)),
        ({"end": 6}, range(3, 6)),
        ({"stride": 2}, range(3, 8, 2)),
        ({"direction": "backward"}, range(0, 4)),
        ({"direction": "backward", "end": 0, "stride": 2}, range(1, 4, 2)),
        ({"direction": "both"}, range(0, 8)),
        ({"direction": "both", "stride": 3}, range(0, 8, 3)),
        ({"direction": "both", "end": 5}, range(0, 5)),
    ],
)
def test_results_come_in_the_videos_order_whichever_way_it_was_gone_through(folder, tracker, options, frames):
    done = []
    results = list(
        track_video(folder, {1: red(3)}, tracker=tracker, start=3, progress=lambda *of: done.append(of), **options)
    )
    assert [result.frame_index for result in results] == list(frames)
    for result in results:
        assert close(result.boxes[1], red(result.frame_index))
        assert result.sources == {1: "prompted" if result.frame_index == 3 else "tracked"}
        np.testing.assert_array_equal(result.image, scene(SIZE, {1: red(result.frame_index), 2: GREEN}))
    counted = max(total for _, total in done)
    assert [n for n, _ in done][-1] == counted and counted == len(frames)


def test_a_correction_counts_from_its_frame_on_and_keeps_what_came_before(folder, tracker):
    first = list(track_video(folder, {1: red(0)}, tracker=tracker))
    wrong = {0: {1: red(0)}, 3: {2: GREEN}, 5: {1: GREEN, 2: None}, 7: {1: None, 3: red(7)}}
    again = list(track_video(folder, wrong, tracker=tracker))
    for before, after in zip(first[:3], again, strict=False):
        np.testing.assert_array_equal(before.labels, after.labels)
    assert [set(result.boxes) for result in again] == [{1}] * 3 + [{1, 2}] * 2 + [{1}] * 2 + [{3}]
    assert all(close(again[i].boxes[1], box) for i, box in ((4, red(4)), (5, GREEN), (6, GREEN)))


def test_going_backward_prompts_count_downward(folder, tracker):
    prompts = {6: {1: red(6)}, 2: {1: None, 2: GREEN}}
    results = list(track_video(folder, prompts, tracker=tracker, direction="backward"))
    assert [set(result.boxes) for result in results] == [{2}] * 3 + [{1}] * 4


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ({}, {}, ["there are no prompts"]),
        ({0: {1: red(0)}, 1: red(0)}, {}, ["both are mixed"]),
        ({9: {1: red(0)}}, {}, ["no frame 9 in"]),
        ({0: {1: red(0)}, 9: {1: GREEN}}, {}, ["frame 9, which is not tracked: frames 0 to 7 are"]),
        ({0: {1: red(0)}, 3: {1: GREEN}}, {"stride": 2}, ["frame 3, which is not tracked: frames 0, 2, … to 6 are"]),
        ({2: {1: red(0)}, 0: {1: GREEN}}, {"start": 2}, ["frame 0, which is not tracked: frames 2 to 7 are"]),
        ({2: {1: red(0)}}, {"start": 1}, ["no prompt for frame 1"]),
        ({0: {1: red(0)}, 4: {2: None}}, {}, ["frame 4: object 2 cannot be removed"]),
        ({4: {1: red(4)}, 2: {2: None}}, {"direction": "backward"}, ["frame 2: object 2 cannot be removed"]),
        (
            {0: {1: red(0)}, 4: {2: Points([(96, 1)]), 0: GREEN}},
            {},
            ["frame 4: object 2: foreground point (96, 1)", "frame 4: an object id"],
        ),
        ({1: red(0)}, {"direction": "sideways"}, ["'sideways'"]),
        ({1: red(0)}, {"stride": 0}, ["stride 0"]),
        ({1: red(0)}, {"start": 4, "end": 4}, ["nothing between frame 4 and frame 4"]),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_are_named_at_once(folder, tracker, prompts, options, words):
    with pytest.raises(InputError) as error:
        track_video(folder, prompts, tracker=tracker, **options)
    lines = str(error.value).splitlines()
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))


def test_points_for_an_initializer_of_boxes_are_named_at_once_whatever_their_frame(folder, tracker):
    with pytest.raises(InputError, match="makes masks of boxes, not of points"):
        track_video(folder, {0: {1: red(0)}, 7: {1: Points([(40, 20)])}}, tracker=tracker)


def test_a_source_that_is_still_being_read_is_closed_when_its_results_are_left(folder, tracker, monkeypatch):
    read = video_module.read_image

    def slowly(path):
        time.sleep(0.3 if path.name == "00003.png" else 0)
        return read(path)

    monkeypatch.setattr(video_module, "read_image", slowly)
    results = track_video(folder, {1: red(0)}, tracker=tracker)
    next(results), next(results)
    results.close()  # a generator at work in another thread would refuse


def test_a_stop_going_backward_keeps_what_is_tracked(folder, tracker):
    with Run.open(folder, 5, direction="both") as run:
        run.prompt({5: {1: red(5)}})
        seen = []
        steps = run.steps(tracker, progress=lambda *of: seen.append(of), stop=lambda: len(seen) == 3)
        boxes = [step.result.boxes[1] for step in steps]
        assert len(boxes) == 2 and close(boxes[0], red(3)) and close(boxes[1], red(4))


def test_visible_objects_become_detections(folder, tracker):
    supervision = pytest.importorskip("supervision", reason="needs the extra supervision")
    result = next(iter(track_video(folder, {4: red(0), 7: GREEN}, tracker=tracker)))
    found = result.to_supervision()
    assert isinstance(found, supervision.Detections) and found.tracker_id.tolist() == [4, 7]
    np.testing.assert_array_equal(found.xyxy, [[10, 12, 30, 28], [60, 40, 80, 56]])
    np.testing.assert_array_equal(found.mask, [result.masks[4], result.masks[7]])
    none = FrameResult(0, np.zeros(SIZE, np.int32), {1: None}, {1: 0.0}).to_supervision()
    assert len(none) == 0


# Sources


def test_files_are_read_backward_as_they_are_forward(tmp_path, monkeypatch):
    path = video_files.write(tmp_path / "clip.mp4", [i / 25 for i in range(11)])
    forward = list(open_source(path))
    monkeypatch.setattr(video_module, "_BACKWARD_BYTES", 3 * 64 * 48 * 3)  # three frames at once
    for start, end, stride in ((10, None, 1), (9, 2, 1), (8, None, 3), (0, None, 1)):
        back = list(open_backward(path, start, end=end, stride=stride))
        wanted = forward[start:end:-stride] if end is not None else forward[start::-stride]
        assert [frame.index for frame in back] == [frame.index for frame in wanted]
        assert all(np.array_equal(a.image, b.image) and a.time == b.time for a, b in zip(back, wanted, strict=True))
    with pytest.raises(InputError, match=r"no frame 11 .* frame 10"):
        next(open_backward(path, 11))


def test_patterns_of_names_are_folders(folder, tmp_path):
    for pattern in ("*.png", "%05d.png", "0000?.png"):
        assert [frame.file for frame in open_source(folder / pattern)] == [f"{i:05d}.png" for i in range(1, 9)]
    for name in ("9.png", "10.png", "x.png", "8.jpg"):
        write_image(tmp_path / name, scene(SIZE, {}))
    assert [frame.file for frame in open_source(tmp_path / "%d.png")] == ["9.png", "10.png"]
    for pattern, words in (("%03d.png", "no image is called"), ("no/*.png", "folder .*no.* does not exist")):
        with pytest.raises(InputError, match=words):
            open_source(tmp_path / pattern)


def test_addresses_are_read_as_streams_and_what_is_left_of_prompts_is_said_at_the_end(tmp_path, tracker):
    video_files.write(tmp_path / "clip.ts", [i / 25 for i in range(6)])
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            frames = [frame.image for frame in open_source(f"{address}/clip.ts")]
            results = []
            with pytest.raises(InputError, match=r"prompts for frame 60, but .* ends after frame 5"):
                results.extend(track_video(f"{address}/clip.ts", {0: {1: GREEN}, 60: {1: None}}, tracker=tracker))
            with pytest.raises(InputError, match="does not answer, or is no video"):
                open_source(f"{address}/none.mp4")
            with pytest.raises(InputError, match="cannot be tracked backward"):
                open_backward(f"{address}/clip.ts", 3)
        finally:
            server.shutdown()
    assert all(map(np.array_equal, frames, [frame.image for frame in open_source(tmp_path / "clip.ts")]))
    assert len(frames) == 6


# Files


def test_a_prompts_file_holds_boxes_masks_points_and_removals(tmp_path):
    labels = np.zeros(SIZE, np.int32)
    labels[4:9, 5:7], labels[20:30, 1:3] = 2, 5
    write_mask(tmp_path / "two.png", labels)
    content = {
        "video": {"name": "clip.mp4", "size": [96, 64], "frames": 8},
        "frames": {
            "0": {"1": {"box": [1, 2.5, 3, 4]}, "5": {"mask": "two.png"}},
            "7": {
                "1": {"points": {"foreground": [[1, 2]], "background": [[3, 4.5]]}, "box": [0, 0, 9, 9]},
                "5": "remove",
            },
        },
    }
    (tmp_path / "p.json").write_text(json.dumps(content))
    file = read_prompts(tmp_path / "p.json")
    assert file.frames[0][1] == Box(1, 2.5, 3, 4)
    np.testing.assert_array_equal(file.frames[0][5], labels == 5)
    assert file.frames[7] == {1: Points([(1, 2)], [(3, 4.5)], Box(0, 0, 9, 9)), 5: None}
    file.check_video("elsewhere/clip.mp4", (96, 64), 8)
    replace(file, name=None, length=None).check_video("other.mp4", (96, 64), 99)
    with pytest.raises(InputErrors) as error:
        file.check_video("other.mp4", (96, 65), 9)
    assert len(error.value.faults) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["cannot be read"]),
        ("[]", ["the file is {…}, got []"]),
        ("{}", ['there is no "frames"']),
        ('{"frames": {}}', ["nothing to track"]),
        ('{"frame": {}, "frames": {"0": {"1": "remove"}}}', ['unknown "frame", did you mean \'frames\'?']),
        ('{"frames": {"-1": {}, "1.5": {}, "0": {}}}', ["frame '-1' is no number", "frame '1.5'", "names no object"]),
        ('{"frames": {"0": {"1": "remove", "1": "remove"}, "0": {"2": "remove"}}}', ['"frames": 0 is there twice']),
        ('{"frames": {"0": {"1": "remove", "1": "remove"}}}', ["frame 0: 1 is there twice"]),
        (
            '{"frames": {"0": {"1": "remove", "01": "remove"}, "00": {"2": "remove"}}}',
            ["frame 0: object 1 is there twice, the second time as '01'", "frame 0 is there twice"],
        ),
        ('{"frames": {"0": {"255": "remove", "x": "remove"}}}', ["object '255' is no number from 1", "object 'x'"]),
        ('{"frames": {"0": {"1": "gone", "2": 3}}}', ['object 1 is {…} or "remove", got "gone"', "object 2 is {…}"]),
        (
            '{"frames": {"0": {"1": {"box": [1, 2, 3]}, "2": {"box": [1, 2, 3, true]}}}}',
            ['object 1: "box" is [x, y, w, h]', "object 2"],
        ),
        ('{"frames": {"0": {"1": {"points": {"middle": [], "foreground": [[1, 2]]}}}}}', ['unknown "middle"']),
        ('{"frames": {"0": {"1": {"points": {"foreground": [[1]]}}}}}', ['"foreground" is a list of [x, y]']),
        ('{"frames": {"0": {"1": {"mask": "none.png"}, "2": {}}}}', ["none.png does not exist", "object 2 is empty"]),
        (
            '{"video": {"size": [1], "frames": 0, "name": 3}, "frames": {"0": {"1": "remove"}}}',
            ['"name"', '"size"', '"frames"'],
        ),
    ],
)  # fmt: skip
def test_each_fault_of_a_prompts_file_is_a_line(tmp_path, text, words):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_prompts(tmp_path / "p.json")
    lines = str(error.value).splitlines()
    assert len(lines) == len(words), lines
    assert all(word in line and "p.json" in line for word, line in zip(words, lines, strict=True))


# The command


def track(source, out, *options) -> int:
    fast = ["--preset", "msdeaot-small", "--device", "cpu", "--set", "tracker.long_edge=96", "--initializer", "grabcut"]
    return main(["track", str(source), "--out", str(out), "--no-overlay", *fast, *map(str, options)])


def test_a_run_both_ways_leaves_a_whole_folder(folder, tmp_path, capsys):
    (tmp_path / "p.json").write_text(
        json.dumps({"frames": {"2": {"1": {"box": red(2)}}, "4": {"2": {"box": GREEN}}, "6": {"1": "remove"}}})
    )
    out = tmp_path / "out"
    assert track(folder, out, "--prompts", tmp_path / "p.json", "--both", "--stride", 2) == 0
    one, two = (np.loadtxt(out / f"boxes_{i}.txt", delimiter=",") for i in (1, 2))
    assert [bool(np.isnan(row).any()) for row in one] == [False, False, False, True]
    assert [bool(np.isnan(row).any()) for row in two] == [True, True, False, False]
    np.testing.assert_array_equal(one[1], red(2))
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 2, 4, 6]
    assert [sorted(line["objects"]) for line in lines] == [["1"], ["1"], ["1", "2"], ["2"]]
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{i:08d}.png" for i in (0, 2, 4, 6)]
    summary = json.loads((out / "result.json").read_text())
    assert summary["prompts"]["6"] == {"1": "remove"} and summary["objects"] == {"1": list(red(2))}

    assert track(folder, out, "--point", "1=20,20", "--point", "1=90,60,-", "--end", 2, "--no-masks") == 0
    assert not (out / "masks").exists() or not list((out / "masks").iterdir())  # of the run before
    assert json.loads((out / "result.json").read_text())["objects"]["1"]["points"]["background"] == [[90, 60]]


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ({"frames": {"99": {"1": {"box": red(0)}}}}, [], ["no frame 99"]),
        (
            {"frames": {"0": {"1": {"box": red(0)}}, "99": {"2": "remove"}}},
            [],
            ["frame 99, which", "frame 99: object 2"],
        ),
        (
            {"frames": {"0": {"1": {"points": {"foreground": [[1, 64]]}}}}},
            [],
            ["foreground point (1, 64) lies outside"],
        ),
        ({"video": {"name": "x"}, "frames": {"0": {"1": {"box": red(0)}}}}, [], ["for a video called x"]),
        ({"frames": {"0": {"1": {"box": red(0)}}}}, ["--box", "1,2,3,4"], ["given on frame 0 by an option and by"]),
        ({"frames": {"0": {"1": {"box": red(0)}}}}, ["--backward", "--end", "3"], ["backward from frame 0"]),
    ],
)
def test_prompts_of_another_video_are_refused_on_one_line_each(folder, tmp_path, capsys, prompts, options, words):
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    assert track(folder, tmp_path / "out", "--prompts", tmp_path / "p.json", *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))
    assert not (tmp_path / "out").exists()
