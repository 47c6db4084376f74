"""`msdeaot app` as a user meets it: a real server, and a real browser where there is one."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.overlay import OverlayWriter
from msdeaot_tracker.types import FrameResult

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [name for name in ("gradio", "selenium") if find_spec(name) is None]
MISSING += [] if CHROMIUM and DRIVER else ["chromium and chromedriver"]
if MISSING:
    pytest.skip(f"the page is tested in a browser: needs {', '.join(MISSING)}", allow_module_level=True)

from selenium import webdriver  # noqa: E402

FRAMES, CORRECTED = 10, 5
CLIP = ClipConfig(
    **{"height": 120, "width": 160, "frames": FRAMES, "max_objects": 1, "object_size": (0.35, 0.5), "min_area": 0.05},
    **{"min_visibility": 0.95, "vigour": (0.2, 0.3), "absence_probability": 0, "screen_probability": 0},
    **{"occluder_probability": 0, "companion_probability": 0, "max_distractors": 0, "camouflage_probability": 0},
)


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> tuple[Path, list[np.ndarray]]:
    """A folder with a video, a file that is none and one that is too large; the video's masks, bool [H, W]."""
    folder = tmp_path_factory.mktemp("videos")
    clip = generate_clip(3, CLIP)
    with OverlayWriter(folder / "clip.mp4", 20) as writer:
        for index, image in enumerate(clip.frames):
            writer.write(image, FrameResult(index, np.zeros(image.shape[:2], np.int32), {}, {}))
    (folder / "notes.mp4").write_text("no video")
    (folder / "large.mp4").write_bytes(bytes(3 << 20))
    return folder, [labels == 1 for labels in clip.labels]


