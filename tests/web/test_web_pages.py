"""Every page in a real browser: light and dark, English and Chinese, nothing leaves the machine, axe finds nothing."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image
from serving import Server, Tab

PAGES = {
    "runs": "/",
    "run": "/runs/one",
    "epoch": "/runs/one/e2",
    "maps": "/runs/one/e3/layers/0",
    "kernels": "/runs/one/e3/layers/3?lens=kernels&sort=number",
    "gradients": "/runs/one/e3/layers/3?lens=gradients&scale=each",
    "unit": "/runs/one/e3/layers/3/c2",
    "images": "/runs/one/e3/images",
    "image": "/runs/one/e3/images/test:1",
    "walk": "/runs/one/e3/walk",
    "comparison": "/compare/one@2/two@2",
    "epochs": "/compare/one@1/one@3",
    "model": "/models/tiny.py:make",
    "model's layer": "/models/tiny.py:make/layers/0",
    "training": "/train",
    "missing": "/runs/none",
}
LOOKS = [("en", "light"), ("zh", "dark")]


@pytest.mark.parametrize(("language", "colours"), LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound(name: str, language: str, colours: str, server: Server, open_tab: Callable[..., Tab]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = open_tab(language, colours)
    tab.page.goto(server.address + PAGES[name])
    tab.page.wait_for_selector("html[data-ready]")
    assert tab.page.get_attribute("html", "lang") == {"en": "en", "zh": "zh-Hans"}[language]
    expected = ["console: Failed to load resource: the server responded with a status of 404 (Not Found)"]
    assert tab.wrong == (expected if name == "missing" else [])
    found = axe.run(tab.page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(("language", "colours"), [("zh", "light"), ("en", "dark")])
def test_the_other_looks_make_no_error(
    language: str, colours: str, server: Server, open_tab: Callable[..., Tab]
) -> None:
    tab = open_tab(language, colours)
    for name, path in PAGES.items():
        if name != "missing":
            tab.page.goto(server.address + path)
            tab.page.wait_for_selector("html[data-ready]")
    assert tab.wrong == []


def test_the_dark_is_dark(server: Server, open_tab: Callable[..., Tab]) -> None:
    lightness = []
    for colours in ("light", "dark"):
        page = open_tab("en", colours).page
        page.goto(f"{server.address}/runs/one")
        corner = Image.open(io.BytesIO(page.screenshot())).convert("L").getpixel((3, 3))
        lightness.append(corner)
    assert lightness[0] > 220
    assert lightness[1] < 60


def test_the_switch_of_the_theme_is_remembered(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab("en", "light").page
    page.goto(f"{server.address}/")
    page.click("[data-theme-switch]")
    page.goto(f"{server.address}/runs/one")
    assert page.get_attribute("html", "data-theme") == "dark"


def test_the_language_of_the_address_stays_on_the_way(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab("en").page
    page.goto(f"{server.address}/?lang=zh")
    page.click("text=one")
    page.wait_for_url("**/runs/one?lang=zh")
    assert page.get_attribute("html", "lang") == "zh-Hans"


def test_names_are_text_and_never_markup(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/walk?image=test:0")
    assert page.locator("th:has-text('<b>red')").count() >= 1
    assert page.locator("th b:has-text('red')").count() == 0
    assert page.locator("th:has-text('蓝色')").count() >= 1


def test_the_basic_pages_need_no_script(server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(java_script_enabled=False)
    tab.page.goto(f"{server.address}/")
    tab.page.click("text=one")
    tab.page.locator("a", has_text="▶").first.click()
    tab.page.goto(f"{server.address}/runs/one/e3/layers/3")
    assert tab.page.locator("[data-grid] > li").count() == 12
    tab.page.locator("[data-grid] a").first.click()
    assert "/layers/3/c" in tab.page.url
    assert tab.wrong == []
