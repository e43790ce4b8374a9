from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib import rc_context

from cutaway.errors import InputError
from cutaway.pictures import Series, curves_figure, curves_html, read_curves, text
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


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures(tmp_path: Path, ending: str, start: bytes) -> None:
    path = curves_figure(METRICS, tmp_path / f"curves{ending}", title="cost: 5 $ or $x^2")
    assert path.read_bytes().startswith(start)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a figure can be .png, .svg, .pdf, not '.bmp'"):
        curves_figure(METRICS, tmp_path / "curves.bmp")


@pytest.fixture
def fresh_fonts() -> Iterator[None]:
    """What was found before is forgotten, and so is what a test finds."""
    for found in (text.figure_fonts, text.wide_font):
        found.cache_clear()
    yield
    for found in (text.figure_fonts, text.wide_font):
        found.cache_clear()


@pytest.fixture
def no_font(fresh_fonts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_folders", lambda: ())


def drawn(path: Path) -> str:
    """The words of a figure, which an SVG with plain text holds as they are."""
    with rc_context({"svg.fonttype": "none"}):
        return curves_figure(METRICS, path, title="1-甲", say=words("zh")).read_text("utf-8")


@pytest.mark.usefixtures("no_font")
def test_a_title_without_a_font(tmp_path: Path) -> None:
    told = r"the title '1-甲 α' is written '1-\? α': .*install Noto Sans CJK \(Debian: fonts-noto-cjk\)"
    with pytest.warns(UserWarning, match=told), rc_context({"svg.fonttype": "none"}):
        page = curves_figure(METRICS, tmp_path / "curves.svg", title="1-甲 α").read_text("utf-8")
    assert ">1-? α<" in page
    # Matplotlib itself has nothing to complain about any more.
    with pytest.warns(UserWarning, match="install Noto") as told_of:
        curves_figure(METRICS, tmp_path / "curves.png", title="运动鞋")
    assert len(told_of) == 1


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
    with rc_context({"svg.fonttype": "none"}):
        page = curves_figure(METRICS, tmp_path / "curves.svg", say=words("zh")).read_text("utf-8")
    assert ">validation<" in page


@pytest.mark.skipif(text.wide_font() is None, reason="no font with Chinese signs is installed (fonts-noto-cjk)")
@pytest.mark.filterwarnings("error")
def test_chinese_words_and_names(tmp_path: Path) -> None:
    page = drawn(tmp_path / "curves.svg")
    assert ">1-甲<" in page
    assert ">验证<" in page
    # Matplotlib warns of a sign that no font has; the filter makes that an error.
    curves_figure(METRICS, tmp_path / "curves.png", title="1-甲", say=words("zh"))
    curves_figure(METRICS, tmp_path / "curves.pdf", title="1-甲", say=words("zh"))


def test_interactive_page_holds_its_script() -> None:
    whole = curves_html(METRICS, title="<script>alert(1)</script>")
    assert len(whole) > 1_000_000
    assert "<script>alert(1)" not in whole
    part = curves_html(METRICS, whole_page=False)
    assert part.startswith("<div")
    assert len(part) < 50_000


def test_the_interactive_page_in_chinese() -> None:
    assert "\\u9a8c\\u8bc1" in curves_html(METRICS, whole_page=False, say=words("zh"))
