"""Two small runs, a server over them in a process of its own, and Debian's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, Tab, start_server

from coloured import write_images
from cutaway import train

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, num_classes),
    )
"""
# The names are the users' own: one that would be markup, and one that is Chinese.
CLASSES = {"<b>red": (170, 90, 90), "green": (90, 170, 90), "蓝色": (90, 90, 170)}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.py`, `photos/` and `runs/` with `one` and `two`, three epochs each."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "tiny.py").write_text(NETWORK)
    write_images(folder / "photos", CLASSES, each=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(folder / "cache"))
        for seed, name in enumerate(("one", "two")):
            recipe = {"epochs": 3, "batch_size": 16, "seed": seed, "precision": "fp32"}
            train(folder / "photos", f"{folder}/tiny.py:make", recipe=recipe, runs=folder / "runs", name=name)
    return folder


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    found = start_server(home, home / "runs")
    yield found
    found.process.terminate()
    found.process.wait(10)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; the tests that want it skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_tab(chromium: Any, server: Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs that note every error of the console, every failed request and every request to another machine."""
    contexts = []

    def open_one(language: str = "en", colours: str = "light", **more: Any) -> Tab:
        size = {"width": 1280, "height": 900}
        context = chromium.new_context(locale=language, color_scheme=colours, viewport=size, **more)
        contexts.append(context)
        page, wrong = context.new_page(), list[str]()
        page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("requestfailed", lambda asked: _check_failure(asked, wrong))
        page.on("request", lambda asked: _check_address(asked.url, server, wrong))
        return Tab(page, wrong)

    yield open_one
    for context in contexts:
        context.close()


def _check_failure(asked: Any, wrong: list[str]) -> None:
    # What was fetched ahead is given up when another page is opened.
    if asked.failure != "net::ERR_ABORTED":
        wrong.append(f"failed: {asked.url} {asked.failure}")


def _check_address(address: str, server: Server, wrong: list[str]) -> None:
    if not address.startswith((server.address + "/", "data:", "blob:", "file:")):
        wrong.append(f"left this machine: {address}")
