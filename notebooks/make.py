"""The notebooks, made from their readable sources: `python notebooks/make.py`.

A source is a Python file in cells: `# %% [markdown]` begins a text, whose lines are comments, and `# %%` begins code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_TEXT = "# %% [markdown]"
_ABOUT = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebook(source: str) -> str:
    """The notebook of a source, as the text of an .ipynb file without outputs."""
    parts = [part for part in ("\n" + source).split("\n# %%") if part.strip()]
    cells = [_cell(f"# %%{part}", f"cell-{number}") for number, part in enumerate(parts, start=1)]
    whole = {"cells": cells, "metadata": _ABOUT, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(part: str, name: str) -> dict[str, Any]:
    head, _, body = part.partition("\n")
    lines = body.strip("\n").splitlines(keepends=True)
    if head == _TEXT:
        return {
            "cell_type": "markdown",
            "id": name,
            "metadata": {},
            "source": [line.removeprefix("#").removeprefix(" ") for line in lines],
        }
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": lines,
    }


def main() -> None:
    """Write every notebook."""
    for source in sorted((FOLDER / "source").glob("*.py")):
        made = FOLDER / f"{source.stem}.ipynb"
        made.write_text(notebook(source.read_text(encoding="utf-8")), encoding="utf-8")
        print(made)


if __name__ == "__main__":
    main()
