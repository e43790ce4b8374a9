import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cutaway.errors import InputError
from cutaway.pictures import Series, curves_figure, read_curves, text
from cutaway.pictures.drawing import Dot, Stroke, Word, to_pdf, to_png, to_svg
from cutaway.words import words


def epoch(number: int, train_loss: float, val_loss: float | None, accuracy: float) -> dict[str, object]:
    loss = {"train_loss": train_loss, "val_loss": val_loss}
    shares = {"train_accuracy": accuracy, "val_accuracy": accuracy + 0.1}
    return {"kind": "epoch", "epoch": number, "step": 10 * number, **loss, **shares}


METRICS = [
    {"kind": "step", "epoch": 1, "step": 5, "loss": 2.5},
    {"kind": "step", "epoch": 1, "step": 10, "loss": float("nan")},
    epoch(1, 2.0, 1.5, 0.3),
    {"kind": "step", "epoch": 2, "step": 15, "loss": 1.5},
    epoch(2, 1.0, None, 0.6),
]


def test_series_by_hand() -> None:
    found = read_curves(METRICS)
    assert found.unit == "epoch"
    assert found.loss == (
        Series("batches", (0.5, 1.5), (2.5, 1.5)),
        Series("training", (1.0, 2.0), (2.0, 1.0)),
        Series("validation", (1.0,), (1.5,)),
    )
    assert [series.name for series in found.accuracy] == ["training", "validation"]


def test_before_the_first_epoch_ends_and_before_anything() -> None:
    found = read_curves(METRICS[:1])
    assert (found.unit, found.loss[0].x) == ("step", (5.0,))
    assert read_curves([]).loss == ()


