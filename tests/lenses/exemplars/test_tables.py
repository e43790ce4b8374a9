"""Tables: the k first in one total order, however they are merged."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.lenses.exemplars import Sample, Table, Tables
from cutaway.lenses.exemplars.tables import Entries, top

Row = tuple[int, float, int, int]


def entries(rows: list[Row]) -> Entries:
    channels, scores, images, places = ([row[column] for row in rows] for column in range(4))
    integers = [torch.tensor(values, dtype=torch.int64) for values in (channels, images, places)]
    return Entries(integers[0], torch.tensor(scores, dtype=torch.float32), integers[1], integers[2])


def by_hand(rows: list[Row], channels: int, k: int) -> list[list[tuple[float, int, int]]]:
    """Each channel's entries by the definition: higher score, then lower image, then lower place."""
    every = [[row[1:] for row in rows if row[0] == channel] for channel in range(channels)]
    return [sorted(mine, key=lambda entry: (-entry[0], entry[1], entry[2]))[:k] for mine in every]


def read(table: Table) -> list[list[tuple[float, int, int]]]:
    lists = [value.tolist() for value in (table.scores, table.images, table.places)]
    return [[entry for entry in zip(*rows, strict=True) if entry[1] >= 0] for rows in zip(*lists, strict=True)]


def same(one: Table | Sample, other: Table | Sample) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("scores", "images", "places"))


# Few values, so that ties are the rule.
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([-1.5, -0.0, 0.0, 0.5, 2.0]), st.integers(0, 6), st.integers(0, 4)),
    max_size=40,
    unique_by=lambda row: (row[0], row[2], row[3]),
)


@given(rows=ROWS, k=st.integers(1, 6))
def test_a_table_holds_the_first_of_any_entries(rows: list[Row], k: int) -> None:
    assert read(Table.of(3, k, entries(rows))) == by_hand(rows, 3, k)


@given(rows=ROWS, k=st.integers(1, 6), cuts=st.tuples(st.integers(0, 40), st.integers(0, 40)))
@settings(max_examples=60)
def test_merging_is_associative_and_commutative(rows: list[Row], k: int, cuts: tuple[int, int]) -> None:
    low, high = sorted(cuts)
    parts = [Table.of(3, k, entries(part)) for part in (rows[:low], rows[low:high], rows[high:])]
    whole = Table.of(3, k, entries(rows))
    for one, two, three in permutations(parts):
        assert same(one.merge(two).merge(three), whole)
        assert same(one.merge(two.merge(three)), whole)


def test_an_empty_table_changes_nothing() -> None:
    table = Table.of(2, 3, entries([(0, 1.0, 5, 2), (1, -4.0, 1, 0)]))
    assert same(table.merge(Table.empty(2, 3)), table)
    assert same(Table.empty(2, 3).merge(table), table)


@given(
    st.lists(
        st.lists(st.sampled_from([-2.0, -0.0, 0.0, 2.0**-120, 3.5, -torch.inf]), min_size=5, max_size=5), min_size=1
    )
)
def test_top_takes_the_first_of_equal_scores(rows: list[list[float]]) -> None:
    scores, at = top(torch.tensor(rows), 3)
    for row, found, places in zip(rows, scores.tolist(), at.tolist(), strict=True):
        order = sorted(range(5), key=lambda place: (-row[place], place))[:3]
        assert places == order
        assert found == [row[place] for place in order]


def sample(images: list[int], scores: list[list[float]]) -> Sample:
    values = torch.tensor(scores)
    return Sample(torch.tensor(images), values, torch.arange(values.numel()).view_as(values))


def test_samples_come_out_by_image() -> None:
    parts = [sample([7, 2], [[1.0], [2.0]]), sample([5], [[3.0]]), sample([0], [[4.0]])]
    for order in permutations(parts):
        joined = reduce(lambda one, two: Sample.of([one, two]), order)
        assert joined.images.tolist() == [0, 2, 5, 7]
        assert joined.scores.flatten().tolist() == [4.0, 2.0, 3.0, 1.0]


def test_quantiles_are_the_nearest_ranks() -> None:
    """Of the scores 0 .. 10 the nine deciles are 1 .. 9; a tie goes by image."""
    rising = sample(list(range(11)), [[float(10 - image), 0.0] for image in range(11)])
    table = rising.quantiles((0.9, 0.5, 0.1))
    assert table.scores.tolist() == [[9.0, 5.0, 1.0], [0.0, 0.0, 0.0]]
    assert table.images.tolist() == [[1, 5, 9], [9, 5, 1]]
    assert table.places.tolist()[0] == [2, 10, 18]


def test_quantiles_of_no_images_are_empty() -> None:
    assert Sample.empty(2).quantiles((0.5,)).images.tolist() == [[-1], [-1]]


@pytest.mark.parametrize("k", [1, 4])
def test_tables_go_through_arrays(k: int) -> None:
    def table(value: float) -> Table:
        return Table.of(2, k, entries([(0, value, 3, 1), (1, -value, 2, 0)]))

    tables = Tables(table(1.0), table(2.0), table(3.0), sample([1], [[0.5, 0.25]]))
    arrays: dict[str, Tensor] = tables.arrays()
    assert set(arrays) >= {"best.scores", "spots.images", "least.places", "sample.scores"}
    back = Tables.from_arrays(arrays)
    assert all(torch.equal(value, back.arrays()[name]) for name, value in arrays.items())