@pytest.fixture(scope="module")
def server(truth, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Its address, and the folder its sessions are in."""
    home = tmp_path_factory.mktemp("home")
    options = ["--folder", str(truth[0]), "--device", "cpu", "--sessions", "2", "--max-upload", str(2 / 1024)]
    command = [sys.executable, "-m", "msdeaot_tracker", "app", *options]
    environment = {**os.environ, "TMPDIR": str(home), "GRADIO_HEARTBEAT_INTERVAL": "0.5"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert "the page is at http://127.0.0.1:" in line, line + process.stderr.read()
        (served,) = home.glob("msdeaot-app-*")
        yield line.split()[4].rstrip("/"), served / "sessions"
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    raised = re.findall(r"^\w[\w.]*(?:Error|Exception)\b.*", errors, re.MULTILINE)
    assert process.returncode == 130 and all("was not uploaded by a user" in error for error in raised), errors
    assert not list(home.glob("msdeaot-app-*"))


class Page:
    """One browser window on the page."""

    def __init__(self, address: str):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.driver.get(address)
        self.find("#open")

    def until(self, condition: Callable[[], object], seconds: float = 60) -> object:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, self.text("body")
            time.sleep(0.1)
        return found

    def find(self, css: str):
        return self.until(
            lambda: next((e for e in self.driver.find_elements("css selector", css) if e.is_displayed()), None)
        )

    def text(self, css: str) -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText || ''", css)

    def press(self, css: str, number: int = 0) -> None:
        self.find(css.split(" input")[0])
        self.driver.execute_script("document.querySelectorAll(arguments[0])[arguments[1]].click()", css, number)

    def says(self, words: str, css: str = "#status") -> None:
        self.until(lambda: words in self.text(css))

    def complains(self, words: str) -> None:
        """In a message, which is put away."""
        self.says(words, "body")
        assert "msdeaot-app-" not in self.text("body")  # where things lie on the server
        self.press(".toast-close")
        self.until(lambda: not self.driver.find_elements("css selector", ".toast-close"))

    def open(self, name: str) -> None:
        field = self.find("#path input")
        field.send_keys("\ue009a\ue000", name, "\ue007")
        time.sleep(0.5)  # the page takes the value over a moment after the key
        self.press("#open")

    def upload(self, path: Path) -> None:
        fields = self.until(lambda: self.driver.find_elements("css selector", "#upload input[type=file]"))
        fields[0].send_keys(str(path))

    def go_to(self, frame: int) -> None:
        field = self.find("#frame input[type=number]")
        before = self.picture()
        field.send_keys("\ue009a\ue000", str(frame), "\ue007")
        self.until(lambda: self.picture() != before)

    def picture(self) -> str:
        return self.addresses("#picture img", "src")[0]

    def addresses(self, css: str, kind: str) -> list[str]:
        """In one step: elements may be replaced at any time."""
        script = "return [...document.querySelectorAll(arguments[0])].map(each => each[arguments[1]])"
        return self.driver.execute_script(script, css, kind)

    def click(self, x: float, y: float, *, right: bool = False, shift: bool = False) -> None:
        """At a pixel of the frame; waits for the new picture."""
        image, before = self.find("#picture img"), self.picture()
        width, height = self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center'}); const r = arguments[0].getBoundingClientRect();"
            "return [r.width, r.height]",
            image,
        )
        scale = min(width / CLIP.width, height / CLIP.height)
        chain = webdriver.ActionChains(self.driver, duration=0)
        chain.move_to_element_with_offset(
            image, *(round(side * scale) for side in (x - CLIP.width / 2, y - CLIP.height / 2))
        )
        chain = chain.key_down("\ue008") if shift else chain
        chain = chain.context_click() if right else chain.click()
        (chain.key_up("\ue008") if shift else chain).perform()
        self.until(lambda: self.picture() != before)

    def track(self) -> None:
        self.press("#track")
        self.says("Tracked")

    def download(self) -> list[np.ndarray]:
        """Masks, uint8 [H, W] of ids, in order."""
        before = self.addresses("#downloads a", "href")
        self.press("#download")

        def new_files() -> list[str]:
            found = self.addresses("#downloads a", "href")
            return found if found != before else []

        (address,) = (a for a in self.until(new_files) if a.endswith(".zip"))
        with urllib.request.urlopen(address) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
            names = sorted(name for name in archive.namelist() if name.startswith("masks/"))
            return [np.array(Image.open(io.BytesIO(archive.read(name)))) for name in names]


@pytest.fixture
def page(server) -> Iterator[Page]:
    page = Page(server[0])
    try:
        yield page
    finally:
        page.driver.quit()


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def pretend_upload(address: str, path: str) -> str:
    """What the server says to somebody who claims to have uploaded a file that lies on its disk."""
    upload = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = {"data": [upload], "fn_index": 0, "session_hash": "stranger"}
    request = urllib.request.Request(f"{address}/gradio_api/queue/join", json.dumps(call).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request):
        pass
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash=stranger") as events:
        return next(line for line in map(bytes.decode, events) if "process_completed" in line)


def centre(mask: np.ndarray) -> tuple[float, float]:
    """x, y of the pixel that lies deepest inside."""
    y, x = np.unravel_index(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).argmax(), mask.shape)
    return x + 0.5, y + 0.5


def test_open_click_track_correct_download(page, truth):
    _, masks = truth
    page.open("clip.mp4")
    page.says("Click on an object")
    x, y = centre(masks[0])
    page.click(x, y)
    page.says("Press Track")
    page.click(2, 2, right=True)
    page.click(157, 117, shift=True)
    page.track()
    page.press("#download-room button")
    first = page.download()
    assert len(first) == FRAMES and mask_iou(first[0] == 1, masks[0]) > 0.5
    page.go_to(CORRECTED)
    page.press("#add")
    page.says("Click on the new object")
    page.press("#way input", 2)
    page.click(100, 5)
    page.says("opposite corner")
    page.click(150, 45)
    page.says("Press Track")
    page.track()
    second = page.download()
    for index in range(FRAMES):
        assert (2 in second[index]) == (index >= CORRECTED)
        assert index >= CORRECTED or (first[index] == second[index]).all()
    page.press("#remove")
    page.until(lambda: "object 2" not in page.text("#object"))
    assert not any(2 in mask for mask in page.download())


def test_bad_files_and_other_peoples_are_refused_in_the_page(page, server, truth):
    address, folder = server
    for name, words in [
        ("/etc/passwd", "is not in a folder that this page may read"),
        ("../../../etc/passwd", "is not in a folder that this page may read"),
        ("missing.mp4", "missing.mp4 does not exist"),
        ("notes.mp4", "not a video that can be decoded"),
    ]:
        page.open(name)
        page.complains(words)
    for name, words in [("notes.mp4", "notes.mp4 is not a video"), ("large.mp4", "maximum allowed size")]:
        page.upload(truth[0] / name)
        page.complains(words)
    page.upload(truth[0] / "clip.mp4")  # nothing of this took the page down
    page.says("Click on an object")
    page.press("#track")
    page.complains("nothing to track")
    own = next(folder.glob("session-*/frames/*.jpg"))
    for path in ("/etc/passwd", "../../etc/passwd", truth[0] / "clip.mp4", Path(__file__).resolve(), own):
        assert status_of(f"{address}/gradio_api/file={path}") in (403, 404)
    assert '"success":false' in pretend_upload(address, str(own))


def test_sessions_are_apart_and_end_with_their_windows(page, server):
    _, folder = server
    page.open("clip.mp4")
    page.says("Click on an object")
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.driver.get(server[0])
    page.open("clip.mp4")
    page.says("Click on an object")
    page.click(80, 60)
    page.press("#track")
    page.until(lambda: page.driver.find_elements("css selector", "#status progress"))
    assert len(list(folder.iterdir())) == 2
    page.driver.close()  # in the middle
    page.until(lambda: len(list(folder.iterdir())) == 1)
    page.driver.switch_to.window(first)
    assert page.text("#status").startswith("Click on an object")
    page.press("#track")
    page.complains("nothing to track")  # what the other clicked is not here