def texts(path: Path) -> list[str]:
    """The words of a figure, which an SVG holds as they are."""
    return [element.text or "" for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures(tmp_path: Path, ending: str, start: bytes) -> None:
    if ending == ".pdf":
        pytest.importorskip("reportlab", reason="pip install 'cutaway[papers]'")
    path = curves_figure(METRICS, tmp_path / f"curves{ending}", title="cost: 5 $ or <x^2> & more")
    first = path.read_bytes()
    assert first.startswith(start)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert curves_figure(METRICS, path, title="cost: 5 $ or <x^2> & more").read_bytes() == first


def test_axes_units_and_names_are_on_it(tmp_path: Path) -> None:
    found = texts(curves_figure(METRICS, tmp_path / "curves.svg", title="cost: 5 $ or <x^2> & more"))
    assert found[0] == "cost: 5 $ or <x^2> & more"
    assert {"loss (cross-entropy, nats)", "accuracy", "epoch", "batches", "training", "validation"} < set(found)
    assert {"40%", "60%", "1.5", "2", "0", "1"} < set(found)
    assert found.count("epoch") == 2


def test_a_long_title_ends_as_it_should(tmp_path: Path) -> None:
    title = "a-name-" * 30 + "7"
    page = curves_figure(METRICS, tmp_path / "curves.svg", title=title)
    assert texts(page)[0].startswith("…")
    assert texts(page)[0].endswith("a-name-7")
    assert f"<title>{title}</title>" in page.read_text("utf-8")


@pytest.mark.parametrize("metrics", [[], METRICS[:1], METRICS[:3], [epoch(1, 0.0, None, 1.0)]])
def test_runs_that_have_just_begun(tmp_path: Path, metrics: list[dict[str, object]]) -> None:
    found = texts(curves_figure(metrics, tmp_path / "curves.svg", title="one"))
    assert "nan" not in (tmp_path / "curves.svg").read_text("utf-8")
    assert not {text for text in found if text.endswith("%") and float(text[:-1]) > 100}
    assert ("no accuracy yet" in found) == (metrics in ([], METRICS[:1]))


MARKS = [
    Stroke("validation", ((10, 30), (90, 30))),
    Dot("training", 50, 10, 4),
    Word("title", 90, 48, "<end>", "end"),
]


def test_marks_as_svg() -> None:
    page = to_svg(MARKS, 100, 60, "a & b").decode()
    assert (
        'fill="none" stroke="#b03a1c" stroke-width="2.0" stroke-linejoin="round" points="10.0,30.0 90.0,30.0"/>' in page
    )
    assert '<circle fill="#6f685f" cx="50.0" cy="10.0" r="4"/>' in page
    assert 'font-size="11" x="90.0" y="48.0" text-anchor="end">&lt;end&gt;</text>' in page
    assert 'aria-label="a &amp; b"' in page
    ElementTree.fromstring(page)


def test_marks_as_pixels() -> None:
    picture = Image.open(io.BytesIO(to_png(MARKS, 100, 60)))
    pixels = np.asarray(picture)
    assert pixels.shape == (180, 300, 3)
    assert [round(dots) for dots in picture.info["dpi"]] == [288, 288]
    # The line is 2 x 3 pixels thick around row 90, from column 30 to 270; the dot is round at (150, 30).
    is_line = (pixels == (176, 58, 28)).all(axis=2)
    assert is_line[88:92, 32:268].all()
    assert not is_line[:86].any()
    assert not is_line[95:].any()
    is_dot = (pixels == (111, 104, 95)).all(axis=2)
    assert is_dot[30, 140:160].all()
    assert not is_dot[:, :137].any()
    # The word ends at column 270 and stands on row 144, but for the feet of its brackets.
    rows, columns = np.nonzero((pixels[100:] < 200).any(axis=2))
    assert columns.max() < 270 + 2
    assert columns.min() > 150
    assert 140 < rows.max() + 100 < 144 + 10


def test_marks_as_pdf() -> None:
    pytest.importorskip("reportlab", reason="pip install 'cutaway[papers]'")
    content = to_pdf(MARKS, 100, 60, "one")
    assert b"/MediaBox [ 0 0 75 45 ]" in content
    assert b"BitstreamVeraSans" in content
    assert b"/FontFile2" in content


def test_a_font_that_can_be_in_a_pdf_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reportlab = pytest.importorskip("reportlab", reason="pip install 'cutaway[papers]'")
    own = Path(reportlab.__file__).parent / "fonts" / "VeraBd.ttf"
    for path, name in ((own, b"BitstreamVeraSans-Bold"), (None, b"STSong-Light"), (Path(__file__), b"STSong-Light")):
        monkeypatch.setattr("cutaway.pictures.drawing.wide_font", lambda path=path: path)
        assert name in to_pdf([Word("title", 1, 20, "验证 α")], 100, 60, "one")


def test_a_pdf_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reportlab.pdfgen.canvas", None)
    told = r"a PDF needs the package reportlab.*pip install 'cutaway\[papers\]', or choose .*\.svg or \.png"
    with pytest.raises(InputError, match=told):
        curves_figure(METRICS, tmp_path / "curves.pdf")
    assert not list(tmp_path.iterdir())


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a figure can be .svg, .png, .pdf, not '.bmp'"):
        curves_figure(METRICS, tmp_path / "curves.bmp")


@pytest.fixture
def fresh_fonts() -> Iterator[None]:
    """What was found before is forgotten, and so is what a test finds."""
    text.wide_font.cache_clear()
    yield
    text.wide_font.cache_clear()


@pytest.fixture
def no_font(fresh_fonts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_folders", lambda: ())


@pytest.mark.usefixtures("no_font")
@pytest.mark.parametrize(("title", "written"), [("1-甲", "1-?"), ("Müller α", "M?ller ?")])
def test_a_title_without_a_font(tmp_path: Path, title: str, written: str) -> None:
    told = rf"the title '{title}' is written '{re.escape(written)}': .*install Noto Sans CJK \(Debian: fonts-noto-cjk\)"
    with pytest.warns(UserWarning, match=told) as told_of:
        picture = curves_figure(METRICS, tmp_path / "curves.png", title=title).read_bytes()
    assert len(told_of) == 1
    assert picture == curves_figure(METRICS, tmp_path / "curves.png", title=written).read_bytes()


@pytest.mark.usefixtures("fresh_fonts")
def test_the_font_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_folders", lambda: (tmp_path,))
    assert text.wide_font() is None
    assert text.font_for("运动鞋") is None
    (tmp_path / "opentype").mkdir()
    for name in ("DejaVuSans.ttf", "NotoSansCJK-Regular.txt", "NotoSansCJK-Regular.ttc"):
        (tmp_path / "opentype" / name).touch()
    text.wide_font.cache_clear()
    assert text.wide_font() == tmp_path / "opentype" / "NotoSansCJK-Regular.ttc"


@pytest.mark.usefixtures("no_font")
def test_without_a_font_its_own_words_are_english(tmp_path: Path) -> None:
    english = curves_figure(METRICS, tmp_path / "curves.png", title="one").read_bytes()
    assert curves_figure(METRICS, tmp_path / "curves.png", title="one", say=words("zh")).read_bytes() == english


@pytest.mark.usefixtures("no_font")
@pytest.mark.filterwarnings("error")
def test_chinese_words_and_names(tmp_path: Path) -> None:
    page = texts(curves_figure(METRICS, tmp_path / "curves.svg", title="1-甲", say=words("zh")))
    assert {"1-甲", "验证", "训练", "批次", "损失 (交叉熵，单位奈特)", "准确率", "轮"} < set(page)


@pytest.mark.skipif(text.wide_font() is None, reason="no font with Chinese signs is installed (fonts-noto-cjk)")
@pytest.mark.filterwarnings("error")
def test_chinese_words_in_pixels(tmp_path: Path) -> None:
    english = curves_figure(METRICS, tmp_path / "curves.png", title="1-甲").read_bytes()
    assert curves_figure(METRICS, tmp_path / "curves.png", title="1-甲", say=words("zh")).read_bytes() != english
