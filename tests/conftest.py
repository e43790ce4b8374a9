"""What holds for all tests: the program speaks English, whatever this machine speaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _english() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LC_ALL", "LC_MESSAGES"):
            patch.delenv(name, raising=False)
        patch.setenv("LANG", "C.UTF-8")
        yield


# Looked through for doctests, it would be imported a second time under the name of its neighbours.
collect_ignore = ["conftest.py"]
