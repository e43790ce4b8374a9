"""Each rule has a page, each page a rule, and both say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cutaway.doctor import diagnose
from cutaway.doctor.remedies import REMEDIES
from cutaway.doctor.rule import RULES

DOCS = Path(__file__).parents[2] / "docs"
assert diagnose  # importing it registers the rules


def test_there_is_a_page_for_each_rule_and_no_other() -> None:
    assert {page.stem for page in (DOCS / "doctor").glob("*.md")} == set(RULES)


@pytest.mark.parametrize("name", list(RULES))
def test_the_page_says_what_the_rule_says(name: str) -> None:
    text, rule = (DOCS / "doctor" / f"{name}.md").read_text(encoding="utf-8"), RULES[name]
    said = str(rule.look.__doc__).rstrip(".").lower()
    assert f"`{name}`: {said}." in text.lower()
    assert said in (DOCS / "doctor.md").read_text(encoding="utf-8").lower()
    for head in ("When it speaks", "Why", "What helps", "What to know"):
        assert re.search(rf"^## {head}\n\n\S", text, re.MULTILINE), head


@pytest.mark.parametrize("name", list(RULES))
def test_the_page_names_what_the_rule_explains_and_tries(name: str) -> None:
    text, rule = (DOCS / "doctor" / f"{name}.md").read_text(encoding="utf-8"), RULES[name]
    explained = re.search(r"^It explains, and then tells as its own: (.*)$", text, re.MULTILINE)
    assert set(re.findall(r"\[([\w-]+)\]", explained[1] if explained else "")) == set(rule.explains)
    tried = re.search(r"^`--try` begins with: (.*)$", text, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", tried[1] if tried else "") == list(rule.tries)


@pytest.mark.parametrize("name", list(RULES))
def test_what_a_rule_explains_and_tries_exists(name: str) -> None:
    assert set(RULES[name].explains) <= set(RULES) - {name}
    assert set(RULES[name].tries) <= set(REMEDIES)
