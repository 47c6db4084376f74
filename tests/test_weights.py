"""The manifest of public weights, and their download from a server that does what servers do."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import golden_recipes
import parity
import pytest
import torch

from msdeaot_tracker.checkpoints import file_sha256, find_weights, load_model
from msdeaot_tracker.checkpoints.cache import CACHE_VARIABLE, cache_dir, verify
from msdeaot_tracker.checkpoints.download import Patience, _SafeRedirects, download
from msdeaot_tracker.checkpoints.zoo import MANIFEST, Release
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.config import PRESETS
from msdeaot_tracker.initializers import INITIALIZERS
from msdeaot_tracker.models.encoder import ENCODERS
from msdeaot_tracker.types import CheckpointError

CONTENT = bytes(i * i % 251 for i in range(1_000_000))
OTHER = CONTENT[::-1]
HALF = 400_000
QUICK = Patience(attempts=3, pause=0.01, timeout=5)
ONCE = replace(QUICK, attempts=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cäche"))
    return tmp_path / "cäche"


@dataclass
class Server:
    """What is served, how, and what was asked for."""

    content: bytes = CONTENT
    tag: str | None = '"one"'
    ranges: bool = True  # answers Range at all
    heeds_if_range: bool = True
    says_length: bool = True
    stops: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    hangs: int = 0  # so many of the next requests are never answered
    states: list[int] = field(default_factory=list)  # HTTP states of the next answers
    location: str | None = None  # redirect of /moved
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range of each request
    sent: list[int] = field(default_factory=list)  # bytes of each answer
    over: threading.Event = field(default_factory=threading.Event)
    address: str = ""


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            server.asked.append((self.path, self.headers["Range"]))
            if server.hangs:
                server.hangs -= 1
                server.over.wait(30)
                return
            if server.states:
                self.send_error(server.states.pop(0))
                return
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", server.location)
                self.end_headers()
                return
            if self.path == "/absent":
                self.send_error(404)
                return
            self.send_file()

        def send_file(self):
            body, start = server.content, 0
            same = not server.heeds_if_range or self.headers["If-Range"] == server.tag
            if server.ranges and same and self.headers["Range"]:
                start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if server.tag:
                self.send_header("ETag", server.tag)
            if server.says_length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            part = body[start:][: server.stops.pop(0) if server.stops else None]
            server.sent.append(len(part))
            with suppress(ConnectionError):  # the client may have seen enough
                self.wfile.write(part)

    return Handler


@pytest.fixture
def server():
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}"
    yield state
    state.over.set()
    http.shutdown()
    http.server_close()
    thread.join()


def make_release(*urls: str, **facts) -> Release:
    facts = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)} | facts
    return Release("thing", "thing.pth", "test", "none", "none", "https://example.org/page", urls, **facts)


@pytest.fixture
def release(server) -> Release:
    return make_release(f"{server.address}/file")


@pytest.fixture
def unpublished(release) -> Release:
    return replace(release, sha256=None, size=None)


def refused(release: Release, patience: Patience = QUICK, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        download(release, patience=patience)
    assert not (cache_dir() / release.file).exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # the lock may stay


# ---------------------------------------------------------------- whole downloads


def test_a_file_arrives_once_and_nothing_else_stays(server, release, cache):
    for _ in range(2):
        assert download(release, patience=ONCE).read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert visible(cache) == ["thing.pth", "thing.pth.json"]


def test_another_folder_may_be_named(release, tmp_path, cache):
    path = download(release, tmp_path / "new" / "folder", patience=ONCE)
    assert path == tmp_path / "new" / "folder" / "thing.pth"
    assert not cache.exists()


def test_redirects_are_followed(server, release):
    server.location = "/file"
    assert download(replace(release, urls=(f"{server.address}/moved",)), patience=ONCE).read_bytes() == CONTENT


def test_two_at_once_share_one_download(server, release):
    server.stops = [HALF]
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(download(release, patience=QUICK).read_bytes()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 3
    assert sum(server.sent) == len(CONTENT)


# ---------------------------------------------------------------- broken downloads


def test_a_download_that_breaks_off_is_continued(server, release):
    server.stops = [HALF, 100_000]
    assert download(release, patience=QUICK).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, f"bytes={HALF}-", f"bytes={HALF + 100_000}-"]
    assert sum(server.sent) == len(CONTENT)


def test_a_later_run_continues(server, release, cache):
    server.stops = [HALF]
    assert f"broke off after {HALF} of {len(CONTENT)} bytes" in refused(release, ONCE)
    assert (cache / "thing.pth.part").stat().st_size == HALF
    assert download(release, patience=ONCE).read_bytes() == CONTENT
    assert server.sent == [HALF, len(CONTENT) - HALF]


def test_a_server_without_ranges_is_asked_for_all_again(server, release):
    server.ranges, server.stops = False, [HALF]
    assert download(release, patience=QUICK).read_bytes() == CONTENT
    assert server.sent == [HALF, len(CONTENT)]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_version_to_compare_nothing_is_continued(server, release, tag):
    server.tag, server.stops = tag, [HALF]
    assert download(release, patience=QUICK).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, None]


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("new", [OTHER, OTHER[: HALF // 2]], ids=["changed", "shorter"])
def test_a_file_that_changes_meanwhile_is_not_mixed(server, unpublished, heeds_if_range, new):
    server.stops = [HALF]
    refused(unpublished, ONCE)
    server.content, server.tag, server.heeds_if_range = new, '"two"', heeds_if_range
    assert download(unpublished, patience=QUICK).read_bytes() == new


def test_a_part_from_another_address_is_not_continued(server, release):
    server.stops = [HALF]
    refused(release, ONCE)
    download(replace(release, urls=(f"{server.address}/mirror",)), patience=ONCE)
    assert server.asked[1] == ("/mirror", None)


def test_a_complete_part_is_not_fetched_again(server, release, cache):
    download(release, patience=ONCE)
    (cache / "thing.pth").rename(cache / "thing.pth.part")
    origin = {"url": release.urls[0], "validator": server.tag, "total": len(CONTENT)}
    (cache / "thing.pth.part.json").write_text(json.dumps(origin))
    assert download(release, patience=ONCE).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_server_that_hangs_is_given_up(server, release):
    server.hangs = 2
    assert "timed out" in refused(release, Patience(attempts=2, pause=0.01, timeout=0.3))
    assert len(server.asked) == 2
    server.hangs = 1
    assert download(release, patience=replace(QUICK, timeout=0.3)).read_bytes() == CONTENT


@pytest.mark.parametrize(("state", "requests"), [(503, 2), (429, 2), (404, 1), (403, 1)])
def test_only_states_that_may_pass_are_tried_again(server, release, state, requests):
    server.states = [state] * 2
    assert f"HTTP {state}" in refused(release, replace(QUICK, attempts=2))
    assert len(server.asked) == requests


def test_mirrors_are_tried_in_order(server, release):
    absent = f"{server.address}/absent"
    assert download(replace(release, urls=(absent, *release.urls)), patience=QUICK).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/absent", "/file"]


def test_without_a_network_the_message_says_what_to_do(cache):
    url = "http://localhost:9/thing.pth"  # nobody listens there
    message = refused(make_release(url))
    assert url in message
    assert str(cache / "thing.pth") in message


def test_a_full_or_forbidden_folder_is_named(release, tmp_path):
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot write .*occupied"):
        download(release, tmp_path / "occupied", patience=ONCE)


# ---------------------------------------------------------------- wrong content


def test_wrong_content_is_refused_with_both_hashes(server, release, cache):
    server.content = OTHER
    message = refused(release)
    assert hashlib.sha256(OTHER).hexdigest() in message
    assert release.sha256 in message
    assert visible(cache) == []
    server.content = CONTENT
    assert download(release, patience=ONCE).read_bytes() == CONTENT


def test_a_wrong_size_is_refused_before_anything_is_written(server, release, cache):
    server.content = CONTENT * 2
    assert f"{2 * len(CONTENT)} bytes, published {len(CONTENT)}" in refused(release)
    assert visible(cache) == []


def test_an_end_that_cannot_be_told_from_a_break_is_refused(server, release, unpublished):
    server.says_length = False
    assert "how long" in refused(unpublished)
    assert download(release, patience=ONCE).read_bytes() == CONTENT  # the hash tells


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://localhost/x", "file:///etc/hostname", "data:,x"])
def test_only_https_is_spoken(server, release, url):
    assert "only https" in refused(replace(release, urls=(url,)))
    server.location = url
    assert "redirect" in refused(replace(release, urls=(f"{server.address}/moved",))).lower()
    assert [path for path, _ in server.asked] == ["/moved"]


def test_https_does_not_lead_to_http():
    with pytest.raises(Exception, match="which is not https"):
        _SafeRedirects().redirect_request(Request("https://example.org/x"), None, 302, "", {}, "http://localhost/x")


# ---------------------------------------------------------------- Google Drive

DRIVE = "https://drive.google.com/file/d/abc_DEF-123/view"


def test_drive_files_come_through_gdown(monkeypatch, cache):
    gdown = pytest.importorskip("gdown", reason="needs the extra `weights`")
    settings = inspect.signature(gdown.download)
    calls = []

    def stand_in(*args, **kwargs):  # for the service, which tests cannot reach
        given = settings.bind(*args, **kwargs).arguments
        calls.append(given["id"])
        assert not Path(given["output"]).exists()  # gdown would take it for the file
        given["progress"](len(CONTENT), None)
        Path(given["output"]).write_bytes(CONTENT if len(calls) > 1 else OTHER)

    monkeypatch.setattr(gdown, "download", stand_in)
    cache.mkdir()
    (cache / "thing.pth.drive").write_bytes(OTHER)  # of a run that ended before its check
    assert hashlib.sha256(OTHER).hexdigest() in refused(make_release(DRIVE))
    assert download(make_release(DRIVE)).read_bytes() == CONTENT
    assert calls == ["abc_DEF-123"] * 2
    assert visible(cache) == ["thing.pth", "thing.pth.json"]


def test_refusals_of_drive_lead_to_the_next_mirror(monkeypatch, release):
    gdown = pytest.importorskip("gdown", reason="needs the extra `weights`")

    def stand_in(**kwargs):
        raise gdown.exceptions.FileURLRetrievalError("Too many users\nhave viewed this file")

    monkeypatch.setattr(gdown, "download", stand_in)
    assert "Too many users have viewed this file" in refused(make_release(DRIVE))
    assert download(replace(release, urls=(DRIVE, *release.urls))).read_bytes() == CONTENT


def test_missing_gdown_is_named(monkeypatch, server):
    monkeypatch.setitem(sys.modules, "gdown", None)
    message = refused(make_release(DRIVE), kind=ImportError)
    assert "msdeaot-tracker[weights]" in message
    assert DRIVE in message
    both = refused(make_release(f"{server.address}/absent", DRIVE))
    assert "HTTP 404" in both
    assert "msdeaot-tracker[weights]" in both


# ---------------------------------------------------------------- the cache


@pytest.fixture
def things(monkeypatch, release, unpublished) -> None:
    monkeypatch.setitem(MANIFEST, "thing", release)
    monkeypatch.setitem(MANIFEST, "other", replace(unpublished, name="other", file="other.pth"))


def test_verification_tells_whole_files_from_damaged_ones(things, cache):
    assert verify("thing").state == verify("other").state == "missing"
    for name in ("thing", "other"):
        download(MANIFEST[name], patience=ONCE)
    assert verify("thing").state == "verified"
    assert verify("other").state == "unverifiable"
    assert verify("other").reason == "not verifiable: no published hash; unchanged since it was downloaded"
    for name in ("thing", "other"):
        with find_path(name).open("r+b") as file:
            file.seek(500)
            file.write(b"!")
        assert verify(name).state == "damaged"
        assert file_sha256(find_path(name)) in verify(name).reason


def test_files_put_there_by_hand_are_checked_and_recorded(things, server, cache):
    cache.mkdir()
    for name in ("thing", "other"):
        find_path(name).write_bytes(OTHER)
    assert "none recorded" in verify("other").reason
    with pytest.raises(CheckpointError, match=r"is not thing: sha256 is .* remove it"):
        download(MANIFEST["thing"])
    download(MANIFEST["other"])
    assert "unchanged" in verify("other").reason
    find_path("other").write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match=r"is not other: changed: .* remove it"):
        download(MANIFEST["other"])
    assert server.asked == []


def find_path(name: str) -> Path:
    return cache_dir() / MANIFEST[name].file


def test_missing_weights_say_how_to_get_them(cache):
    with pytest.raises(CheckpointError, match=r"msdeaot weights download sam-vit-b`.*sam_vit_b_01ec64\.pth"):
        find_weights("sam-vit-b")
    with pytest.raises(CheckpointError, match=r"'nothing'; there are: sam-vit-b, "):
        find_weights("nothing")
    cache.mkdir()
    find_path("sam-vit-b").touch()
    assert find_weights("sam-vit-b") == find_path("sam-vit-b")


def test_without_the_variable_the_platform_decides(monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_dir().is_absolute()
    assert "msdeaot-tracker" in str(cache_dir())


@pytest.fixture
def official_file(tmp_path) -> tuple[Path, dict[str, torch.Tensor]]:
    """DeAOT-T as its authors publish it, with the weights of the recipe."""
    content = json.loads((parity.DATA / "deaott_keys.json").read_text(encoding="utf-8"))
    weights = golden_recipes.deaot_weights({key: tuple(shape) for key, shape in content["keys"].items()})
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    torch.save({"state_dict": state}, tmp_path / "official.pth")
    return tmp_path / "official.pth", state


def test_a_preset_finds_its_downloaded_weights(official_file, cache):
    with pytest.raises(CheckpointError, match="msdeaot weights download deaot-t"):
        load_model("deaot-t", device="cpu")
    path, state = official_file
    cache.mkdir()
    path.rename(find_path("deaot-t"))
    model = load_model("deaot-t", device="cpu")
    assert torch.equal(model.state_dict()["stages.0.projection.weight"], state["encoder_projector.weight"])


# ---------------------------------------------------------------- the manifest


@pytest.mark.parametrize("release", MANIFEST.values(), ids=lambda r: r.name)
def test_entries_are_consistent(release):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", release.name)
    assert re.fullmatch(r"[\w.-]+\.(pth|pth\.tar|safetensors)", release.file)
    assert release.purpose and release.training and release.licence
    assert all(url.startswith("https://") for url in (release.page, *release.urls))
    assert release.urls or release.package or "by hand" in release.note or "folder" in release.note
    assert release.sha256 is None or re.fullmatch("[0-9a-f]{64}", release.sha256)
    assert (release.sha256 and release.size) or re.search("Neither|not found", release.note)
    known = {"preset": PRESETS, "initializer": INITIALIZERS, "encoder": ENCODERS}
    for kind, _, name in (user.partition(":") for user in release.used_by):
        assert name in known[kind]


def test_names_files_and_hashes_do_not_collide():
    assert all(name == release.name for name, release in MANIFEST.items())
    for values in (
        [release.file for release in MANIFEST.values()],
        [release.sha256 for release in MANIFEST.values() if release.sha256],
        [url for release in MANIFEST.values() for url in release.urls],
    ):
        assert len(values) == len(set(values))


def test_every_preset_has_weights_or_none_are_public():
    without = {name for name, preset in PRESETS.items() if preset.weights is None} - set(MANIFEST)
    assert without == {"msdeaot-r50", "msdeaot-swinb"}
    assert all(
        name == user.partition(":")[2] for name in PRESETS if name in MANIFEST for user in MANIFEST[name].used_by
    )


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("imagenet-") and MANIFEST[name].urls])
def test_encoders_are_those_of_timm(name):
    timm = pytest.importorskip("timm")
    release = MANIFEST[name]
    known = timm.models.get_pretrained_cfg(release.file.removesuffix(".safetensors"))
    assert release.urls == (f"https://huggingface.co/{known.hf_hub_id}/resolve/main/model.safetensors",)
    assert release.licence.lower() == known.license


# ---------------------------------------------------------------- the command


def test_list_and_info(capsys, cache):
    cache.mkdir()
    find_path("deaot-t").touch()
    assert main(["weights", "list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(MANIFEST) <= set(rows)
    assert "yes" in rows["deaot-t"].split()
    assert "yes" not in rows["deaot-s"].split()
    assert "375 MB" in rows["sam-vit-b"]
    assert main(["weights", "info", "sam-vit-b"]) == 0
    shown = capsys.readouterr().out
    for fact in (*MANIFEST["sam-vit-b"].urls, MANIFEST["sam-vit-b"].sha256, str(find_path("sam-vit-b"))):
        assert fact in shown
    assert main(["weights", "info", "nothing"]) == 2


def test_download_and_verify(things, capsys, tmp_path, cache):
    assert main(["weights", "verify"]) == 0
    assert "nothing is downloaded" in capsys.readouterr().out
    assert main(["weights", "download", "thing"]) == 0
    assert capsys.readouterr().out == f"{cache / 'thing.pth'}: sha256 as published\n"
    assert main(["weights", "download", "other", "--dir", str(tmp_path / "d")]) == 0
    assert f"MSDEAOT_CACHE={tmp_path / 'd'}" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    find_path("thing").write_bytes(OTHER)
    assert main(["weights", "verify", "thing", "other"]) == 2
    assert "missing or damaged: thing, other" in capsys.readouterr().err
    assert main(["weights", "download", "vmos"]) == 2
    assert str(find_path("vmos")) in capsys.readouterr().err


def test_convert(official_file, tmp_path, capsys):
    path, state = official_file
    out = tmp_path / "deaot.safetensors"
    assert main(["weights", "convert", str(path), "--preset", "deaot-t", "--out", str(out)]) == 0
    model = load_model(weights=out, device="cpu")
    assert model.preset.name == "deaot-t"
    assert torch.equal(model.state_dict()["stages.0.projection.weight"], state["encoder_projector.weight"])
    half = tmp_path / "half.safetensors"
    assert main(["weights", "convert", str(out), "--half", "--out", str(half)]) == 0
    assert half.stat().st_size < 0.55 * out.stat().st_size
    assert load_model(weights=half, device="cpu").preset.name == "deaot-t"
    assert main(["weights", "convert", str(path), "--preset", "deaot-s", "--out", str(out)]) == 2
    assert "it is for the preset deaot-t" in capsys.readouterr().err
