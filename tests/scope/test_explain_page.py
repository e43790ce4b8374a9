"""The page about explanations names every method there is, with its paper, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cutaway.lenses.attribution import METHODS
from cutaway.scope.ranking import MEASURES

PAGES = Path(__file__).parents[2] / "docs" / "lenses"
ROWS = dict(
    re.findall(r"^\| `([^`]+)` \| (.*\|.*\|.*\|.*) \|$", (PAGES / "explain.md").read_text("utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_a_row_with_its_paper(method: str) -> None:
    author, year = METHODS[method].paper.split()[0].rstrip(","), METHODS[method].paper[-4:]
    assert author in ROWS[method].split("|")[-1]
    assert year in ROWS[method].split("|")[-1]


def test_no_row_is_about_a_method_that_is_none() -> None:
    assert set(ROWS) <= set(METHODS)


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_explained(measure: str) -> None:
    page = (PAGES / "faithfulness.md").read_text("utf-8").lower()
    assert measure in page
