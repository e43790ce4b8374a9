"""The ways through the pages: by keyboard alone, by the slider, by an image of one's own, while a run trains."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import Server, Tab

from cutaway.runs import append_lines
from whole_records import change_record


def press_until(page: Any, wanted: str) -> None:
    """Press Tab until what is focused has this text or address."""
    for _ in range(80):
        page.keyboard.press("Tab")
        told = page.evaluate("[document.activeElement.textContent.trim(), document.activeElement.getAttribute('href')]")
        if wanted in told:
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_from_the_runs_to_a_unit_by_keyboard_alone(server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/")
    press_until(page, "one")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/one")
    press_until(page, "/runs/one/e3/layers/0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/layers/0")
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("]")
    page.wait_for_url("**/layers/1?**")
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("[")
    page.wait_for_url("**/layers/0?**")
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    address = page.evaluate("document.activeElement.href")
    page.keyboard.press("Enter")
    page.wait_for_url(address)
    assert "/layers/0/c" in address
    assert tab.wrong == []


def test_the_list_of_keys_and_the_search(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/layers/3")
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("3, 7")
    assert sorted(page.locator("[data-grid] > li:visible").evaluate_all("all => all.map(one => one.dataset.name)")) == [
        "3",
        "7",
    ]
    assert page.locator("[data-found]").text_content() == "2"


def test_one_epoch_back_shows_that_epoch_and_keeps_what_was_chosen(
    server: Server, open_tab: Callable[..., Tab]
) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/runs/one/e3/layers/3?image=test:2&sort=number")
    page.wait_for_selector("html[data-ready]")
    page.fill("input[type=search]", "3")
    page.locator("input[type=search]").blur()
    page.keyboard.press(",")
    page.wait_for_url("**/runs/one/e2/layers/3?image=test:2&sort=number")
    shown = page.locator("[data-grid] > li:visible").evaluate_all("all => all.map(one => one.dataset.value)")
    found = np.load(io.BytesIO(server.ask("/runs/one/e2/layers/3/maps.npy?image=test:2").content))
    assert [float(value) for value in shown] == pytest.approx([float(found[3].max())])
    page.fill("[data-typed]", "1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/one/e1/layers/3**")
    assert tab.wrong == []


def test_one_slider_rules_both_sides(server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.page.goto(f"{server.address}/compare/one@3/two@3")
    tab.page.wait_for_selector("html[data-ready]")
    tab.page.keyboard.press(",")
    tab.page.wait_for_url("**/compare/one@2/two@2**")
    heads = tab.page.locator("main h2 a").all_text_contents()[:2]
    assert heads == ["one@2 · 0", "two@2 · 0"]
    assert tab.wrong == []


def test_ticked_runs_are_compared_at_their_last_common_epoch(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/")
    for name in ("one", "two"):
        page.check(f"input[name=run][value={name}]")
    page.click("[data-compare]")
    assert page.url.endswith(("/compare/one@3/two@3", "/compare/two@3/one@3"))


def test_an_image_of_ones_own_walks_through(server: Server, tmp_path: Path, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    Image.new("RGBA", (40, 30), (200, 30, 30, 255)).save(tmp_path / "mine.png")
    tab.page.goto(f"{server.address}/runs/one/e3/walk")
    tab.page.set_input_files("input[type=file]", tmp_path / "mine.png")
    tab.page.click("form[data-upload] button")
    tab.page.wait_for_url("**/walk?image=upload**")
    text = tab.page.text_content("main")
    assert "30×40" in text
    assert "12×12" in text
    assert tab.page.locator("ol.tiles").count() == 2
    assert tab.wrong == []


def test_an_image_can_be_pasted(server: Server, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/layers/3")
    page.wait_for_selector("html[data-ready]")
    page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 9;
            const blob = await new Promise((ready) => canvas.toBlob(ready, "image/png"));
            const box = new DataTransfer();
            box.items.add(new File([blob], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: box, bubbles: true }));
        }"""
    )
    page.wait_for_url("**/layers/3?image=upload**")


@pytest.fixture
def training(server: Server) -> Iterator[Path]:
    """A run that seems to train."""
    path = server.folder / "training"
    shutil.copytree(server.folder / "one", path)
    change_record(path / "run.json", "status", to="training")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_page_of_a_run_follows_its_training(training: Path, server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/runs/training")
    page.wait_for_selector("html[data-ready]")
    page.locator("#layers").scroll_into_view_if_needed()
    page.locator("[data-typed]").focus()
    before = page.inner_html("#live")
    lines = (training / "metrics.jsonl").read_text().splitlines()
    last = json.loads(next(line for line in reversed(lines) if '"epoch"' in line and "val_accuracy" in line))
    append_lines(training / "metrics.jsonl", [{**last, "epoch": 4, "val_accuracy": 0.123}])
    page.wait_for_function("before => document.getElementById('live').innerHTML !== before", arg=before)
    assert page.evaluate("document.activeElement.hasAttribute('data-typed')")
    page.click("[data-live]")
    assert page.text_content("[data-live]") == "Go on"
    assert tab.wrong == []


def test_a_run_that_is_deleted_while_it_is_watched(
    training: Path, server: Server, open_tab: Callable[..., Tab]
) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/training")
    page.wait_for_selector("html[data-ready]")
    shutil.rmtree(training)
    page.wait_for_selector("text=This run is no longer there.")
    assert server.ask("/").status == 200
