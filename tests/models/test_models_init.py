"""Initialisation against the variances of its definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.models import initialize


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(8, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(256, 128))


def test_xavier_is_uniform_within_its_bound() -> None:
    built = initialize(network(), "xavier", seed=0)
    for layer, fans in ((built[0], (8 * 9, 64 * 9)), (built[3], (256, 128))):
        bound = math.sqrt(6 / sum(fans))
        assert bound * 0.99 < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_kaiming_is_normal_with_two_over_fan_in() -> None:
    built = initialize(network(), "kaiming", seed=0)
    for layer, fan_in in ((built[0], 8 * 9), (built[3], 256)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
        assert layer.weight.abs().max() > 3 * math.sqrt(2 / fan_in)


def test_orthogonal_rows_are_orthogonal() -> None:
    built = initialize(network(), "orthogonal", seed=0)
    for layer in (built[0], built[3]):
        rows = layer.weight.detach().flatten(1)
        assert torch.allclose(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-4)


def test_default_leaves_what_the_constructor_drew() -> None:
    built = network()
    before = [tensor.clone() for tensor in built.parameters()]
    assert initialize(built, "default") is built
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), before, strict=True))


def test_normalisation_and_frozen_layers_stay() -> None:
    built = network()
    built[0].requires_grad_(False)
    before = built[0].weight.clone()
    initialize(built, "kaiming", seed=1)
    assert torch.equal(built[0].weight, before)
    assert torch.equal(built[1].weight, torch.ones(64))


def test_a_seed_and_a_generator_repeat_and_the_global_one_stays() -> None:
    state = torch.get_rng_state()
    seeded = initialize(network(), "xavier", seed=3)[3].weight
    after_building = torch.get_rng_state()
    given = initialize(network(), "xavier", generator=torch.Generator().manual_seed(3))[3].weight
    assert torch.equal(seeded, given)
    assert not torch.equal(seeded, initialize(network(), "xavier", seed=4)[3].weight)
    torch.set_rng_state(state)
    network()
    assert torch.equal(torch.get_rng_state(), after_building)


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(InputError, match="initialisation 'xaver' is not known; the nearest are 'xavier'"):
        initialize(network(), "xaver")
