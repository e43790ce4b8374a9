"""How a value shows itself in a notebook: a card of plain HTML, without scripts, style sheets and addresses.

It takes its colours from the notebook around it, so that it can be read on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import Any, TypeVar

from cutaway.numerals import count, number

T = TypeVar("T")
_MOST = 8  # entries of a list that are named
_LONGEST = 300  # characters of a fact
_NUMBER = re.compile(r"[±−-]?[\d.,]+(e[+−-]?\d+)?\s?%?")
_RULE = "border:0;border-bottom:1px solid rgba(127,127,127,.3);padding:2px 12px 2px 0;background:none"
_FAINT = "opacity:.7;font-size:85%"
# A picture is never made smaller, since its labels are a few pixels high: what is wider than the page is scrolled.
_SCROLLED = "overflow:auto;margin:4px 0"
_LONG = "max-height:60em"  # of a table
_WIDTH, _HEIGHT = 320, 96


class Shown:
    """Base of the values that show themselves in a notebook; a dataclass shows its fields unless it says otherwise."""

    def card(self) -> Card:
        """What a notebook shows of it."""
        return card_of(self)

    def _repr_html_(self) -> str:
        return to_html(self.card())


@dataclass(frozen=True)
class Still:
    """A picture in a card: a PNG file, and what it shows for those who do not see it."""

    png: bytes
    alt: str


@dataclass(frozen=True)
class Line:
    """A small curve of `y` over its places; `level` is a value to compare with."""

    name: str
    y: Sequence[float | None]
    level: float | None = None


@dataclass(frozen=True)
class Table(Shown):
    """Rows below their headings; a cell is a number, a text or a picture."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Table:
        """Of rows with the same keys; a column in which nothing is known is left out.

        >>> Table.of([{"name": "conv1", "dead_units": 3, "note": None}])
        Table(head=('name', 'dead units'), rows=(('conv1', 3),))
        """
        keys = [key for key in (rows[0] if rows else ()) if any(row[key] not in (None, "") for row in rows)]
        return cls(tuple(spaced(key) for key in keys), tuple(tuple(row[key] for key in keys) for row in rows))

    def card(self) -> Card:
        """The table by itself."""
        return Card("", (self,))


@dataclass(frozen=True)
class Card:
    """What a notebook shows of a value.

    Attributes:
        title: one line above.
        parts: from top to bottom: a text, facts by name, a picture, a curve, a table, or a card inside this one.
        notes: sentences a reader must know.
        line: in small print below: how it was made, and the number that tells whether to believe it.
    """

    title: str
    parts: Sequence[str | Mapping[str, object] | Still | Line | Table | Card] = ()
    notes: Sequence[str] = ()
    line: str = ""


class Listed(list[T], Shown):
    """A list of dataclasses that shows itself as a table, a row each."""

    def card(self) -> Card:
        """The fields of its entries below their names."""
        return Card("", (Table.of([vars(entry) for entry in self]) if self else "none",))


class Named(dict[str, T], Shown):
    """Dataclasses by name that show themselves as a table, a row each."""

    def card(self) -> Card:
        """The fields of its entries below their names."""
        return Listed(self.values()).card()


def card_of(value: Any) -> Card:
    """A dataclass as its fields: numbers and names as they are, arrays by type, shape and range."""
    facts = {spaced(field.name): getattr(value, field.name) for field in fields(value)}
    notes, certificate = facts.pop("notes", ()), facts.pop("certificate", None)
    line = certificate.line() if certificate is not None else ""
    return Card(_title(value), (facts,), notes, line)


