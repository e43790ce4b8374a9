"""Whether a JSON value is of the kind that a record says: every value, and one sentence about the first that is not."""

from __future__ import annotations

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
Check = Callable[[Any, str], None]


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
    """A value that is not what it should be: its place, what was expected and what was found."""


def check(value: Any, kind: Any, place: str = "") -> None:
    """Hold a JSON value against a type: a TypedDict, a list, a dict, a union, a literal or a plain type.

    A float takes a whole number, an int no bool. Keys that a TypedDict does not know are no concern of its.

    >>> check({"epoch": "3"}, dict[str, int], "run.json")
    Traceback (most recent call last):
    ...
    cutaway.runs.checked.Wrong: run.json.epoch: expected a whole number, found '3'

    Raises:
        Wrong: at the first place that does not fit.
    """
    checker(kind)(value, place)


@cache
def checker(kind: Any) -> Check:
    """What `check` does for a type, made once."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, place: None
    if origin in (NotRequired, Required):
        return checker(parts[0])
    if origin is Annotated:
        return _closed(parts[0]) if parts[1] is CLOSED else _ranged(checker(parts[0]), parts[1])
    if origin is Literal:
        # By kind too, because to Python 1 is True.
        return _expected(
            " or ".join(map(shown, parts)),
            lambda value: any(value == part and type(value) is type(part) for part in parts),
        )
    if origin in (Union, types.UnionType):
        return _either([checker(part) for part in parts])
    if is_typeddict(kind):
        return _record(kind)
    if origin is list:
        return _list(checker(parts[0]))
    if origin is dict:
        return _mapping(checker(parts[1]))
    return _expected(*_PLAIN[kind])


_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float)),
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: type(value) is bool),
    type(None): ("null", lambda value: value is None),
}


def _expected(words: str, right: Callable[[Any], bool]) -> Check:
    def look(value: Any, place: str) -> None:
        if not right(value):
            raise Wrong(f"{place}: expected {words}, found {shown(value)}")

    return look


def _ranged(inner: Check, allowed: Range) -> Check:
    def look(value: Any, place: str) -> None:
        inner(value, place)
        if not allowed.low <= value <= allowed.high:
            raise Wrong(f"{place}: expected {allowed}, found {shown(value)}")

    return look


def _either(choices: list[Check]) -> Check:
    def look(value: Any, place: str) -> None:
        first: Wrong | None = None
        for choice in choices:
            try:
                choice(value, place)
                return
            except Wrong as wrong:
                first = first or wrong
        if first is not None:
            raise first

    return look


def _list(inner: Check) -> Check:
    def look(value: Any, place: str) -> None:
        if type(value) is not list:
            raise Wrong(f"{place}: expected a list, found {shown(value)}")
        for index, one in enumerate(value):
            inner(one, f"{place}[{index}]")

    return look


def _mapping(inner: Check) -> Check:
    def look(value: Any, place: str) -> None:
        if type(value) is not dict:
            raise Wrong(f"{place}: expected an object, found {shown(value)}")
        for key, one in value.items():
            inner(one, f"{place}.{key}")

    return look


def _record(kind: Any) -> Check:
    # From the hints: with postponed annotations, `__required_keys__` does not know what is not required.
    hints = get_type_hints(kind, include_extras=True)
    parts = {key: checker(hint) for key, hint in hints.items()}
    needed = {key for key, hint in hints.items() if get_origin(hint) is not NotRequired}

    def look(value: Any, place: str) -> None:
        if type(value) is not dict:
            raise Wrong(f"{place}: expected an object, found {shown(value)}")
        for key, inner in parts.items():
            if key in value:
                inner(value[key], f"{place}.{key}" if place else key)
            elif key in needed:
                raise Wrong(f"{place}: '{key}' is missing" if place else f"'{key}' is missing")

    return look


def _closed(kind: Any) -> Check:
    inner, known = _record(kind), set(get_type_hints(kind))

    def look(value: Any, place: str) -> None:
        inner(value, place)
        if more := sorted(value.keys() - known):
            raise Wrong(f"{place}: '{more[0]}' is none of {', '.join(sorted(known))}")

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
