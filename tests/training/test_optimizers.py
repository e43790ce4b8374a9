from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cutaway.training.optimizers import (
    Muon,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    orthogonalise,
)
from cutaway.training.recipe import OPTIMIZERS, Recipe


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, count: int) -> float:
    loss = torch.zeros(())
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number % 3)
        x, y = torch.randn(12, 2, 4, 4, generator=generator), torch.randint(0, 3, (12,), generator=generator)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_one_learns(name: str) -> None:
    model = network()
    optimizer = make_optimizer(model, Recipe(optimizer=name, learning_rate=0.01, weight_decay=1e-4))
    before = steps(model, optimizer, 0, 1)
    assert steps(model, optimizer, 1, 60) < 0.8 * before


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_saved_state_continues_bit_for_bit(name: str, layout: torch.memory_format) -> None:
    recipe = Recipe(optimizer=name, learning_rate=0.01)
    whole = network().to(memory_format=layout)
    optimizer = make_optimizer(whole, recipe)
    steps(whole, optimizer, 0, 3)
    weights = {key: value.clone() for key, value in whole.state_dict().items()}
    saved = {key: value.contiguous().clone() for key, value in optimizer_tensors(optimizer, whole).items()}
    steps(whole, optimizer, 3, 4)

    again = network(seed=9).to(memory_format=layout)
    again.load_state_dict(weights)
    fresh = make_optimizer(again, recipe)
    load_optimizer_tensors(fresh, again, saved)
    steps(again, fresh, 3, 4)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_only_matrices_decay() -> None:
    model = network()
    groups = make_optimizer(model, Recipe(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [
        (0.1, {2, 4}),
        (0.0, {1}),
    ]


def test_frozen_tensors_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, Recipe())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


@pytest.mark.parametrize("shape", [(6, 6), (4, 20), (20, 4)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    scale = max(1, shape[0] / shape[1]) ** 0.5
    values = torch.linalg.svdvals(orthogonalise(matrix)) / scale
    assert values.min() > 0.3  # the quintic iteration stops between about 0.7 and 1.2
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    towards: Tensor = (orthogonalise(matrix) / scale) * (left @ right)
    assert towards.sum() > 0.85 * min(shape)


def test_muon_by_hand_on_a_vector() -> None:
    bias = nn.Parameter(torch.tensor([1.0]))
    bias.grad = torch.tensor([2.0])
    Muon([bias], lr=0.1, momentum=0.5).step()
    # Nesterov: the buffer is 2, the update 2 + 0.5 * 2 = 3.
    assert bias.item() == pytest.approx(1 - 0.1 * 3)
