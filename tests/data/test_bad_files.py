"""Every kind of bad file: named with its reason, within bounds of memory and time, and none ends the others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_kinds import CONTENTS, HEAVY, KINDS, PLACES, may_decode, put_all, seen_as
from odd_files import noise, packed

from cutaway.care import audit
from cutaway.care.findings import find
from cutaway.data import Undecodable, decode, load_data
from cutaway.data.decode import glimpse, probe

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # the decoder decides on what Pillow warns of
QUICK = [name for name in CONTENTS if name not in HEAVY]
SECONDS = 20  # of which a sound machine needs one


def test_there_are_at_least_200_kinds() -> None:
    assert sum(not may_decode(name) for name in KINDS) >= 200
    assert set(KINDS) >= HEAVY


def refusal(way: Callable[[], object]) -> str:
    """The reason why there are no pixels; "" where there are."""
    try:
        way()
    except Undecodable as error:
        return str(error) or "no reason"
    return ""


def name_it(name: str) -> None:
    """Decode a kind in every way, each time to pixels or a reason; what cannot be an image has to have a reason."""
    content, start, decoded = CONTENTS[name](), time.monotonic(), 0
    ways: list[Callable[[], object]] = [
        lambda: decode(content, size=8),
        lambda: decode(content, most=10_000_000),
    ]
    for way in ways:
        reason = refusal(way)
        assert 5 < len(reason) < 150 or not reason
        assert "\n" not in reason
        decoded += not reason
    with contextlib.suppress(Undecodable):  # a header may be sound where the pixels are not
        assert probe(content).width > 0
    glimpse(content, 16)
    assert not decoded or may_decode(name)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("name", QUICK)
def test_each_is_named_with_a_reason(name: str) -> None:
    name_it(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HEAVY & set(CONTENTS)))
def test_the_heavy_ones_too(name: str) -> None:
    name_it(name)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twelve images, and all quick kinds among the first."""
    for label, name in enumerate("ab"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            content = packed(noise(seed=100 * label + number), "PNG")
            (tmp_path / "photos" / name / f"good-{number}.png").write_bytes(content)
    kinds = {name: put for name, put in KINDS.items() if name not in HEAVY}
    put_all(tmp_path / "photos" / "a", kinds)
    return tmp_path / "photos"


def test_none_ends_an_audit_and_each_is_in_its_list(photos: Path) -> None:
    found = audit(photos)
    bad = {item.file: item.reason for item in found.data.quarantine}
    for name in KINDS:
        if name not in HEAVY and not (may_decode(name) and f"a/{seen_as(name)}" in found.names):
            assert bad[f"a/{seen_as(name)}"], name
    assert {one.rule for one in find(found)} >= {"bad"}
    good = [name for name in found.names if "/good-" in name]
    assert len(good) == 24


def test_what_is_no_file_is_told_as_such(photos: Path) -> None:
    found = {item.file[2:]: item.reason for item in load_data(photos, max_bad=1.0).quarantine}
    assert found["pipe.png"] == found["socket.png"] == found["link-to-pipe.png"] == "not a regular file"
    assert found["sparse-20-gb.png"] == "20,000 MB, more than the 256 MB that are read"
    assert found["link-to-itself.png"] == found["links-in-a-circle.png"] == "a link that leads to itself"
    assert found["line\\nbreak.png"] == "its name holds a line break or another control character; rename it"
    assert found["not-utf8-\\udce9\\udcff.png"] == "its name is not valid UTF-8; rename it"
    assert set(map(seen_as, PLACES)) - HEAVY <= set(found)
