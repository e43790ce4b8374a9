"""A run as one file, opened from the disk in a browser without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving import Tab

from cutaway import Scope
from cutaway.errors import InputError
from cutaway.numerals import number
from cutaway.report import write_report


@pytest.fixture(scope="module")
def reports(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(home / "cache"))
        return {
            language: write_report(f"{home}/runs/one@3", folder / f"{language}.html", language)
            for language in ("en", "zh")
        }


@pytest.mark.parametrize(("language", "colours"), [("en", "light"), ("zh", "dark")])
def test_every_chapter_opens_from_the_disk(
    language: str, colours: str, reports: dict[str, Path], open_tab: Callable[..., Tab]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = open_tab(language, colours, offline=True)
    for chapter in ("", "#images", "#comparison"):
        tab.page.goto(f"{reports[language].as_uri()}{chapter}")
        tab.page.reload()
        tab.page.wait_for_selector("main h1:visible, main h2:visible")
        found = axe.run(tab.page)
        assert found.violations_count == 0, found.generate_report()
    assert tab.wrong == []


def test_it_is_small_and_says_what_it_left_out(reports: dict[str, Path]) -> None:
    text = reports["en"].read_text(encoding="utf-8")
    assert len(text.encode()) < 10_000_000
    assert "cutaway atlas" in text


def test_the_mistakes_have_pages_with_the_networks_scores(
    home: Path, reports: dict[str, Path], open_tab: Callable[..., Tab]
) -> None:
    page = open_tab(offline=True).page
    page.goto(f"{reports['en'].as_uri()}#images")
    page.wait_for_selector("[data-grid] a")
    link = page.locator("[data-grid] a").first
    place = int(link.get_attribute("href").rpartition("/")[2])
    link.click()
    page.wait_for_selector("section[aria-labelledby=answer] tbody tr")
    scope = Scope(f"{home}/runs/one@3")
    from cutaway import load_data
    from cutaway.runs import open_run

    options = open_run(home / "runs/one").info["data"]["options"]
    pixels = np.asarray(load_data(home / "photos", **options).splits["test"].images[[place]])
    best = scope.predict(pixels)[0][0]
    row = page.locator("section[aria-labelledby=answer] tbody tr").first
    assert row.locator("td").all_text_contents() == [f"{best['probability']:.1%}", number(best["logit"])]


def test_names_in_it_are_text(reports: dict[str, Path], open_tab: Callable[..., Tab]) -> None:
    page = open_tab(offline=True).page
    page.goto(reports["en"].as_uri())
    assert page.get_by_text("<b>red").count() >= 1
    assert page.locator("main b:text-is('red')").count() == 0


def test_what_cannot_be_written_is_one_sentence(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name ending in \.html"):
        write_report(f"{home}/runs/one", tmp_path / "report.pdf")
    with pytest.raises(InputError, match="epoch"):
        write_report(f"{home}/runs/one@9")
