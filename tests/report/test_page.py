import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.pages import chart_svg
from cutaway.pictures import Series
from cutaway.report import render, write_page
from cutaway.runs import Run, write_sealed_json
from cutaway.views.confusion import MATRIX_CLASSES
from cutaway.views.run import view_run
from cutaway.words import words
from report.conftest import evaluation

VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Checks that every element is closed, and collects what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def read(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    return outline


def test_writes_the_page_alone(run: Run) -> None:
    path = write_page(run.folder.path)
    assert path == run.folder.path / "index.html"
    assert write_page(run.folder) == write_page(run) == path
    assert not list(run.folder.path.glob("curves*"))
    read(path.read_text(encoding="utf-8"))


def test_nothing_comes_from_a_network(run: Run) -> None:
    page = render(view_run(run))
    assert not re.search(r"https?:|//[a-z0-9]+\.", page, re.IGNORECASE)
    outline = read(page)
    for tag, attributes in outline.attributes:
        address = attributes.get("src") or attributes.get("href") or "data:"
        assert address.startswith(("data:", "#")), (tag, address)
    assert "module" not in "".join(str(attributes) for tag, attributes in outline.attributes if tag == "script")


def test_names_cannot_be_markup(run: Run) -> None:
    page = render(view_run(run))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>.jpg" not in page
    assert "<title>fashion-&lt;i&gt;-1" in page
    assert len(re.findall("<script", page)) == 5


def test_chinese_names_stand_as_they_are(run: Run) -> None:
    assert "运动鞋" in render(view_run(run))


def test_without_javascript_the_last_epoch_is_shown(run: Run) -> None:
    view = view_run(run)
    assert view.film is not None
    outline = read(render(view))
    images = {
        attributes["data-strip"]: attributes["src"]
        for tag, attributes in outline.attributes
        if "data-strip" in attributes
    }
    assert list(images) == ["0", "1", "2", "3"]
    for index, strip in enumerate(view.film.strips):
        source = images[str(index)]
        assert source is not None
        assert base64.b64decode(source.split(",")[1]) == strip.frames[3][0]
    slider = [attributes for _, attributes in outline.attributes if attributes.get("type") == "range"]
    assert "hidden" in slider[0]


def test_the_script_finds_all_epochs(run: Run) -> None:
    view = view_run(run)
    assert view.film is not None
    content = re.search(r'id="frames">(.*?)</script>', render(view), re.DOTALL)
    assert content is not None
    frames = json.loads(content[1])
    assert frames["epochs"] == [1, 2, 3]
    assert frames["lines"]["2"] == "validation loss 1.05, accuracy 90.0%"
    for strip, found in zip(view.film.strips, frames["strips"], strict=True):
        for epoch, pngs in strip.frames.items():
            assert [base64.b64decode(text) for text in found[str(epoch)]] == list(pngs)


def test_confusion_as_numbers(run: Run) -> None:
    page = render(view_run(run))
    read(page)
    cells = re.findall(r'<td class="(right|wrong) t(\d+)"><span>(.*?)</span></td>', page)
    counts = evaluation()["confusion"]
    assert [text for _, _, text in cells] == [str(count or "·") for row in counts for count in row]
    tints = {int(text): int(tint) for kind, tint, text in cells if kind == "wrong" and text != "·"}
    assert max(tints, key=lambda count: tints[count]) == 13  # the most frequent mistake
    assert tints[13] == 10


def test_many_classes_are_told_as_pairs(run: Run) -> None:
    found, names = evaluation(), [f"class {number}" for number in range(MATRIX_CLASSES + 1)]
    found["classes"] = [{**found["classes"][0], "class": name} for name in names]
    counts = [[0] * len(names) for _ in names]
    counts[3][5] = 2
    write_sealed_json(run.folder.evaluation("test"), {**found, "confusion": counts})
    page = render(view_run(run))
    assert 'class="confusion"' not in page
    assert '<td>class 3</td><td>class 5</td><td class="n">2</td>' in page


def test_a_run_without_anything_yet(run: Run) -> None:
    for path in [run.folder.metrics, run.folder.vitals, run.folder.evaluation("test")]:
        path.unlink()
    for path in run.folder.path.glob("snapshots/*/*"):
        path.unlink()
    page = render(view_run(run))
    read(page)
    assert "no loss yet" in page
    assert '<script type="application/json" id="frames">null</script>' in page
    write_page(run)


def test_one_epoch_only(run: Run) -> None:
    for epoch in (2, 3):
        (run.folder.snapshot(epoch) / "arrays.safetensors").unlink()
    read(render(view_run(run)))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run folder"):
        write_page(tmp_path / "nothing")


def test_chart_points_by_hand() -> None:
    chart = (Series("training", (0.0, 4.0), (1.0, 3.0)),)
    svg = chart_svg(chart, "loss", "epoch", words("en"))
    # The drawing is 520 x 208 with margins 44, 92, 12, 24, and 5 % of the values' range above and below.
    assert '<polyline class="training" points="44.0,176.2 428.0,19.8"/>' in svg
    read(svg)


def test_chart_of_one_point_and_of_equal_values() -> None:
    for series in (Series("validation", (1.0,), (0.5,)), Series("training", (1.0, 2.0), (0.0, 0.0))):
        svg = chart_svg((series,), "accuracy", "epoch", words("en"), share=True)
        assert "nan" not in svg
        read(svg)


def test_a_chart_says_its_values_below_the_pointer() -> None:
    chart = (Series("training", (1.0, 2.0), (0.5, 0.75)), Series("validation", (2.0,), (0.625,)))
    svg = chart_svg(chart, "accuracy", "<epoch>", words("en"), share=True)
    assert "<title>&lt;epoch&gt; 1: training 50.0%</title>" in svg
    # From 44 to 428 are two epochs, so that each band is 192 wide and has its epoch in the middle.
    assert 'x="332.0" y="12" width="192.0" height="172"><title>&lt;epoch&gt; 2: training 75.0%, validation 62.5%' in svg
    many = (Series("training", tuple(map(float, range(1, 1001))), (0.5,) * 1000),)
    assert chart_svg(many, "accuracy", "epoch", words("en")).count("<rect") == 200


def test_ticks_of_shares_are_shares() -> None:
    for values, expected in (((0.97, 0.974), ["97.0%", "97.2%"]), ((1.0, 1.0), ["95%", "100%"]), ((0.2, 0.9), ["20%"])):
        svg = chart_svg((Series("training", (1.0, 2.0), values),), "accuracy", "epoch", words("en"), share=True)
        ticks = re.findall(r'text-anchor="end">([^<]+)</text>', svg)
        assert ticks[: len(expected)] == expected
        assert max(float(tick[:-1]) for tick in ticks) <= 100


def test_no_two_ticks_are_called_the_same() -> None:
    for low, high, expected in ((1.11, 1.128, "1.110"), (0.0, 9.0, "0"), (1e-9, 3e-9, "1e−09"), (0.0, 4e7, "0")):
        svg = chart_svg((Series("training", (1.0, 2.0), (low, high)),), "loss", "epoch", words("en"))
        ticks = re.findall(r'text-anchor="end">([^<]+)</text>', svg)
        assert ticks[0] == expected
        assert len(set(ticks)) == len(ticks) > 1


def test_names_beside_lines_do_not_touch() -> None:
    chart = tuple(Series(name, (0.0, 1.0), (1.0, 0.0)) for name in ("training", "validation"))
    places = [
        float(found)
        for found in re.findall(
            r'<text class="(?:training|validation)" x="[\d.]+" y="([\d.]+)"',
            chart_svg(chart, "loss", "epoch", words("en")),
        )
    ]
    assert len(places) == 2
    assert places[1] - places[0] >= 14
    assert max(places) <= 208 - 24