def _title(value: object) -> str:
    """The name of its class in words."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(value).__name__)
    return words[:1] + words[1:].lower()


def spaced(name: str) -> str:
    """A name of the code as words.

    >>> spaced("dead_units")
    'dead units'
    """
    return name.replace("_", " ").strip()


def plain(value: Any) -> str:
    """Anything as a few words; "" for what is not known.

    >>> plain(0.123456), plain(-2.0), plain(12345), plain((3, 32, 32)), plain(None), plain(True)
    ('0.1235', '−2', '12,345', '3, 32, 32', '', 'yes')
    """
    text = _words(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _words(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value, 4)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array(value)
    if isinstance(value, Mapping):
        return _listed([f"{spaced(str(key))} {_words(item)}" for key, item in value.items()])
    if isinstance(value, (list, tuple, frozenset, set)):
        return _listed([_words(item) for item in value])
    if is_dataclass(value) and not isinstance(value, type):
        return _words({field.name: getattr(value, field.name) for field in fields(value)})
    text = repr(value)
    return type(value).__name__ if "\n" in text or len(text) > 80 else text


def _array(value: Any) -> str:
    """A few numbers as they are, more of them by type, shape and range."""
    size = "×".join(map(str, value.shape))
    flat = value.reshape(-1)
    if 0 < len(flat) <= _MOST:
        return ", ".join(_words(item) for item in flat.tolist())
    kind = str(value.dtype).removeprefix("torch.")
    return f"{kind} {size}" + (f", {_words(float(flat.min()))} to {_words(float(flat.max()))}" if len(flat) else "")


def _listed(items: list[str]) -> str:
    rest = f" … ({len(items):,})" if len(items) > _MOST else ""
    return ", ".join(items[:_MOST]) + rest


def to_html(card: Card) -> str:
    """The card as HTML; everything in it that is text is escaped."""
    title = f"<strong>{escape(card.title)}</strong>" if card.title else ""
    parts = "".join(_part(part) for part in card.parts)
    notes = "".join(f"<div>{escape(note)}</div>" for note in card.notes)
    line = f'<div style="{_FAINT}">{escape(card.line)}</div>' if card.line else ""
    return f'<div style="margin:0 0 8px;font-variant-numeric:tabular-nums">{title}{parts}{notes}{line}</div>'


def _part(part: str | Mapping[str, object] | Still | Line | Table | Card) -> str:
    if isinstance(part, str):
        return f"<div>{escape(part)}</div>"
    if isinstance(part, Still):
        return f'<div style="{_SCROLLED}">{_image(part)}</div>'
    if isinstance(part, Line):
        return _curve(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Card):
        return f'<div style="margin:8px 0 0">{to_html(part)}</div>'
    return _facts(part)


def _image(still: Still) -> str:
    data = base64.b64encode(still.png).decode()
    style = "image-rendering:pixelated;max-width:none;margin:0;display:block"
    return f'<img src="data:image/png;base64,{data}" alt="{escape(still.alt)}" style="{style}">'


def _facts(facts: Mapping[str, object]) -> str:
    known = {name: text for name, value in facts.items() if (text := plain(value))}
    left = f"{_RULE};text-align:left;vertical-align:top"
    rows = "".join(
        f'<tr><th style="{left};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{left};white-space:pre-line">{escape(text)}</td></tr>'
        for name, text in known.items()
    )
    return f'<table style="border-collapse:collapse;margin:4px 0;font:inherit">{rows}</table>' if known else ""


def _table(table: Table) -> str:
    sides = [_side(column) for column in zip(*table.rows, strict=True)] if table.rows else ["left"] * len(table.head)
    head = "".join(
        f'<th style="{_RULE};font-weight:normal;opacity:.7;white-space:nowrap;text-align:{side}">{escape(name)}</th>'
        for name, side in zip(table.head, sides, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row, sides))}</tr>" for row in table.rows)
    style = "border-collapse:collapse;margin:0;font:inherit"
    return f'<div style="{_SCROLLED};{_LONG}"><table style="{style}"><tr>{head}</tr>{rows}</table></div>'


def _side(column: Sequence[object]) -> str:
    """Numbers stand below each other by their last digit."""
    texts = [plain(cell) for cell in column if not isinstance(cell, Still)]
    known = [text for text in texts if text not in ("", "-")]
    return "right" if known and all(map(_NUMBER.fullmatch, known)) else "left"


def _cell(cell: object, side: str) -> str:
    inside = _image(cell) if isinstance(cell, Still) else escape(plain(cell))
    return f'<td style="{_RULE};text-align:{side}">{inside}</td>'


def _curve(line: Line) -> str:
    """The values from left to right between their least and largest, with the first and the last in numbers."""
    known = [value for value in line.y if value is not None]
    if len(known) < 2:
        return ""
    ends = [*known, *([] if line.level is None else [line.level])]
    low, high = min(ends), max(ends)
    across, upright = _WIDTH / (len(line.y) - 1), (_HEIGHT - 4) / ((high - low) or 1.0)

    def height(value: float) -> str:
        return f"{_HEIGHT - 2 - (value - low) * upright:.1f}"

    points = " ".join(f"{place * across:.1f},{height(y)}" for place, y in enumerate(line.y) if y is not None)
    level = ""
    if line.level is not None:
        level = (
            f'<line x1="0" x2="{_WIDTH}" y1="{height(line.level)}" y2="{height(line.level)}" stroke="currentColor"'
            ' stroke-opacity=".4" stroke-dasharray="4 4"/>'
        )
    name = escape(f"{line.name}: from {plain(known[0])} to {plain(known[-1])}, between {plain(low)} and {plain(high)}")
    drawn = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return (
        f'<div style="margin:4px 0"><svg {size} role="img" aria-label="{name}">{level}{drawn}</svg>'
        f'<div style="{_FAINT}">{name}</div></div>'
    )
