"""A real ComfyUI and a headless Chromium, which is whichever the system has: nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comfy_page import ComfyPage

from tools.comfyui import REPOSITORY, find_comfyui
from tools.host import Host

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARTEFACTS = REPOSITORY / "output" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
HOW = "install a Chromium that is on PATH (Debian: apt-get install chromium), or name one by SVD_CHROMIUM"
# Nothing but this machine resolves: a page that needs the network shows it here.
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
LAUNCH = ("--mute-audio", "--font-render-hinting=none", NO_NETWORK)
SETTINGS = {
    "Comfy.TutorialCompleted": False,  # as on a first visit
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Minimap.Visible": False,  # it would cover the video
    "Comfy.Pointer.DoubleClickTime": 1000,  # milliseconds, for a busy machine
}


def find_chromium() -> str | None:
    named = os.environ.get("SVD_CHROMIUM")
    return named or next((found for found in map(shutil.which, NAMES) if found), None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip here and not in a fixture, for one line in the summary, and before a host is started."""
    if find_chromium() is None:
        pytest.skip(f"no Chromium found: {HOW}")
    pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one file of tests only: while Playwright runs, nothing else in this process can use asyncio."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=[*LAUNCH])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def own_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """With this pack alone in it, as after a fresh installation."""
    with Host(find_comfyui(), tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def open_page(browser: Browser, own_host: Host) -> Iterator[Callable[..., ComfyPage]]:
    """Open the page in a language, as a person does who never opened it before; one context for each file."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})

    def open_in(language: str = "en") -> ComfyPage:
        own_host.client.post("/settings", {**SETTINGS, "Comfy.Locale": language})
        return ComfyPage(context.new_page(), own_host.url, artefacts()).open()

    yield open_in
    context.close()


def artefacts() -> Path:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS
