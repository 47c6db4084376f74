import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import video_files
from PIL import Image

import msdeaot_tracker.overlay as overlay_module
from msdeaot_tracker.images import mask_objects, palette, read_image, read_mask, write_image, write_mask
from msdeaot_tracker.overlay import OverlayWriter, draw_overlay
from msdeaot_tracker.types import Box, FrameResult, InputError
from msdeaot_tracker.video import open_source

FOLDER = "Bilder – 图像"  # cv2.imread cannot open such paths on Windows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / FOLDER
    path.mkdir()
    return path


def ramp(height: int = 24, width: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 5, 200 - rows - columns], axis=2).astype(np.uint8)


def write_video(path: Path, frames: int = 10, size: tuple[int, int] = (64, 48), fps: float = 20) -> Path:
    """Frame i is grey of level 20 i (modulo 256), with a red upper left quarter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    for level in range(frames):
        image = np.full((size[1], size[0], 3), 20 * level % 256, np.uint8)
        image[: size[1] // 2, : size[0] // 2] = (0, 0, 255)
        writer.write(image)
    writer.release()
    return path


# Stills


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_an_image_returns_as_it_was_written(folder, suffix):
    write_image(folder / f"ä{suffix}", ramp())
    np.testing.assert_array_equal(read_image(folder / f"ä{suffix}"), ramp())


def test_jpeg_is_close(folder):
    write_image(folder / "a.jpg", ramp())
    assert np.abs(read_image(folder / "a.jpg").astype(int) - ramp()).max() < 16


def test_grey_is_repeated(folder):
    Image.fromarray(ramp()[..., 0]).save(folder / "a.png")
    np.testing.assert_array_equal(read_image(folder / "a.png"), ramp()[..., [0, 0, 0]])


def test_transparency_is_ignored(folder):
    Image.fromarray(np.dstack([ramp(), np.zeros((24, 32), np.uint8)])).save(folder / "a.png")
    np.testing.assert_array_equal(read_image(folder / "a.png"), ramp())


def test_grey_of_16_bits_keeps_the_upper_eight(folder):
    deep = ramp()[..., 0].astype(np.uint16) * 256 + 255
    cv2.imwrite(str(folder / "a.png"), deep)
    np.testing.assert_array_equal(read_image(folder / "a.png"), ramp()[..., [0, 0, 0]])


def test_colours_of_16_bits_keep_the_upper_eight(folder):
    deep = ramp().astype(np.uint16) * 256 + 7
    cv2.imwrite(str(folder / "a.png"), deep[..., ::-1])
    np.testing.assert_array_equal(read_image(folder / "a.png"), ramp())


def test_floating_point_is_refused(folder):
    Image.fromarray(ramp()[..., 0].astype(np.float32)).save(folder / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff.*floating-point"):
        read_image(folder / "a.tiff")


def test_photographs_are_turned_upright(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter to the right
    Image.fromarray(ramp()).save(folder / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(folder / "a.png"), np.rot90(ramp(), -1))


@pytest.mark.parametrize("content", ["nothing", "half", "text", "missing"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_unreadable_image_is_an_error_that_names_it(folder, content, suffix):
    path = folder / f"frame{suffix}"
    if content != "missing":
        write_image(path, ramp())
        data = path.read_bytes()
        path.write_bytes({"nothing": b"", "half": data[: len(data) // 2], "text": b"not an image"}[content])
    with pytest.raises(InputError, match=rf"frame\{suffix}"):
        read_image(path)


# Masks


def test_a_mask_keeps_its_ids_and_has_the_palette_of_davis(folder):
    labels = np.arange(24 * 32).reshape(24, 32) % 256
    write_mask(folder / "m.png", labels)
    np.testing.assert_array_equal(read_mask(folder / "m.png"), labels)
    image = Image.open(folder / "m.png")
    assert image.mode == "P"
    davis = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128, 128, 128, 128, 64, 0, 0]
    assert image.getpalette()[: len(davis)] == davis
    assert palette()[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize("labels", [[[0, 256]], [[-1, 0]]])
def test_ids_beyond_the_palette_are_refused(folder, labels):
    with pytest.raises(InputError, match=r"256|-1"):
        write_mask(folder / "m.png", np.array(labels))
    assert not list(folder.iterdir())


def test_grey_and_colour_masks(folder):
    levels = np.zeros((4, 6), np.uint8)
    levels[1:3, 1:3], levels[0, 5] = 7, 2
    Image.fromarray(levels).save(folder / "grey.png")
    Image.fromarray(np.repeat(levels[..., None], 3, axis=2)).save(folder / "rgb.png")
    Image.fromarray(levels > 0).save(folder / "bits.png")
    np.testing.assert_array_equal(read_mask(folder / "grey.png"), levels)
    np.testing.assert_array_equal(read_mask(folder / "rgb.png"), levels)
    np.testing.assert_array_equal(read_mask(folder / "bits.png"), levels > 0)


@pytest.mark.parametrize(
    "picture, words", [(ramp(), "colours"), (np.arange(100, dtype=np.uint8)[None], "100 grey levels")]
)
def test_a_picture_is_no_mask(folder, picture, words):
    Image.fromarray(picture).save(folder / "a.png")
    with pytest.raises(InputError, match=rf"a\.png.*{words}"):
        read_mask(folder / "a.png")


def test_mask_objects():
    binary = mask_objects(np.array([[0, 255]]))
    assert list(binary) == [1] and binary[1].tolist() == [[False, True]]
    several = mask_objects(np.array([[0, 3, 7, 255]]))
    assert list(several) == [3, 7] and several[7].tolist() == [[False, False, True, False]]
    assert mask_objects(np.zeros((2, 2), int)) == {}


# Folders


def write_frames(folder: Path, names: list[str]) -> None:
    for level, name in enumerate(names):
        write_image(folder / name, np.full((8, 12, 3), level, np.uint8))


def test_a_folder_gives_frames_in_natural_order(folder):
    write_frames(folder, ["f2.png", "f10.png", "f1.PNG", "F3.bmp"])
    (folder / "notes.txt").write_text("no frame")
    (folder / "._f1.png").write_bytes(b"as macOS leaves them")
    source = open_source(folder)
    assert source.length == 4
    frames = list(source)
    assert [frame.image[0, 0, 0] for frame in frames] == [2, 0, 3, 1]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert frames[3].label == "frame 3 (f10.png)" and frames[0].time is None


def test_a_folder_from_a_later_frame(folder):
    write_frames(folder, ["0.png", "1.png", "2.png"])
    source = open_source(folder, start=1)
    assert source.length == 2
    assert [(frame.index, frame.image[0, 0, 0]) for frame in source] == [(1, 1), (2, 2)]


def test_frames_are_read_when_asked_for(folder):
    write_frames(folder, ["0.png", "1.png", "2.png"])
    frames = iter(open_source(folder))
    next(frames)
    (folder / "1.png").unlink()
    with pytest.raises(InputError, match=r"frame 1: .*1\.png does not exist"):
        next(frames)


def test_a_dangling_link_is_a_missing_frame(folder):
    write_frames(folder, ["0.png"])
    try:
        os.symlink(folder / "gone.png", folder / "1.png")
    except OSError:
        pytest.skip("no permission to make links")
    with pytest.raises(InputError, match="frame 1"):
        list(open_source(folder))


def test_frames_that_change_size(folder):
    write_frames(folder, ["0.png", "1.png"])
    write_image(folder / "2.png", np.zeros((9, 12, 3), np.uint8))
    with pytest.raises(InputError, match=r"frame 2 \(2.png\) is 12x9 .*frame 0 \(0.png\) is 12x8"):
        list(open_source(folder))


@pytest.mark.parametrize(
    "names, words", [(["0.png", "1.png", "3.png"], "1.png and 3.png"), (["00.png", "05.png", "10.png"], None)]
)
def test_a_gap_in_the_numbers_is_a_warning(folder, names, words, caplog):
    write_frames(folder, names)
    with caplog.at_level(logging.WARNING):
        assert len(list(open_source(folder))) == 3
    assert (words in caplog.text) if words else not caplog.text


@pytest.mark.parametrize("start, words", [(-1, "negative"), (3, "no frame 3")])
def test_a_start_that_is_not_there(folder, start, words):
    write_frames(folder, ["0.png", "1.png", "2.png"])
    with pytest.raises(InputError, match=words):
        open_source(folder, start)


@pytest.mark.parametrize("name", ["missing", "missing.mp4", "text.mp4", "single.png", "empty"])
def test_sources_that_are_none(folder, name):
    write_image(folder / "single.png", ramp())
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        open_source(folder / name)


def test_a_camera_that_is_not_there():
    with pytest.raises(InputError, match="camera 977"):
        open_source("977")


# Video files


def test_a_video_gives_frames_with_their_times(folder):
    source = open_source(write_video(folder / "ß.mp4"))
    assert source.fps == 20 and source.length == 10
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 20, atol=1e-3)
    for level, frame in enumerate(frames):
        assert np.abs(frame.image[-8:, -8:].astype(int) - 20 * level).max() < 8
        red, green, blue = frame.image[4, 4].astype(int)
        assert red > 200 and max(green, blue) < 60


def test_a_video_from_a_later_frame(folder):
    source = open_source(write_video(folder / "a.mp4"), start=4)
    assert source.length == 6
    frame = next(iter(source))
    assert frame.index == 4 and frame.time == pytest.approx(0.2, abs=1e-3)
    assert abs(int(frame.image[-1, -1, 0]) - 80) < 8
    source.close()


def test_a_video_without_the_start_frame(folder):
    with pytest.raises(InputError, match=r"no frame 30 .*holds 10"):
        open_source(write_video(folder / "a.mp4"), start=30)


def test_a_rotated_video_is_turned_upright(folder):
    path = write_video(folder / "a.mp4")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # 16.16 and 2.30 fixed point; here: a quarter turn to the right
    one = (1 << 16).to_bytes(4, "big")
    minus_one, zero, w = (0xFFFF << 16).to_bytes(4, "big"), bytes(4), (1 << 30).to_bytes(4, "big")
    width = (48 << 16).to_bytes(4, "big")
    data[matrix : matrix + 36] = zero + one + zero + minus_one + zero + zero + width + zero + w
    path.write_bytes(data)
    image = next(iter(open_source(path))).image
    assert image.shape == (64, 48, 3)
    assert image[4, -4, 0] > 200 and image[4, 4, 0] < 60  # the red quarter went from upper left to upper right


def test_a_video_without_its_index_is_damaged(folder):
    path = write_video(folder / "a.mp4")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.mp4"):
        list(open_source(path))


def test_a_video_that_breaks_off_gives_its_frames_then_an_error(folder):
    path = write_video(folder / "a.mp4", frames=60)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin + (end - begin) // 2 : end] = bytes(end - begin - (end - begin) // 2)  # as an unfinished download
    path.write_bytes(data)
    frames = []
    with pytest.raises(InputError, match=r"a\.mp4"):
        for frame in open_source(path):
            frames.append(frame)
    assert 5 < len(frames) < 60


def check_frames(path: Path, times: list[float], first: int = 0) -> None:
    """Every frame is there, in its order, with its time."""
    found = list(open_source(path))
    np.testing.assert_allclose([frame.time for frame in found], times, atol=2e-3)
    for index, frame in enumerate(found, first):
        assert abs(int(frame.image[24, 32, 1]) - video_files.grey_of(index)) <= 4


def test_a_video_of_varying_rate(folder):
    times = [0, 0.04, 0.08, 0.5, 0.54, 1.9, 1.95]
    path = video_files.write(folder / "vfr.mkv", times)
    check_frames(path, times)
    assert open_source(path).length is None


def test_sound_that_is_longer_than_the_picture(folder):
    times = [index / 25 for index in range(30)]
    check_frames(video_files.write(folder / "audio.webm", times, "libvpx", audio=4), times)


def test_a_picture_that_starts_late(folder):
    times = [1.5 + index / 25 for index in range(10)]
    check_frames(video_files.write(folder / "late.mkv", times, audio=3), times)


def test_a_video_cut_by_copy(folder):
    times = [index / 25 for index in range(50)]
    source = video_files.write(folder / "whole.mp4", times, options={"g": "50", "bf": "2"})
    path = video_files.cut_by_copy(folder / "cut.mp4", source, 30 / 25)
    check_frames(path, times[:20], first=30)
    assert open_source(path).length == 20


def test_av1(folder):
    times = [index / 25 for index in range(6)]
    check_frames(video_files.write(folder / "av1.mp4", times, "libsvtav1"), times)
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER  # the encoder would make this process a real-time one


def test_a_stream_that_breaks_off_ends(folder):
    path = video_files.write(folder / "a.mkv", [index / 25 for index in range(50)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 10 < len(list(open_source(path))) < 50


def test_a_stream_that_begins_between_key_frames(folder, caplog):
    path = video_files.write(folder / "a.ts", [index / 25 for index in range(50)], options={"g": "20", "bf": "0"})
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 4) :])
    found = list(open_source(path))
    assert 20 <= len(found) < 50 and found[0].index == 0
    assert abs(int(found[-1].image[24, 32, 1]) - video_files.grey_of(49)) <= 4


def test_damage_in_the_middle_names_the_frame(folder):
    path = video_files.write(folder / "a.mp4", [index / 25 for index in range(50)])
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[25]
    data = bytearray(path.read_bytes())
    data[entry.pos + 4 : entry.pos + entry.size] = bytes(entry.size - 4)
    path.write_bytes(data)
    found = []
    with pytest.raises(InputError, match=r"frame \d+ of .*a\.mp4 is damaged"):
        for frame in open_source(path):
            found.append(frame)
    assert 20 < len(found) <= 26


@pytest.mark.parametrize("name", ["with: colon.mp4", "50%d.mp4", "a?b.mp4"])
def test_names_that_mean_something_to_ffmpeg(folder, name):
    assert len(list(open_source(write_video(folder / "a.mp4").rename(folder / name)))) == 10


def test_a_playlist_leads_nowhere(folder):
    write_video(folder / "a.mp4")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/a.mp4\n#EXT-X-ENDLIST\n")
    (folder / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile '{folder}/a.mp4'\n")
    (folder / "beside.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    for name in ("list.m3u8", "list.ffconcat", "beside.mp4"):
        with pytest.raises(InputError, match=name):
            list(open_source(folder / name))


def test_sound_alone_is_no_video(folder):
    with av.open(str(folder / "a.mka"), "w") as container:
        sound = container.add_stream("libopus", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="stereo")
        samples.pts, samples.rate = 0, 48000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with pytest.raises(InputError, match=r"a\.mka holds no video"):
        open_source(folder / "a.mka")


# Overlay


def result_of(labels: np.ndarray, boxes: dict, scores: dict) -> FrameResult:
    return FrameResult(0, labels, boxes, scores)


@pytest.mark.parametrize("height, width", [(48, 64), (49, 65), (3, 5)])
def test_an_overlay_can_be_read_back(folder, height, width):
    labels = np.zeros((height, width), np.int32)
    with OverlayWriter(folder / "o.mp4", fps=12.5) as overlay:
        for level in range(5):
            image = np.full((height, width, 3), 40 * level, np.uint8)
            overlay.write(image, result_of(labels, {1: None}, {1: 0.0}))
    source = open_source(folder / "o.mp4")
    frames = list(source)
    assert source.fps == 12.5 and len(frames) == 5
    assert frames[0].image.shape == (height + height % 2, width + width % 2, 3)
    assert [round(int(frame.image.mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4]


def test_an_overlay_is_what_browsers_play_and_keeps_the_times(folder):
    times = [0.0, 0.04, 0.5, 0.54]
    with OverlayWriter(folder / "o.mp4", fps=25) as overlay:
        for time in times:
            overlay.write(ramp(), result_of(np.zeros((24, 32), np.int32), {}, {}), time)
    with av.open(str(folder / "o.mp4")) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    np.testing.assert_allclose([frame.time for frame in open_source(folder / "o.mp4")], times, atol=1e-4)


def test_an_overlay_plays_after_a_kill(folder):
    path = folder / "o.mp4"
    code = f"""
