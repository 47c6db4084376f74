"""Work on a video as the page does it, without the page: prompts, tracking, corrections, sessions, files."""

import threading
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from colour_model import ColourModel, scene
from video_files import write

from msdeaot_tracker.app import frames as frames_module
from msdeaot_tracker.app.downloads import write_downloads
from msdeaot_tracker.app.engine import make_engine
from msdeaot_tracker.app.folders import AllowedFolders
from msdeaot_tracker.app.frames import open_frames
from msdeaot_tracker.app.pictures import parse_colour, picture, scale_of
from msdeaot_tracker.app.session import Session
from msdeaot_tracker.app.sessions import ClosedError, Sessions
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.images import read_mask, write_image
from msdeaot_tracker.tracker import Tracker
from msdeaot_tracker.types import Box, InputError
from msdeaot_tracker.video import open_source

SIZE, FRAMES = (48, 64), 6


def boxes_at(index: int) -> dict[int, tuple[int, int, int, int]]:
    return {1: (4 + 3 * index, 6, 14, 12), 2: (40, 24 + index, 12, 10)}


def silent(done: int, total: int | None) -> None:
    pass


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "clip"
    folder.mkdir()
    for index in range(FRAMES):
        write_image(folder / f"{index}.png", scene(SIZE, boxes_at(index)))
    return folder


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(ColourModel(box_margins=True), initializer="grabcut")


@pytest.fixture
def session(video, tracker, tmp_path) -> Session:
    folder = tmp_path / "session"
    folder.mkdir()
    return Session(open_frames(video, folder / "frames", silent), folder, make_engine(tracker))


def draw(session: Session, index: int, object_id: int, box=None) -> None:
    x, y, w, h = box or boxes_at(index)[object_id]
    assert not session.corner(index, object_id, (x + w, y))
    assert session.corner(index, object_id, (x, y + h))


def is_found(session: Session, index: int, object_id: int, truth: int) -> bool:
    """Whether the object is where the one of that colour is; its outline may be a pixel off."""
    x, y, w, h = boxes_at(index)[truth]
    mask = session.labels(index) == object_id
    return bool(mask[y + 1 : y + h - 1, x + 1 : x + w - 1].all()) and mask.sum() <= (w + 2) * (h + 2)


def run(session: Session, index: int, frames: int | None = None) -> list[int]:
    done = []
    for frame in session.track(index):
        done.append(frame)
        if len(done) == frames:
            session.stop()
    return done


def labels(session: Session) -> list[np.ndarray]:
    return [session.labels(index) for index in range(FRAMES)]


def test_a_box_is_seen_at_once_and_tracks_as_the_tracker_itself_does(session, tracker):
    object_id, (x, y, w, h) = session.add_object("cat"), boxes_at(0)[1]
    around = Box(x - 2, y - 2, w + 4, h + 4)
    draw(session, 0, object_id, around)
    assert is_found(session, 0, object_id, 1)
    assert run(session, 0) == list(range(1, FRAMES))
    direct = tracker.another()
    expected = [direct.initialize(session.frames.image(0), {object_id: around})]
    expected += [direct.track(session.frames.image(index)) for index in range(1, FRAMES)]
    for index, result in enumerate(expected):
        found = session.result(index)
        assert (found.labels == result.labels).all()
        assert found.boxes == result.boxes and found.scores == result.scores


