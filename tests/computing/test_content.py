"""The key of a tensor's content: any change changes it, nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.computing.content import content

SHAPES = [(1,), (3, 5), (7, 3, 3, 3), (64, 300, 3, 3), (16384 * 2,), (16384 * 2 + 1,), (33000, 2)]
KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def made(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    torch.manual_seed(0)
    return (torch.randn(shape) * 4).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", KINDS)
def test_one_changed_bit_is_seen(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    value = made(shape, dtype)
    before = content({"a": value})
    assert content({"a": value.clone()}) == before
    raw = value.flatten().view(torch.uint8)
    for place in np.linspace(0, len(raw) - 1, 7).astype(int):
        raw[place] ^= 1
        assert content({"a": value}) != before
        raw[place] ^= 1
    assert content({"a": value}) == before


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_values_that_change_places_are_seen(seed: int) -> None:
    value, chance = made((40, 90, 3, 3), torch.float32), np.random.default_rng(seed)
    a, b = chance.choice(40, 2, replace=False)
    before = content({"a": value})
    value.data[[a, b]] = value.data[[b, a]]
    assert content({"a": value}) != before


def test_by_a_slow_obvious_version() -> None:
    from cutaway.computing.content import _odd_numbers

    value = made((16384 + 100,), torch.float64)
    words, numbers = value.numpy().view(np.uint64).tolist(), _odd_numbers().tolist()
    expected = [
        sum(word * number for word, number in zip(words[start : start + 16384], numbers, strict=False)) % 2**64
        for start in (0, 16384)
    ]
    [(*_, sums)] = content({"a": value})
    assert np.frombuffer(sums, np.uint64).tolist() == expected


def test_layout_name_shape_and_type_count() -> None:
    value = made((4, 3, 2, 2), torch.float32)
    keys = {
        content({"a": value}),
        content({"b": value}),
        content({"a": value.flatten()}),
        content({"a": value.view(torch.int32)}),
        content({"a": value.to(memory_format=torch.channels_last)}),
        content({"a": value.expand(4, 3, 2, 2), "b": value}),
        content({}),
    }
    assert len(keys) == 7


def test_views_and_strides_of_any_kind() -> None:
    base = made((6, 10), torch.float32)
    for view in (base[:, ::2], base.T, base[3:], base[:1].expand(4, 10), torch.empty(0), torch.tensor(1.0)):
        assert content({"a": view}) == content({"a": view.detach()})
    seen = base[:, ::2]
    before = content({"a": seen})
    base[0, 1] += 1
    assert content({"a": seen}) == before
    base[0, 2] += 1
    assert content({"a": seen}) != before
