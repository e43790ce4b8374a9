"""Finished English sentences in another language: what findings, notes and errors say, found again by its template.

Whoever finds something says it in English, in an f-string where it is found, and keeps it so: in a record, in JSON, in
an error. A page or terminal of another language looks the sentence up in `sentences.LANGUAGE.json`, whose keys are the
English templates and whose values are the translations. So records of any age are translated as well, and a sentence
that nobody has translated stays English. Tests collect all sentences of the source and ask for each.

A field is `{name}`, and what stands in it is taken over as it is; `{name:said}` holds words of ours (a reason, a
place), which are translated themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter

# A sentence in a sentence in a sentence, of so many characters: text from outside cannot ask for more.
_DEEPEST = 4
_LONGEST = 4000


@dataclass(frozen=True)
class Template:
    """An English sentence with fields, and the same in the other language.

    Attributes:
        pieces: the text before, between and after the fields.
        fields: their names.
        said: those whose text is translated itself.
        other: the translation, with the same fields.
    """

    pieces: tuple[str, ...]
    fields: tuple[str, ...]
    said: frozenset[str]
    other: str

    def read(self, text: str) -> Sequence[str] | None:
        """What stands in the fields of a text that was made from this template, or None for another text.

        Each piece is taken where it comes first: time grows with the text's length alone, whoever wrote it.
        """
        first, last = self.pieces[0], self.pieces[-1]
        if not self.fields:
            return () if text == first else None
        start, end, found = len(first), len(text) - len(last), []
        if start > end or not (text.startswith(first) and text.endswith(last)):
            return None
        for piece in self.pieces[1:-1]:
            place = text.find(piece, start, end)
            if place < 0:
                return None
            found.append(text[start:place])
            start = place + len(piece)
        return (*found, text[start:end])

    def filled(self, values: Mapping[str, str]) -> str:
        """The translation with its fields filled."""
        return "".join(before + values.get(name or "", "") for before, name, _, _ in Formatter().parse(self.other))


def translated(text: str, language: str) -> str:
    """A finished English sentence in a language; the sentence itself where there is no translation.

    >>> translated("the training was too short", "zh"), translated("anything else", "zh")
    ('训练时间太短', 'anything else')
    """
    return _translated(text, language, _DEEPEST)[0] if len(text) <= _LONGEST else text


def _translated(text: str, language: str, depth: int) -> tuple[str, bool]:
    """The translation, and whether all words of ours in it are known; where several fit, one of which that is true."""
    found = text
    for template in _templates(language) if depth else ():
        values = template.read(text)
        if values is None:
            continue
        fields = dict(zip(template.fields, values, strict=True))
        inner = {name: _translated(fields[name], language, depth - 1) for name in template.said}
        told = template.filled({**fields, **{name: words for name, (words, _) in inner.items()}})
        if all(known for _, known in inner.values()):
            return told, True
        found = told if found is text else found
    return found, False


@cache
def _templates(language: str) -> Sequence[Template]:
    """Those of a language, the one with the most text first: it fits the fewest sentences."""
    file = files("cutaway.words").joinpath(f"sentences.{language}.json")
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return sorted((_template(*pair) for pair in known.items()), key=lambda one: -sum(map(len, one.pieces)))


def _template(english: str, other: str) -> Template:
    pieces, fields, said = [""], list[str](), set[str]()
    for text, name, kind, _ in Formatter().parse(english):
        pieces[-1] += text
        if name is not None:
            pieces.append("")
            fields.append(name)
            said |= {name} if kind == "said" else set()
    return Template(tuple(pieces), tuple(fields), frozenset(said), other)
