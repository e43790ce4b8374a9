import pytest

from cutaway.pages import EPOCH, Crumb, Shell, Slider, asset, chart_svg, render, spark_svg
from cutaway.pages.environment import source
from cutaway.pictures import Series
from cutaway.words import LANGUAGES, words

SHELL = Shell(
    title="<b>run</b>",
    crumbs=(Crumb("runs", "/"), Crumb("<b>run</b>")),
    slider=Slider((1, 3, 7), 3, f"/runs/r/e{EPOCH}", "every other epoch"),
    languages={language: f"?lang={language}" for language in LANGUAGES},
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_frame_escapes_names_and_offers_the_other_language(language: str) -> None:
    page = render("base.html.j2", words(language), shell=SHELL)
    assert "<b>run" not in page
    assert "&lt;b&gt;run&lt;/b&gt;" in page
    assert f'href="?lang={"zh" if language == "en" else "en"}"' in page
    assert "style=" not in page
    assert "<script>" not in page


def test_the_slider_works_by_links() -> None:
    page = render("base.html.j2", words("en"), shell=SHELL)
    assert 'href="/runs/r/e1" aria-label="one epoch back"' in page
    assert 'href="/runs/r/e7" aria-label="one epoch on"' in page
    assert "every other epoch" in page


def test_a_frozen_page_holds_everything() -> None:
    page = render("base.html.j2", words("en"), shell=Shell("run", frozen=True))
    assert "/static/" not in page
    assert asset("style.css") in page


def test_a_picture_is_an_address_or_is_inside() -> None:
    assert source("/runs/r/maps.png") == "/runs/r/maps.png"
    assert source(b"abc") == "data:image/png;base64,YWJj"


def test_a_chart_says_its_numbers_to_those_who_hear_it() -> None:
    svg = chart_svg((Series("validation", (1.0, 2.0), (0.5, 0.75)),), "accuracy", "epoch", words("en"), share=True)
    assert 'aria-label="accuracy: validation from 50.0% to 75.0% at epoch 2"' in svg


def test_a_small_curve_needs_two_points() -> None:
    assert spark_svg([0.5], "accuracy") == ""
    assert 'aria-label="&lt;accuracy&gt;"' in spark_svg([0.5, 0.6], "<accuracy>")
