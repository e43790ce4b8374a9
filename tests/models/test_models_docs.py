"""docs/models.md is a contract: its table is computed again and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from cutaway.models import SCHEMES, build, model_names
from cutaway.models.resnet import STEMS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_name_stem_and_initialisation_is_on_the_page() -> None:
    for name in (*model_names(), *STEMS, *SCHEMES):
        assert f"`{name}`" in TEXT


def test_the_parameters_in_the_table_are_right() -> None:
    header = re.search(r"\| name \|(.*)\|\n", TEXT)
    assert header is not None
    shapes = [tuple(map(int, cell.strip().split("x"))) for cell in header[1].split("|")]
    rows = dict(re.findall(r"\| `(\w+)` \| ([\d, |]+) \|\n", TEXT))
    assert list(rows) == model_names()
    for name, cells in rows.items():
        for shape, cell in zip(shapes, cells.split(" | "), strict=True):
            with torch.device("meta"):
                network = build(name, classes=10, shape=shape)  # type: ignore[arg-type]  # three numbers
            assert sum(tensor.numel() for tensor in network.parameters()) == int(cell.replace(",", ""))


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python(?: file=(\S+))?\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 4
    for file, code in blocks:
        if file:
            Path(file).write_text(code)
        else:
            exec(compile(code, str(PAGE), "exec"), {})
