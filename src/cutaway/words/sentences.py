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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter

_DEEPEST = 4  # a sentence in a sentence in a sentence; text from outside cannot ask for more


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


def translated(text: str, language: str, depth: int = _DEEPEST) -> str:
    """A finished English sentence in a language; the sentence itself where there is no translation.

    >>> translated("the training was too short", "zh"), translated("anything else", "zh")
    ('训练时间太短', 'anything else')
    """
    for template in _templates(language) if depth else ():
        values = template.read(text)
        if values is not None:
            fields = dict(zip(template.fields, values, strict=True))
            fields |= {name: translated(fields[name], language, depth - 1) for name in template.said}
            return "".join(
                before + fields.get(name or "", "") for before, name, _, _ in Formatter().parse(template.other)
            )
    return text


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
