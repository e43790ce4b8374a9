"""Tables of plain text: columns in line, also for wide (Chinese) letters, and no wider than the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells

from cutaway.plain import one_line

_GAP = "  "


def terminal_width() -> int | None:
    """Columns of the terminal; None where stdout goes to a file or a pipe, which bear lines of any length."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def table(rows: Sequence[Mapping[str, Any]], width: int | None = None, shrink: Sequence[str] = ()) -> str:
    """`rows`, which all have the same keys, as lines under a head; numbers stand to the right.

    Args:
        rows: at least one; the keys are the head.
        width: the longest line wanted, in columns of a terminal.
        shrink: the heads of columns whose words may be shortened for it, in their middle.

    >>> print(table([{"run": "shapes-1", "best": 7}, {"run": "形状-10", "best": None}]))
    run       best
    shapes-1     7
    形状-10
    """
    heads = list(rows[0])
    words = [["" if row[head] is None else one_line(str(row[head])) for head in heads] for row in rows]
    right = [all(_is_number(line[column]) for line in words) for column in range(len(heads))]
    widths = [max(cell_len(line[column]) for line in [heads, *words]) for column in range(len(heads))]
    if width is not None:
        widths = _fitted(widths, width - len(_GAP) * (len(heads) - 1), [heads.index(name) for name in shrink])
    return "\n".join(_line(line, widths, right) for line in [heads, *words])


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` columns, its middle left out.

    >>> shortened("a-long-name-of-a-run-12", 13)
    'a-long…run-12'
    """
    if cell_len(text) <= width:
        return text
    head, tail = (width - 1) - (width - 1) // 2, (width - 1) // 2
    end = chop_cells(text[::-1], tail)[0][::-1] if tail else ""
    return f"{chop_cells(text, max(head, 1))[0]}…{end}"


def _is_number(word: str) -> bool:
    return not word.strip("-–") or word.rstrip("%").replace(",", "").replace(".", "", 1).isdigit()


def _fitted(widths: list[int], room: int, shrink: Sequence[int]) -> list[int]:
    """`widths` with the widest of the columns `shrink` made narrower until all fit into `room`; none gets under 8."""
    fitted = list(widths)
    while sum(fitted) > room and (wide := [column for column in shrink if fitted[column] > 8]):
        fitted[max(wide, key=lambda column: fitted[column])] -= 1
    return fitted


def _line(words: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = []
    for word, width, flush in zip(words, widths, right, strict=True):
        text = shortened(word, width)
        space = " " * (width - cell_len(text))
        cells.append(space + text if flush else text + space)
    return _GAP.join(cells).rstrip()