def test_clicks_say_what_belongs_to_the_object_and_what_does_not(session):
    object_id = session.add_object()
    x, y, w, h = boxes_at(0)[1]
    session.click(0, object_id, (x + w / 2, y + h / 2))
    first = session.labels(0)
    assert first[y + h // 2, x + w // 2] == object_id
    session.click(0, object_id, (60, 4), foreground=False)
    assert session.labels(0)[4, 60] == 0
    assert [click.foreground for click in session.marks(0)[object_id].clicks] == [True, False]
    session.undo(0, object_id)
    assert (session.labels(0) == first).all()
    session.undo(0, object_id)
    assert not session.labels(0).any() and session.known_frames == []
    with pytest.raises(InputError, match="no click on this frame"):
        session.undo(0, object_id)


def test_a_correction_keeps_what_came_before_and_goes_on_from_there(session):
    first = session.add_object()
    draw(session, 0, first)
    run(session, 0)
    before = labels(session)
    second = session.add_object()
    draw(session, 3, second)
    assert second in session.result(3).boxes and second not in session.result(4).boxes
    assert run(session, 3) == [4, 5]
    after = labels(session)
    assert all((a == b).all() for a, b in zip(before[:3], after[:3], strict=True))
    assert is_found(session, 5, first, 1) and is_found(session, 5, second, 2)


def test_an_object_that_is_away_where_another_is_corrected_is_found_when_it_returns(tracker, tmp_path):
    (tmp_path / "frames").mkdir()
    for index in range(FRAMES):
        places = {**boxes_at(index), 1: None} if index in (2, 3) else boxes_at(index)
        write_image(tmp_path / "frames" / f"{index}.png", scene(SIZE, places))
    session = Session(open_frames(tmp_path / "frames", tmp_path, silent), tmp_path / "session", make_engine(tracker))
    first, second = session.add_object(), session.add_object()
    draw(session, 0, first)
    run(session, 0)
    assert not (session.labels(3) == first).any()
    draw(session, 3, second)
    run(session, 3)
    assert is_found(session, 5, first, 1) and is_found(session, 5, second, 2)


def test_what_is_marked_on_later_frames_counts_when_they_are_reached(session):
    first, second = session.add_object(), session.add_object()
    draw(session, 0, first)
    draw(session, 2, second)
    run(session, 0)
    assert [second in np.unique(of) for of in labels(session)] == [False, False, True, True, True, True]


def test_stopped_it_goes_on_from_where_it_was(session):
    object_id = session.add_object()
    draw(session, 0, object_id)
    assert run(session, 0, frames=2) == [1, 2]
    assert not session.is_tracking and session.known_frames == [0, 1, 2]
    assert session.start_of(5) == 2  # the last frame that is known
    assert run(session, 5) == [3, 4, 5]
    assert is_found(session, 5, object_id, 1)


def test_a_removed_object_is_gone_from_all_frames_and_its_id_is_not_used_again(session):
    first, second = session.add_object(), session.add_object()
    draw(session, 0, first)
    draw(session, 0, second)
    run(session, 0)
    session.remove_object(first)
    assert all(set(np.unique(of)) == {0, second} for of in labels(session))
    assert all(set(session.result(index).boxes) == {second} for index in range(FRAMES))
    assert session.add_object() not in (first, second)
    run(session, 2)
    assert set(np.unique(session.labels(5))) == {0, second}


def test_what_fails_changes_nothing(session):
    object_id = session.add_object()
    draw(session, 0, object_id)
    before = session.labels(0)
    for failing, message in [
        (lambda: session.click(0, object_id, (65, 3)), r"point \(65, 3\) is outside the frame of 64x48"),
        (lambda: session.click(FRAMES, object_id, (5, 3)), "there is no frame 6 in clip: it holds 6"),
        (lambda: session.click(0, 9, (5, 3)), "no such object"),
        (lambda: (session.corner(0, object_id, (5, 5)), session.corner(0, object_id, (5, 9))), "a pixel apart"),
    ]:
        with pytest.raises(InputError, match=message):
            failing()
        assert (session.labels(0) == before).all()


def test_nothing_to_track_and_tracking_twice_are_refused(session):
    object_id = session.add_object()
    with pytest.raises(InputError, match="nothing to track"):
        run(session, 0)
    draw(session, 2, object_id)
    with pytest.raises(InputError, match="nothing to track"):
        run(session, 1)  # what is marked lies after it
    tracking = session.track(2)
    next(tracking)
    for other in (lambda: run(session, 2), lambda: draw(session, 2, object_id), lambda: session.remove_object(1)):
        with pytest.raises(InputError, match="being tracked"):
            other()
    tracking.close()
    assert run(session, 3) == [4, 5]


def test_a_failing_tracker_leaves_what_it_did_and_can_be_asked_again(session, tracker):
    object_id = session.add_object()
    draw(session, 0, object_id)
    tracking = session.track(0)
    next(tracking)
    tracker.model.fails.add("decode")
    with pytest.raises(RuntimeError):
        next(tracking)
    tracker.model.fails.clear()
    assert not session.is_tracking and session.known_frames == [0, 1]
    assert run(session, 1) == [2, 3, 4, 5]


def test_downloads_are_read_back(session, tmp_path):
    object_id = session.add_object("left hand")
    with pytest.raises(InputError, match="nothing to download yet"):
        write_downloads(session, ["masks"])
    draw(session, 1, object_id)
    run(session, 1)
    session.paint(object_id, "cat", (0, 0, 255))
    late = session.add_object("late")
    draw(session, 4, late)
    write_downloads(session, ["video"])
    video, masks, table = write_downloads(session, ["video", "masks", "csv"])
    assert video.name == "clip.mp4" and table.read_text().count("\n") >= FRAMES - 1
    with open_source(video) as source:
        drawn = [frame.image for frame in source]
    assert len(drawn) == FRAMES - 1
    with zipfile.ZipFile(masks) as archive:
        archive.extractall(tmp_path / "out")
    for index in range(1, FRAMES):
        assert (read_mask(tmp_path / "out" / "masks" / f"{index:08d}.png") == session.labels(index)).all()
    assert len(list(session.folder.glob("download-*"))) == 1
    for kinds in ([], ["nonsense"]):
        with pytest.raises(InputError, match="choose what to download"):
            write_downloads(session, kinds)


def test_the_picture_shows_colours_and_clicks(session):
    object_id = session.add_object()
    draw(session, 0, object_id)
    session.paint(object_id, "", (0, 0, 255))
    x, y, w, h = boxes_at(0)[1]
    scale, row, column = scale_of(session), y + h // 2, x + w // 2
    assert picture(session, 0).shape == (scale * SIZE[0], scale * SIZE[1], 3)

    def shown() -> list[int]:
        return picture(session, 0)[int((row + 0.5) * scale), int((column + 0.5) * scale)].tolist()

    assert shown() == [127, 0, 127]  # blue over red
    session.click(0, object_id, (column + 0.5, row + 0.5))
    red, green, blue = shown()
    assert green > 150 and red + blue < 100
    assert parse_colour("#0a141e") == parse_colour("rgba(10.2, 20, 30, 1)") == (10, 20, 30)
    for wrong in ("red", "", "rgb(1,2)", "rgb(300,1,1)"):
        with pytest.raises(InputError, match="no colour"):
            parse_colour(wrong)


@pytest.fixture
def sessions(tracker, tmp_path) -> Sessions:
    return Sessions(make_engine(tracker), tmp_path, limit=2)


def test_each_page_has_a_session_of_its_own(sessions, video, tmp_path):
    with pytest.raises(InputError, match="open a video first"):
        sessions.get("anna")
    anna, ben = (sessions.open(key, video, silent) for key in ("anna", "ben"))
    draw(anna, 0, anna.add_object())
    assert sessions.get("anna") is anna and sessions.get("ben") is ben
    assert not ben.paints and not ben.labels(0).any()
    again = sessions.open("anna", video, silent)
    assert sessions.get("anna") is again and anna.is_closed and not anna.folder.exists()
    sessions.close("anna")
    assert [path.name for path in tmp_path.iterdir()] == [ben.folder.name]
    sessions.close_all()
    assert not list(tmp_path.iterdir())


def test_there_is_room_for_so_many_and_who_is_away_for_long_makes_some(tracker, video, tmp_path):
    now = [0.0]
    sessions = Sessions(make_engine(tracker), tmp_path, 2, clock=lambda: now[0])
    for key in ("anna", "ben"):
        sessions.open(key, video, silent)
    with pytest.raises(InputError, match="2 videos are open already"):
        sessions.open("carla", video, silent)
    now[0] = 3500.0
    ben = sessions.get("ben")
    now[0] = 3700.0
    sessions.open("carla", video, silent)
    assert sessions.get("ben") is ben and len(sessions) == 2
    with pytest.raises(InputError, match="open a video first"):
        sessions.get("anna")


def test_a_page_that_is_closed_ends_its_work_and_nobody_elses(sessions, video, tmp_path):
    anna, ben = (sessions.open(key, video, silent) for key in ("anna", "ben"))
    for one in (anna, ben):
        draw(one, 0, one.add_object())
    tracking, other = anna.track(0), ben.track(0)
    assert [next(tracking), next(other)] == [1, 1]
    sessions.close("anna")
    assert list(tracking) in ([], [2]) and not anna.folder.exists()
    assert list(other) == [2, 3, 4, 5] and len(ben.known_frames) == FRAMES


def test_a_page_that_is_closed_while_its_video_is_read_leaves_nothing(sessions, tmp_path):
    path = write(tmp_path / "clip.mp4", [i / 25 for i in range(9)])
    read = []

    def close_at_third(done: int, total: int | None) -> None:
        read.append(done)
        if done == 3:
            sessions.close("anna")

    with pytest.raises(ClosedError):
        sessions.open("anna", path, close_at_third)
    assert read == [1, 2, 3] and len(sessions) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_bad_file_leaves_the_open_video_as_it_was(sessions, video, tmp_path):
    session = sessions.open("anna", video, silent)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    for _ in range(3):
        with pytest.raises(InputError, match="not a video that can be decoded"):
            sessions.open("anna", bad, silent)
    assert sessions.get("anna") is session and len(sessions) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bad.mp4", session.folder.name}


def test_an_initializer_that_takes_no_clicks_is_refused_at_once():
    with pytest.raises(InputError, match="initializer FilledBox makes masks of boxes"):
        make_engine(Tracker(ColourModel(), initializer="box"))


def test_users_take_turns_at_computing(video, tracker, tmp_path):
    engine = make_engine(tracker)
    sessions = Sessions(engine, tmp_path, 2)
    session = sessions.open("anna", video, silent)
    session_id = session.add_object()
    draw(session, 0, session_id)
    done = []
    with engine.lock:
        working = threading.Thread(target=lambda: done.extend(session.track(0)))
        working.start()
        working.join(0.2)
        assert working.is_alive() and not done
    working.join(30)
    assert done == [1, 2, 3, 4, 5]


def test_frames_of_a_video_file_are_those_of_its_reader(tmp_path):
    path = write(tmp_path / "clip.mkv", [0, 0.1, 0.15, 0.4])
    told = []
    frames = open_frames(path, tmp_path / "frames", lambda *progress: told.append(progress))
    with open_source(path) as source:
        read = list(source)
    assert len(frames) == len(read) == 4 and [done for done, _ in told] == [1, 2, 3, 4]
    assert frames.times == tuple(frame.time for frame in read) and frames.fps == source.fps
    for index, frame in enumerate(read):
        assert np.abs(frames.image(index).astype(int) - frame.image).max() <= 3  # a JPEG


def test_playlists_which_could_show_any_file_are_not_opened(tmp_path):
    secret = write(tmp_path / "secret.mp4", [0, 0.1])
    lists = {
        "a.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "b.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=r"a list of files|not a video"):
            open_frames(tmp_path / name, tmp_path / "frames", silent)
    with av.open(str(tmp_path / "a.mp4")) as container:  # which FFmpeg itself would do
        assert container.format.name == "concat"


def test_videos_that_are_too_long_or_too_large_for_the_disk(tmp_path, monkeypatch):
    path = write(tmp_path / "clip.mp4", [i / 25 for i in range(9)])
    monkeypatch.setattr(frames_module, "MAX_FRAMES", 5)
    with pytest.raises(InputError, match=r"clip\.mp4 has more than 5 frames"):
        open_frames(path, tmp_path / "frames", silent)
    monkeypatch.setattr(frames_module, "_MIN_FREE_BYTES", 1 << 80)
    with pytest.raises(InputError, match="the disk has no room"):
        open_frames(path, tmp_path / "frames", silent)


def test_only_allowed_folders_are_read(tmp_path, video):
    inside, outside = tmp_path / "inside", tmp_path / "inside-not"
    for folder in (inside, outside, inside / "deeper", inside / "sequence"):
        folder.mkdir()
    for path in (inside / "a.mp4", inside / "deeper" / "b.mkv", outside / "secret.mp4", inside / ".hidden.mp4"):
        path.write_text("x")
    (inside / "link.mp4").symlink_to(outside / "secret.mp4")
    (inside / "way-out").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "sequence" / "0.png").symlink_to(video / "0.png")
    folders = AllowedFolders([inside])
    assert folders.find("a.mp4") == folders.find(str(inside / "a.mp4")) == inside / "a.mp4"
    assert folders.find("deeper/../a.mp4").resolve() == inside / "a.mp4"
    outsiders = ["../inside-not/secret.mp4", str(outside / "secret.mp4"), "/etc/passwd", "/no/such/file", "link.mp4"]
    for asked in [*outsiders, "way-out/secret.mp4", "way-out/missing.mp4", "loop", "~/x.mp4/../../../.."]:
        with pytest.raises(InputError, match="is not in a folder that this page may read"):
            folders.find(asked)
    for asked, message in [("", "no path"), ("a\0b", "no path"), ("c.mp4", "does not exist"), ("sequence", "a link")]:
        with pytest.raises(InputError, match=message):
            folders.find(asked)
    assert folders.videos() == ["a.mp4", "deeper/b.mkv", "link.mp4", "sequence"]
    with pytest.raises(InputError, match="not in a folder"):
        AllowedFolders([]).find("/etc/passwd")
    with pytest.raises(InputError, match="is no folder"):
        AllowedFolders([inside / "a.mp4"])


def test_the_command_says_in_one_line_what_it_cannot_do(tmp_path, capsys, monkeypatch):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setitem(__import__("sys").modules, "gradio", None)
        for options, message in [
            (["--port", port], f"port {port} of 127.0.0.1 is not free"),
            (["--port", "70000"], "ports go from 1 to 65535"),
            (["--sessions", "0"], "at least one is needed"),
            (["--max-upload", "0"], "more than 0"),
            (["--folder", str(tmp_path / "none")], "does not exist"),
            ([], 'pip install "msdeaot-tracker[app]"'),
        ]:
            assert main(["app", *options]) == 2
            said = capsys.readouterr().err.strip().splitlines()
            assert len(said) == 1 and message in said[0]
