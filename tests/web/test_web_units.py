"""What a unit's page says before anything was made of the unit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cutaway.lenses.architecture import Row
from cutaway.web import unit_pages


@pytest.mark.parametrize(("sides", "field"), [((3, 5), (3, 5)), ((None, None), None), ((3, None), None)])
def test_what_a_place_sees_is_only_said_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, sides: tuple[int | None, int | None], field: tuple[int, int] | None
) -> None:
    row = Row("conv", "Conv2d", None, (1, 4, 6, 7), None, 0, False, 0, 1, sides, (None, None))
    subject = SimpleNamespace(atlas=lambda: None, layer=lambda name: row)
    monkeypatch.setattr(unit_pages.seeing, "has_kernels", lambda subject, layer: False)
    found = unit_pages._unit(subject, "conv", 2)  # type: ignore[arg-type]  # a stand-in without a server
    assert (found.field, found.map_size, found.channels, found.best) == (field, (6, 7), 4, ())
