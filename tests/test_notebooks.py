"""The notebooks are what their sources say, teach before they compute, and run."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 4_000_000  # of all that a notebook shows


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text("utf-8"))["cells"])


def code(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_there_is_one_for_each_experiment() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_what_its_source_says(path: Path) -> None:
    source = FOLDER / "source" / f"{path.stem}.py"
    assert path.read_text("utf-8") == make().notebook(source.read_text("utf-8")), "run `python notebooks/make.py`"


def test_cells_by_hand() -> None:
    made = json.loads(make().notebook("# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\n\ny = 2\n"))
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "code"]
    assert [code(cell) for cell in made["cells"]] == ["# Title\n\ntext", "x = 1\n\n\ny = 2"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_teaches(path: Path) -> None:
    texts = [code(cell) for cell in cells(path) if cell["cell_type"] == "markdown"]
    assert "To run it in full" in texts[0]
    assert sum("*What misleads:*" in text for text in texts) >= 4
    assert all("?" in text or "**" in text for text in texts)
    assert all(not cell["outputs"] for cell in cells(path) if cell["cell_type"] == "code")
    for target in re.findall(r"\]\(([^)#]+)", "".join(texts)):
        assert (FOLDER / target).exists(), target


def shown(text: str, names: dict[str, Any]) -> str:
    """Run a cell; what a notebook would show of the value at its end."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return ""
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return str(value._repr_html_()) if hasattr(value, "_repr_html_") else repr(value) if value is not None else ""


# The first one trains VGG-16 twice, which takes minutes on a processor.
RUNS = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem[0] == "1")) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", RUNS)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {"__name__": "__main__"}
    pages = [shown(code(cell), names) for cell in cells(path) if cell["cell_type"] == "code"]
    assert sum("<img" in page for page in pages) >= 3
    assert "<script" not in "".join(pages)
    assert sum(map(len, pages)) < MOST_BYTES
