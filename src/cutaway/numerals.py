"""Numbers as people read them: on pages and pictures, in captions, notebooks and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DASH = "–"  # stands for what was not measured


def number(value: float | None, digits: int = 3) -> str:
    """A value by its first digits, with a true minus sign.

    >>> number(-0.12345), number(0.0), number(1234.5), number(0.12345, 4), number(None)
    ('−0.123', '0', '1230', '0.1235', '–')
    """
    if value is None:
        return DASH
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{float(text):f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def rounded(value: float) -> str:
    """A measurement: two decimals below ten, whole from there on.

    >>> rounded(0.517), rounded(12345.6)
    ('0.52', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.91234), percent(None), percent(0.91234, 2)
    ('91.2%', '–', '91.23%')
    """
    return DASH if share is None else f"{share:.{digits}%}"


def count(value: int | None) -> str:
    """A whole number with its thousands apart.

    >>> count(14777098)
    '14,777,098'
    """
    return DASH if value is None else f"{value:,}".replace("-", "−")


def short_count(value: int) -> str:
    """A large whole number by its first digits: thousands, millions, billions.

    >>> short_count(864), short_count(10_838_016), short_count(4_100_000_000)
    ('864', '10.8 M', '4.1 G')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return str(value)


def in_words(value: Any) -> str:
    """A number, or some of them in a list or by name; anything else as it calls itself.

    >>> in_words([-0.5, 2, 3, 4, 5]), in_words({"mean": 0.25, "of": 3}), in_words("exact")
    ('−0.5 2 3 4 …', 'mean 0.25, of 3', 'exact')
    """
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(in_words, value[:4])) + (" …" if len(value) > 4 else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items())
    return str(value)
