"""Every test of the data room has a cache of its own, and finds no data set on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.data import sources


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CUTAWAY_CACHE", str(folder))
    monkeypatch.delenv("CUTAWAY_CACHE_LIMIT_GB", raising=False)
    monkeypatch.setattr(sources, "SYSTEM", (folder / "no-system-copies",))
    return folder
