"""The numbers and colours on a page are those of the tensors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Server, Tab

from cutaway import Scope, load_data
from cutaway.data import Dataset
from cutaway.numerals import number
from cutaway.pictures.colours import Scale, to_rgb


@pytest.fixture(scope="module")
def scope(home: Path) -> Scope:
    return Scope(f"{home}/runs/one@3")


@pytest.fixture(scope="module")
def data(home: Path) -> Dataset:
    options = json.loads((home / "runs/one/run.json").read_text())["data"]["options"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(home / "cache"))
        return load_data(home / "photos", **options)


def maps_of(scope: Scope, data: Dataset, place: int, layer: str) -> np.ndarray:
    pixels = np.asarray(data.splits["test"].images[[place]])
    return np.asarray(scope.feature_maps(pixels, [layer]).maps[layer][0])


def test_the_tiles_tell_the_largest_values(
    server: Server, scope: Scope, data: Dataset, open_tab: Callable[..., Tab]
) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/layers/3?image=test:4&sort=number")
    found = maps_of(scope, data, 4, "3")
    texts = page.locator("[data-grid] .label b").all_text_contents()
    assert texts == [number(float(one.max())) for one in found]


def test_the_tiles_are_sorted_by_response(
    server: Server, scope: Scope, data: Dataset, open_tab: Callable[..., Tab]
) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/layers/3?image=test:4")
    order = [int(text) for text in page.locator("[data-grid] .label span").all_text_contents()]
    peaks = maps_of(scope, data, 4, "3").max(axis=(1, 2))
    assert order == np.argsort(-peaks, kind="stable").tolist()


def test_the_values_can_be_taken_home(server: Server, scope: Scope, data: Dataset) -> None:
    answer = server.ask("/runs/one/e3/layers/3/maps.npy?image=test:4")
    found = np.load(io.BytesIO(answer.content), allow_pickle=False)
    np.testing.assert_allclose(found, maps_of(scope, data, 4, "3"), atol=1e-6)


def test_the_colours_are_those_of_the_values(
    server: Server, scope: Scope, data: Dataset, open_tab: Callable[..., Tab]
) -> None:
    """What Chromium draws, pixel by pixel, against the palette's entry of each value."""
    page = open_tab(device_scale_factor=1).page
    page.goto(f"{server.address}/runs/one/e3/layers/3?image=test:4&sort=number&scale=layer")
    values = maps_of(scope, data, 4, "3")
    scale = Scale.of(values)
    channel = int(values.max(axis=(1, 2)).argmax())
    tile = page.locator("[data-grid] > li svg").nth(channel)
    shown = np.asarray(Image.open(io.BytesIO(tile.screenshot())).convert("RGB"))
    zoom = shown.shape[0] // values.shape[1]
    assert zoom * values.shape[1] == shown.shape[0]
    middle = shown[zoom // 2 :: zoom, zoom // 2 :: zoom]
    expected = to_rgb(values[channel], scale)
    np.testing.assert_allclose(middle, expected, atol=3)


def test_the_scores_are_the_networks(server: Server, scope: Scope, data: Dataset, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/images/test:2")
    ranked = scope.predict(np.asarray(data.splits["test"].images[[2]]))[0]
    rows = page.locator("section[aria-labelledby=answer] tbody tr")
    shown = [rows.nth(place).locator("td").all_text_contents() for place in range(rows.count())]
    assert shown == [[f"{one['probability']:.1%}", number(one["logit"])] for one in ranked]


def test_a_units_weights_are_the_kernels(server: Server, scope: Scope, open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto(f"{server.address}/runs/one/e3/layers/3/c2")
    kernel = scope.kernels(["3"]).kernels["3"][2]
    assert number(float(kernel.norm())) in page.locator("main").text_content()


def test_an_answer_counts_what_evaluation_counts(server: Server, scope: Scope, data: Dataset) -> None:
    """The share of right answers is that of the network over the split, image by image."""
    from cutaway.scope.answers import answers
    from cutaway.views.images import Answers

    part = data.splits["test"]
    found = Answers(**answers(scope, part))
    one_by_one = [scope.predict(np.asarray(part.images[[place]]))[0][0]["class"] for place in range(len(part))]
    assert [data.classes[label] for label in found.predicted] == one_by_one
    wrong = [place for place, name in enumerate(one_by_one) if name != data.classes[part.labels[place]]]
    assert sorted(found.mistakes()) == wrong
    assert list(found.probability[found.mistakes()]) == sorted(found.probability[wrong], reverse=True)
