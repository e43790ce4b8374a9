"""What Cutaway says, in English and Chinese: one catalogue each for pages, report and command line.

A catalogue is `NAME.json` in this folder: one object, whose keys are `section.key` and whose values are texts with
`{placeholders}`. English is the reference; a test proves that the other catalogue has the same keys and placeholders.
What findings, notes and errors say in whole English sentences is translated in `sentences.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cutaway.words.sentences import translated

LANGUAGES = {"en": "English", "zh": "中文"}
DEFAULT = "en"


@dataclass(frozen=True)
class Words:
    """One language's catalogue; calling it gives a text.

    >>> words("en")("epoch.of", epoch=7, last=12), words("zh").language
    ('epoch 7 of 12', 'zh')
    """

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text of `key` with its placeholders filled.

        Raises:
            KeyError: no such key, or a placeholder without a value: a mistake in the program, not of the user.
        """
        return self.texts[key].format(**values)

    def known(self, section: str, name: str) -> str:
        """The text of `section.name`, or `name` itself where the catalogue has none: for names read from a file.

        >>> words("zh").known("status", "finished"), words("zh").known("status", "odd")
        ('已完成', 'odd')
        """
        return self.texts.get(f"{section}.{name}", name)

    def said(self, sentence: object) -> str:
        """What a finding, a note or an error says in English, in this language; see `sentences.py`.

        >>> words("zh").said("the training was too short")
        '训练时间太短'
        """
        return translated(str(sentence), self.language)


@cache
def words(language: str = DEFAULT) -> Words:
    """The catalogue of a language in `LANGUAGES`."""
    text = files("cutaway.words").joinpath(f"{language}.json").read_text(encoding="utf-8")
    return Words(language, json.loads(text))


def choose(*wishes: str | None) -> str:
    """The first language of `LANGUAGES` that is wished for, by `?lang=`, an Accept-Language header or `LANG`.

    Args:
        wishes: in order of weight; each a tag such as `zh-CN` or `zh_CN.UTF-8`, a whole Accept-Language header, or
            None.

    >>> choose(None, "de;q=0.9, zh-TW;q=0.8, en;q=0.7"), choose("fr")
    ('zh', 'en')
    """
    for wish in wishes:
        for tag in _by_quality(wish or ""):
            if tag[:2].lower() in LANGUAGES:
                return tag[:2].lower()
    return DEFAULT


def of_terminal() -> str:
    """The language of the terminal, by `LC_ALL`, `LC_MESSAGES` and `LANG`, as programs of the system choose it."""
    wish = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), None)
    return choose(wish)


def terminal_words() -> Words:
    """The catalogue of the terminal's language."""
    return words(of_terminal())


def _by_quality(header: str) -> Sequence[str]:
    """The tags of an Accept-Language header, most wanted first."""
    found = []
    for place, part in enumerate(header.split(",")):
        tag, _, quality = part.partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        if weight > 0:
            found.append((-weight, place, tag.strip()))
    return [tag for _, _, tag in sorted(found)]
