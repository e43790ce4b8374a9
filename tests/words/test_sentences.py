"""Every sentence that the program can say has its translation, found again with all that was filled in."""

from __future__ import annotations

import json
import re
import time
from importlib.resources import files
from string import Formatter

import pytest
import spoken

from cutaway.words import LANGUAGES, words
from cutaway.words.sentences import translated

OTHERS = [name for name in LANGUAGES if name != "en"]
CHINESE = re.compile("[\u4e00-\u9fff]")
# Commands and lines of code stay as they are, in any language.
CODE = re.compile(r"(cutaway \w+|pip install|loss = |network\.)[^:]*$")
SAME = {"dropout", "bfloat16"}
# What is put together while it runs.
JOINED = {"{} x {}; {}", "{} x {}"}
# What the parser of the command line says, in its versions.
PARSER = re.compile(
    "missing (argument|option)|got unexpected|no such (command|option)|invalid value|option .* requires"
)


def catalogue(language: str) -> dict[str, str]:
    text = files("cutaway.words").joinpath(f"sentences.{language}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def filled(template: str) -> tuple[str, list[str]]:
    """A sentence made from a template whose fields are `{}`, and what was filled in."""
    values = [f"⟦{place}⟧" for place in range(template.count("{}"))]
    return template.format(*values) if values else template, values


def bare(template: str) -> str:
    return "".join(text + ("" if name is None else "{}") for text, name, _, _ in Formatter().parse(template))


def shape(template: str) -> str:
    """A pattern for the readings that a template stands for; words of ours may stand in a field that is `said`."""
    parts = Formatter().parse(template)
    fields = {None: "", "": r"\{\}", "said": ".+"}
    return "^" + "".join(re.escape(text) + fields[kind] for text, _, kind, _ in parts) + "$"


def untranslated(said: dict[str, str], language: str) -> list[tuple[str, str]]:
    wrong = []
    for template, place in said.items():
        text, values = filled(template)
        told = translated(text, language)
        lost = [value for value in values if told.count(value) != 1]
        if not re.search("[a-z]{3}", template):
            continue
        if (not CHINESE.search(told) or lost) and not CODE.match(template) and template not in SAME:
            wrong.append((place, template))
    return wrong


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_doctor_is_translated(language: str) -> None:
    said = spoken.of_the_doctor()
    assert len(said) > 200
    assert untranslated(said, language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_note_of_a_certificate_and_a_record_is_translated(language: str) -> None:
    said = spoken.of_notes()
    assert len(said) > 60
    assert untranslated(said, language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_error_is_translated(language: str) -> None:
    said = spoken.of_errors()
    assert len(said) > 400
    assert untranslated(said, language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_fields_of_its_sentence(language: str) -> None:
    for english, other in catalogue(language).items():
        fields = {name: kind for _, name, kind, _ in Formatter().parse(english) if name is not None}
        names = [name for _, name, _, _ in Formatter().parse(other) if name is not None]
        assert sorted(names) == sorted(fields), english
        assert set(fields.values()) <= {"", "said"}, english
        assert all(fields), english
        assert other.strip(), english


@pytest.mark.parametrize("language", OTHERS)
def test_no_template_takes_another_ones_sentence(language: str) -> None:
    for english, other in catalogue(language).items():
        text, values = filled(bare(english))
        names = [name for _, name, _, _ in Formatter().parse(english) if name is not None]
        assert translated(text, language) == other.format(**dict(zip(names, values, strict=True))), english


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_is_sorted_and_holds_what_is_said(language: str) -> None:
    known = catalogue(language)
    assert list(known) == sorted(known)
    said = {*spoken.everything(), *spoken.of_the_doctor(), *spoken.of_errors()} | JOINED
    lines = "\n".join(text for text in said if " " in text)
    unsaid = [english for english in known if bare(english) not in said and not PARSER.match(english)]
    assert [english for english in unsaid if not re.search(shape(english), lines, re.MULTILINE)] == []


def test_what_is_filled_in_stays_as_it_is() -> None:
    zh = words("zh")
    assert zh.said("label 7 needs 8 outputs; there are 5") == "标签 7 需要 8 个输出，而网络只有 5 个"
    assert zh.said("the weights of 'large' begin large: deviation x root of fan-in is 9, 0.6 to 1.4 is usual") == (
        "“large”的初始权重过大：标准差 × 输入数的平方根为 9，通常为 0.6 到 1.4"
    )
    strange = "1 of 2 layers are frozen, '{layer} {0} of 3 layers' first"
    assert zh.said(strange) == "2 层中有 1 层被冻结，第一个是“{layer} {0} of 3 layers”"
    assert words("en").said(strange) == strange
    assert zh.said("nobody has translated this") == "nobody has translated this"


def test_a_text_of_others_cannot_hold_a_page_up() -> None:
    for piece in ("in your loop: ", " of '", "look at some images with their labels: ", "{", ": ", " x ", "; "):
        started = time.perf_counter()
        translated((piece * 100_000)[:4000], "zh")
        translated(piece * 100_000, "zh")
        assert time.perf_counter() - started < 1
