from __future__ import annotations

import string

import pytest

from cutaway.words import LANGUAGES, choose, of_terminal, words


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_catalogues_agree(language: str) -> None:
    english, other = words("en").texts, words(language).texts
    assert list(other) == list(english), "the same keys in the same order"
    for key, text in english.items():
        assert placeholders(other[key]) == placeholders(text), key
        assert other[key].strip(), key


def test_keys_are_sorted_so_that_a_reader_finds_them() -> None:
    assert list(words("en").texts) == sorted(words("en").texts)


@pytest.mark.parametrize(
    ("wishes", "language"),
    [
        ((), "en"),
        (("zh",), "zh"),
        (("zh_CN.UTF-8",), "zh"),
        ((None, "zh-CN,zh;q=0.9,en;q=0.8"), "zh"),
        (("en", "zh"), "en"),
        (("xx", "zh"), "zh"),
        (("en;q=0.1, zh;q=0.9",), "zh"),
        (("zh;q=0, en",), "en"),
        (("zh;q=oops",), "en"),
        (("C.UTF-8",), "en"),
    ],
)
def test_the_language_is_chosen(wishes: tuple[str | None, ...], language: str) -> None:
    assert choose(*wishes) == language


def test_the_terminal_says_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert of_terminal() == "en"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert of_terminal() == "zh"
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    assert of_terminal() == "en"


def test_an_unknown_key_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        words("en")("nothing.here")
