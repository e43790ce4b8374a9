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


# Looked through for doctests, those of different folders would be imported under the same name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]
