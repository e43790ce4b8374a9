"""Whether a JSON value is of the kind that a record says: every value, and one sentence about the first that is not."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_SHOWN = 40
Check = Callable[[Any], None]


@dataclass(frozen=True)
class Range:
    """The least and the largest that a number may be."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


CLOSED = "no other keys"
"""Beside a TypedDict in `Annotated`: what it does not know is refused."""


class Wrong(ValueError):  # noqa: N818  # it reads as what it says
    """A value that is not what it should be: where it stands, what was expected and what was found."""

    def __init__(self, told: str, place: str = "") -> None:
        super().__init__(told)
        self.told, self.place = told, place

    def below(self, key: str) -> Wrong:
        """The same, seen from what holds the value. The place is put together on the way out, when it is wanted."""
        self.place = f"{key}{'' if self.place.startswith('[') or not self.place else '.'}{self.place}"
        return self

    def __str__(self) -> str:
        return f"{self.place}: {self.told}" if self.place else self.told


def check(value: Any, kind: Any, place: str = "") -> None:
    """Hold a JSON value against a type: a TypedDict, a list, a dict, a union, a literal or a plain type.

    A float takes a whole number, an int no bool; no number is infinite. Keys that a TypedDict does not know are no
    concern of its, unless it stands beside `CLOSED` in `Annotated`.

    >>> check({"epoch": "3"}, dict[str, int], "run.json")
    Traceback (most recent call last):
    ...
    cutaway.runs.checked.Wrong: run.json.epoch: expected a whole number, found '3'

    Raises:
        Wrong: at the first place that does not fit.
    """
    try:
        checker(kind)(value)
    except Wrong as wrong:
        raise (wrong.below(place) if place else wrong) from None


@cache
def checker(kind: Any) -> Check:
    """What `check` does for a type, made once."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: None
    if origin in (NotRequired, Required):
        return checker(parts[0])
    if origin is Annotated:
        return _closed(parts[0]) if parts[1] is CLOSED else _ranged(checker(parts[0]), parts[1])
    if origin is Literal:
        return _literal(parts)
    if origin in (Union, types.UnionType):
        choices = [checker(part) for part in parts if part is not type(None)]
        inner = choices[0] if len(choices) == 1 else _either(choices)
        return _maybe(inner) if type(None) in parts else inner
    if is_typeddict(kind):
        return _record(kind)
    if origin is list:
        return _list(checker(parts[0]))
    if origin is dict:
        return _mapping(checker(parts[1]))
    return _PLAIN[kind]


def _number(value: Any) -> None:
    if type(value) not in (int, float) or not -_MOST <= value <= _MOST:
        raise Wrong(f"expected a number, found {shown(value)}")


def _whole(value: Any) -> None:
    if type(value) is not int:
        raise Wrong(f"expected a whole number, found {shown(value)}")


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise Wrong(f"expected a text, found {shown(value)}")


def _truth(value: Any) -> None:
    if type(value) is not bool:
        raise Wrong(f"expected true or false, found {shown(value)}")


def _nothing(value: Any) -> None:
    if value is not None:
        raise Wrong(f"expected null, found {shown(value)}")


_MOST = sys.float_info.max
_PLAIN: dict[Any, Check] = {int: _whole, float: _number, str: _text, bool: _truth, type(None): _nothing}


def _literal(parts: tuple[Any, ...]) -> Check:
    allowed = {(type(part), part) for part in parts}  # by kind too, because to Python 1 is True

    def look(value: Any) -> None:
        if not isinstance(value, str | int | float | bool) or (type(value), value) not in allowed:
            raise Wrong(f"expected {' or '.join(map(shown, parts))}, found {shown(value)}")

    return look


def _ranged(inner: Check, allowed: Range) -> Check:
    low, high = allowed.low, allowed.high

    def look(value: Any) -> None:
        inner(value)
        if not low <= value <= high:
            raise Wrong(f"expected {allowed}, found {shown(value)}")

    return look


def _maybe(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def _either(choices: list[Check]) -> Check:
    def look(value: Any) -> None:
        first: Wrong | None = None
        for choice in choices:
            try:
                choice(value)
                return
            except Wrong as wrong:
                first = first or wrong
        if first is not None:
            raise first

    return look


def _list(inner: Check) -> Check:
    def look(value: Any) -> None:
        if type(value) is not list:
            raise Wrong(f"expected a list, found {shown(value)}")
        for index, one in enumerate(value):
            try:
                inner(one)
            except Wrong as wrong:
                raise wrong.below(f"[{index}]") from None

    return look


def _mapping(inner: Check) -> Check:
    def look(value: Any) -> None:
        if type(value) is not dict:
            raise Wrong(f"expected an object, found {shown(value)}")
        for key, one in value.items():
            try:
                inner(one)
            except Wrong as wrong:
                raise wrong.below(key) from None

    return look


def _record(kind: Any) -> Check:
    # From the hints: with postponed annotations, `__required_keys__` does not know what is not required.
    hints = get_type_hints(kind, include_extras=True)
    whole = kind.__total__
    parts = [(key, checker(hint), whole and get_origin(hint) is not NotRequired) for key, hint in hints.items()]

    def look(value: Any) -> None:
        if type(value) is not dict:
            raise Wrong(f"expected an object, found {shown(value)}")
        for key, inner, needed in parts:
            if key in value:
                try:
                    inner(value[key])
                except Wrong as wrong:
                    raise wrong.below(key) from None
            elif needed:
                raise Wrong(f"'{key}' is missing")

    return look


def _closed(kind: Any) -> Check:
    inner, known = _record(kind), set(get_type_hints(kind))

    def look(value: Any) -> None:
        inner(value)
        if more := sorted(value.keys() - known):
            raise Wrong(f"'{more[0]}' is none of {', '.join(sorted(known))}")

    return look


def shown(value: Any) -> str:
    """A JSON value in a few words.

    >>> shown([1, 2]), shown({"a": 1}), shown("x" * 50)[:12], shown(None)
    ('a list', 'an object', "'xxxxxxxxxxx", 'null')
    """
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = {None: "null", True: "true", False: "false"}.get(value) if type(value) in (bool, type(None)) else repr(value)
    return str(text) if len(str(text)) <= _SHOWN else f"{str(text)[:_SHOWN]}..."
