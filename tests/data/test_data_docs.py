"""The page about data is a contract: everything is on it, and its Python runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cutaway.data import Augmentation, load_data
from cutaway.data.augment import FLIPS
from cutaway.data.cost import MAX_PIXELS, MEMORY, MOST_BYTES
from cutaway.data.pixels import ORDINARY
from cutaway.data.shapes import CLASSES, SIZES
from cutaway.data.sources import BUILT_IN

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "word",
    [
        *(f"`{name}`" for name in (*BUILT_IN, *FLIPS, *inspect.signature(Augmentation).parameters)),
        *CLASSES,
        *(f"{count:,}" for count in SIZES.values()),
        f"{MAX_PIXELS:,}",
        f"{MOST_BYTES / 1e6:.0f} MB a file",
        f"{MEMORY / 1e6:.0f} MB to decode",
        f"{ORDINARY:,}",
        "CUTAWAY_CACHE",
        "CUTAWAY_CACHE_LIMIT_GB",
        "dataset-fashion-mnist",
    ],
)
def test_the_page_names(word: str) -> None:
    assert word in PAGE


@pytest.mark.parametrize("option", inspect.signature(load_data).parameters)
def test_every_option_is_in_the_docstring_and_most_on_the_page(option: str) -> None:
    assert f"{option}:" in (load_data.__doc__ or "")
    if option not in ("source", "download", "progress"):
        assert re.search(rf"--{option.replace('_', '-')}|`{option}=?`", PAGE)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_its_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/data.md", "exec"), {})
