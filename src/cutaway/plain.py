"""Text from outside (addresses, forms, records, file names): numbers in it, names, what a terminal may get of it."""

from __future__ import annotations

import re
from pathlib import Path

_NAME_BYTES = 255  # the most that file systems take
# Control characters, which a terminal obeys; marks that reorder a line; halves of characters, which no encoding has.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def whole(text: str, least: int, most: int) -> int | None:
    """The whole number from `least` to `most` (at most 15 digits) that `text` is; None if it is none.

    >>> whole("07", 1, 12), whole("13", 1, 12), whole("²", 1, 12), whole("1e1", 1, 12)
    (7, None, None, None)
    """
    number = int(text) if re.fullmatch("-?[0-9]{1,15}", text) else None
    return number if number is not None and least <= number <= most else None


def is_name(text: str) -> bool:
    """Whether a file or folder can be called so: one part of a path, not too long.

    >>> [is_name(text) for text in ("a#b", "..", "a/b", "a" * 256)]
    [True, False, False, False]
    """
    fits = len(text.encode("utf-8", "surrogatepass")) <= _NAME_BYTES
    return fits and "\0" not in text and text not in ("", "..") and Path(text).name == text


def visible(text: str) -> str:
    r"""`text` with what a terminal would obey, or not show where it stands, written as a code; lines and tabs stay.

    >>> visible("a\x1b[2Jb")
    'a\\u001b[2Jb'
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The same, where a line's end would make a second line of it."""
    return re.sub(r"[\n\t]", lambda found: f"\\u{ord(found[0]):04x}", visible(text))


def short(text: str, most: int = 80) -> str:
    """The beginning of a text that may be of any length.

    >>> short("a" * 100, 5)
    'aaaa…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
