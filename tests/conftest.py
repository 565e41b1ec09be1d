"""Fixtures over the toys and the page, and the switch that rewrites golden files."""

import os
import shutil
import signal
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from toy_track import make_toy
from toys import ToyUpstream, make_utterances

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden files again")


def pytest_configure():
    """Restore Ctrl-C for the tests that send it: jobs in the background of a shell ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def toy_upstream():
    return ToyUpstream()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy track, its corpus and its upstream."""
    return make_toy(tmp_path, monkeypatch)


@pytest.fixture
def utterances(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    return make_utterances(folder, 24)


@pytest.fixture
def through_upstream():
    """Hidden states of one utterance (L, T, D), straight from the module."""

    def encode(upstream, item) -> np.ndarray:
        wav, _ = soundfile.read(item.path, dtype="float32")
        with torch.inference_mode():
            states, _ = upstream(torch.from_numpy(wav)[None], torch.tensor([wav.size]))
        return torch.stack(states)[:, 0].numpy()

    return encode


@pytest.fixture(scope="session", autouse=True)
def _committed_records_are_read_once():
    """Keep what was read of the committed board, which no test changes, as long as a worker."""
    from leaderboard.board import reading

    with pytest.MonkeyPatch.context() as patch:
        for name in ("read_record", "read_items"):
            read = getattr(reading, name)
            patch.setattr(reading, name, partial(_read_once, read, cache(read)))
        yield


def _read_once(read, cached, path):
    return (cached if path.is_relative_to(ROOT / "leaderboard") else read)(path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return a function that makes a folder once for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name, make):
        with FileLock(base / f"{name}.lock"):
            if not (base / name).exists():
                make(base / f"{name}.part")
                (base / f"{name}.part").rename(base / name)
        return base / name

    return folder


@pytest.fixture(scope="session")
def site(shared):
    """Address of a page of `PAGE_ROWS` measured rows under eight conditions, and the reported."""
    return (shared("page", _make_site) / "site/index.html").as_uri()


def _make_site(folder):
    from big_board import PAGE_ROWS, make_results

    from leaderboard.board.board import Stamp
    from leaderboard.page.build import build_board

    make_results(folder, upstreams=PAGE_ROWS, num_conditions=8)
    shutil.copytree(ROOT / "leaderboard" / "published", folder / "published")
    (folder / "standing/open").mkdir(parents=True)
    text = "upstream: distilhubert@v1\ntrack: open\nrevoked: it saw the test set\n"
    (folder / "standing/open/distilhubert@v1.yaml").write_text(text)
    build_board(folder / "results", folder / "site", Stamp("0123456789ab", "2026-11-21"))


@pytest.fixture(scope="session")
def committed():
    """The board of the committed records."""
    from leaderboard.board.board import Stamp
    from leaderboard.board.reading import BoardFolders
    from leaderboard.page.build import make_board

    board, _, _ = make_board(BoardFolders.beside(ROOT / "leaderboard/results"), Stamp("", ""))
    return board


@pytest.fixture(scope="session")
def house_family():
    """The family of `whisper_tiny_en` on track open, from the committed records."""
    from tools.family.members import read_family

    return read_family("whisper_tiny_en", "open", ROOT / "leaderboard")


@pytest.fixture(scope="session")
def committed_page(request, shared):
    """Address of the page of the committed records."""
    from leaderboard.page.render import html

    def make(folder):
        folder.mkdir()
        text = html(request.getfixturevalue("committed"))
        (folder / "index.html").write_text(text, encoding="utf-8")

    return (shared("committed", make) / "index.html").as_uri()


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium; tests are skipped without it, unless CI requires it."""
    from interactions import FLAGS

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not os.environ.get("SLIM_SUPERB_BROWSER_REQUIRED"):
        pytest.importorskip("playwright.sync_api")
        if path is None:
            pytest.skip("no chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def watched(browser):
    """Open pages offline; a message on a console or a request beyond the file fails the test."""
    contexts, messages, requests = [], [], []

    def open_page(address, **options):
        size = {"width": options.pop("width", 1400), "height": options.pop("height", 900)}
        context = browser.new_context(viewport=size, offline=True, accept_downloads=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address)
        if options.get("java_script_enabled", True) and tab.locator("table.main").count():
            tab.wait_for_selector("table.main.js", state="attached")  # long data are unpacked first
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []


@pytest.fixture
def page(watched, site):
    """The page of `site`."""
    return watched(site)
