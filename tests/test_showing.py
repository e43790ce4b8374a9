"""What the library returns shows itself in a notebook: without scripts and addresses, with names made harmless."""

from __future__ import annotations

import base64
import inspect
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cutaway
from cutaway.care import audit
from cutaway.doctor.finding import Evidence, Finding, Findings, line_chart
from cutaway.doctor.trials import Trial
from cutaway.lenses import attribution, faithfulness
from cutaway.showing import Card, Line, Listed, Shown, Still, Table, plain, to_html

CLASSES = ('<img src=x onerror="alert(1)">', "猫 & <script>hund")
PLAIN_TAGS = {"div", "strong", "table", "tr", "th", "td", "img", "svg", "polyline", "line"}
NETWORK = """
from torch import nn


def make(num_classes, in_channels):
    body = [nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))
"""
MOST_BYTES = 400_000


class Page(HTMLParser):
    """The tags, the attributes and the text of a piece of HTML."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def draw(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shown]]:
    """One of everything."""
    folder = tmp_path_factory.mktemp("shown")
    draw(folder / "data", 20)
    (folder / "net.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(folder / "cache"))
        yield {type(value).__name__: value for value in everything(folder)}


def everything(folder: Path) -> Iterator[Any]:
    data = cutaway.load_data(folder / "data")
    recipe = {"epochs": 2, "batch_size": 8, "precision": "fp32"}
    run = cutaway.train(data, f"{folder / 'net.py'}:make", recipe=recipe, runs=folder / "runs")
    yield from (data, data.splits["test"], cutaway.evaluate(run.folder.path), run, cutaway.open_run(run.folder.path))
    model = cutaway.load_model(str(run.folder.path))
    yield from (model, model.preprocessing)
    scope = cutaway.Scope(run.folder.path)
    images = [data.splits["test"].images[[index]][0] for index in range(2)]
    yield from (scope, scope.layers(), scope.predict(images), scope.statistics(data), scope.unit("0", 1))
    yield from scope.statistics(data).values()
    yield from (scope.feature_maps(images), scope.kernels(), scope.gradients(images, CLASSES[1]))
    yield from (scope.explain(images, target=CLASSES[0]), scope.imagine(CLASSES[0], steps=2))
    yield scope.rank(images, ["saliency", "grad-cam"], steps=4)
    exemplars = scope.exemplars(data, "0", k=2, split="test")
    yield from (exemplars, exemplars["0"], exemplars["0"].best, exemplars.picture())
    comparison = cutaway.compare(f"{run.folder.path}@1", f"{run.folder.path}@2", data, batch=4)
    yield from (comparison, comparison.similarity, comparison.matchings[0], comparison.agreement)
    yield from (comparison.certificate, *comparison.gradients[0].values())
    yield from faithful(scope, images)
    chart = line_chart("step", "loss", [(1, 2.3), (2, None), (3, 2.2)], level=2.3)
    evidence = Evidence({"loss": 2.3}, "0", 4, chart)
    finding = Finding("stuck", "error", f"{CLASSES[0]} is lost", evidence, "a cause", "a remedy", ("a symptom",))
    yield from (cutaway.diagnose(run), finding, Findings([finding]))
    trial = Trial(CLASSES[0], 1.5, None, 60, 2.0, "runs/x", "cutaway resume x")
    yield from (trial, Listed([trial]), audit(folder / "data"))


def faithful(scope: cutaway.Scope, images: list[Any]) -> Iterator[Any]:
    inputs = scope.inputs(images)
    found = attribution.explain(scope.network, inputs.values, "grad-cam", 0, classes=scope.classes)
    yield from (inputs, found, found.target)
    heat, aim = found.heat(), found.target
    drops = faithfulness.removals(scope.network, inputs.values, aim)
    yield from (drops, faithfulness.sensitivity(drops, heat), faithfulness.pointing(heat, heat > heat.mean()))
    given = (scope.network, inputs.values, heat, aim)
    yield from (faithfulness.deletion(*given), faithfulness.road(*given))

    def again(network: torch.nn.Module) -> torch.Tensor:
        return attribution.explain(network, inputs.values, "saliency", 0).heat()

    yield faithfulness.randomisation(scope.network, again(scope.network), again)


def returned() -> Iterator[tuple[str, str]]:
    """Where, and the name of the class, of all that the public functions and the methods of `Scope` return."""
    functions: dict[str, Callable[..., Any]] = {}
    for room in (cutaway, faithfulness, attribution):
        found = {name: getattr(room, name) for name in room.__all__}
        functions |= {name: value for name, value in found.items() if inspect.isfunction(value)}
    for owner in (cutaway.Scope, type(cutaway.Scope(torch.nn.Conv2d(1, 1, 1)).unit("", 0))):
        methods = inspect.getmembers(owner, inspect.isfunction)
        functions |= {f"{owner.__name__}.{name}": method for name, method in methods if not name.startswith("_")}
    for name, function in functions.items():
        yield name, re.split(r"[\[ ]", str(inspect.signature(function).return_annotation))[0]


# What is no result of a lens: plain numbers, tensors, networks and streams of batches.
PLAIN = {"float", "Tensor", "nn.Module", "Module", "Any", "Iterator", "int", "Stethoscope", "str", "Card", "NDArray"}


@pytest.mark.parametrize(("name", "kind"), list(returned()))
def test_whatever_the_library_returns_shows_itself(name: str, kind: str, shown: dict[str, Shown]) -> None:
    assert kind in PLAIN or kind in shown, f"{name} returns {kind}, which is not among what is tested below"


def test_one_of_everything_looks_well(shown: dict[str, Shown]) -> None:
    for name, value in shown.items():
        html = value._repr_html_()
        page = Page(html)
        assert len(html) < MOST_BYTES, f"{name} has {len(html):,} bytes"
        assert {tag for tag, _ in page.tags} <= PLAIN_TAGS, name
        for tag, attributes in page.tags:
            assert not any(key.startswith("on") or key in ("href", "srcset") for key in attributes), name
            assert "url(" not in str(attributes.get("style")), name
            assert tag != "img" or (attributes.get("alt") or "").strip(), f"{name} has a picture without words"
            assert tag != "svg" or attributes.get("aria-label"), f"{name} has a curve without words"
            if "src" in attributes:
                kind, _, data = str(attributes["src"]).partition(",")
                assert kind == "data:image/png;base64"
                assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert page.text.strip(), f"{name} has no words"


PICTURES = ("FeatureMaps", "Kernels", "Gradients", "Explanation", "Imagined", "Ranking", "Exemplars", "Comparison")


def test_a_result_of_a_lens_has_its_picture_and_its_certificate(shown: dict[str, Shown]) -> None:
    for name in PICTURES:
        page = Page(shown[name]._repr_html_())
        assert any(tag == "img" for tag, _ in page.tags)
        assert shown[name].certificate.line() in page.text  # type: ignore[attr-defined]  # results have one


def test_a_result_is_one_line_where_there_is_no_page(shown: dict[str, Shown]) -> None:
    for name in PICTURES:
        line = shown[name].certificate.line()  # type: ignore[attr-defined]  # as above
        assert repr(shown[name]) == f"{name}({line})"


@pytest.mark.parametrize("name", ["Dataset", "Evaluation", "Model", "Scope", "Predictions", "Finding", "Trial"])
def test_names_of_users_are_texts(name: str, shown: dict[str, Shown]) -> None:
    page = Page(shown[name]._repr_html_())
    assert any(text in page.text for text in CLASSES)


def test_numbers_are_those_of_the_values(shown: dict[str, Any]) -> None:
    texts = {name: Page(value._repr_html_()).text for name, value in shown.items()}
    measured, run = shown["Evaluation"], shown["Run"]
    assert f"{measured['accuracy']:.2%} (95 % interval" in texts["Evaluation"]
    assert f"{measured['accuracy']:.2%}, {measured['size']} images" in texts["Run"]
    assert plain(run.metrics("epoch")[-1]["val_loss"]) in texts["Run"]
    best = shown["Predictions"][0][0]
    assert f"{best['class']}{plain(best['logit'])}{best['probability']:.1%}" in texts["Predictions"]
    assert plain(shown["Similarity"].self_gap) in texts["Similarity"]
    assert "error: " in texts["Finding"]
    assert "from 2.3 to 2.2" in texts["Finding"]
    assert f"{sum(p.numel() for p in shown['Scope'].network.parameters()):,}" in texts["Scope"]


def test_nothing_found() -> None:
    assert "nothing found" in Findings()._repr_html_()
    assert "none" in Listed([])._repr_html_()


def test_arrays_and_other_values_in_words() -> None:
    assert plain(torch.tensor([0.5, -1.0])) == "0.5, −1"
    assert plain(np.arange(12.0).reshape(3, 4)) == "float64 3×4, 0 to 11"
    assert plain(torch.zeros(0, 3)) == "float32 0×3"
    assert plain(list(range(20))) == "0, 1, 2, 3, 4, 5, 6, 7 … (20)"
    assert plain({"self_gap": 1e-7}) == "self gap 1e−07"
    assert len(plain("x" * 10_000)) < 400
    assert plain(torch.nn.Sequential(torch.nn.Linear(1, 1))) == "Sequential"


def test_a_card_has_its_parts_in_order() -> None:
    table = Table.of([{"name": "a", "count": 1}, {"name": "b", "count": 23}])
    parts = ("first <one>", {"fact": 0.5, "unknown": None}, Still(b"png", "a <picture>"), table, Card("inner"))
    page = to_html(Card("title", parts, ("a note",), "small print"))
    order = ["title", "first &lt;one&gt;", "fact", "a &lt;picture&gt;", "name", "23", "inner", "a note", "small print"]
    places = [page.index(word) for word in order]
    assert places == sorted(places)
    assert "unknown" not in page
    assert page.count("text-align:right") == 3  # the counts and their heading


def test_a_curve_by_hand() -> None:
    page = to_html(Card("", [Line("loss", [3.0, None, 1.0], level=2.0)]))
    assert 'points="0.0,2.0 320.0,94.0"' in page
    assert 'y1="48.0"' in page
    assert "loss: from 3 to 1, between 1 and 3" in page
    assert "<svg" not in to_html(Card("", [Line("one point", [1.0])]))