import os, numpy as np
from msdeaot_tracker.overlay import OverlayWriter
from msdeaot_tracker.types import FrameResult
overlay = OverlayWriter({str(path)!r}, fps=10)
for level in range(40):
    overlay.write(np.full((48, 64, 3), 5 * level, np.uint8), FrameResult(0, np.zeros((48, 64), np.int32), {{}}, {{}}))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], timeout=120)
    found = list(open_source(path))
    assert 38 <= len(found) <= 40
    assert all(abs(int(frame.image[24, 32, 0]) - 5 * index) <= 6 for index, frame in enumerate(found))


def test_without_an_encoder_for_h264_there_is_a_warning(folder, monkeypatch, caplog):
    monkeypatch.setattr(overlay_module, "_H264", {})
    with OverlayWriter(folder / "o.mp4", fps=12.5) as overlay:
        for _ in range(5):
            overlay.write(ramp(), result_of(np.zeros((24, 32), np.int32), {}, {}))
    assert "no H.264 encoder here" in caplog.text and "o.mp4 is MPEG-4 part 2" in caplog.text
    assert len(list(open_source(folder / "o.mp4"))) == 5


def test_what_an_overlay_shows():
    image = np.full((240, 320, 3), 100, np.uint8)
    labels = np.zeros((240, 320), np.int32)
    labels[80:120, 60:140], labels[150:200, 200:260] = 1, 300
    boxes = {1: Box(60, 80, 80, 40), 2: None, 300: Box(200, 150, 60, 50)}
    drawn = draw_overlay(image, result_of(labels, boxes, {1: 0.9, 2: 0.0, 300: 0.5}))
    np.testing.assert_array_equal(image, 100)  # the frame itself is left alone
    assert drawn[100, 100].tolist() == [177, 50, 50]  # half frame, half red
    assert drawn[80, 100].tolist() == [255, 0, 0]  # box and outline
    hue = palette()[300 - 255].astype(int)  # the palette begins again
    assert drawn[175, 230].tolist() == (50 + hue * 255 // hue.max() // 2).tolist()
    assert (drawn[220:] == 100).all() and (drawn[:60] == 100).all()
    assert (drawn[62:80, 60:120] == 255).any()  # the text above its box


def test_an_overlay_may_show_where_the_network_looked():
    image = np.full((240, 320, 3), 100, np.uint8)
    views = {1: Box(40, 50, 100, 100), 2: Box(-20, 150, 100, 100)}
    result = replace(result_of(np.zeros((240, 320), np.int32), {1: None, 2: None}, {1: 0.0, 2: 0.0}), views=views)
    np.testing.assert_array_equal(draw_overlay(image, result), image)
    drawn = draw_overlay(image, result, views=True)
    assert (drawn[50, 40:140] == 255).all() and (drawn[50:150, 139] == 255).all()
    assert (drawn[150, :80] == 255).all() and (drawn[200, 10] == 100).all()


def test_an_overlay_that_cannot_be_written(folder):
    overlay = OverlayWriter(folder / "no such folder" / "o.mp4")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        overlay.write(ramp(), result_of(np.zeros((24, 32), np.int32), {}, {}))
