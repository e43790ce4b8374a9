from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.files import cache_folder
from cutaway.training.precision import Plan, choose_device, choose_plan, fixed_plan, remembered_plan


def test_an_absent_device_is_named_with_those_that_are_here() -> None:
    assert choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"device 'tpu' is not here; this machine has: .*cpu"):
        choose_device("tpu")


def test_a_precision_that_is_asked_for_fixes_the_plan() -> None:
    assert fixed_plan("cpu", "fp32") == Plan("cpu", reason="asked for")
    assert fixed_plan("cpu", "bf16").describe() == "cpu, bf16, channels last, tiny maps as matrix products"
    assert not fixed_plan("cuda", "bf16").matrices


def test_computing_sets_and_clears_autocast() -> None:
    layer = nn.Linear(4, 4)
    with Plan("cpu", bf16=True).computing():
        assert layer(torch.zeros(1, 4)).dtype == torch.bfloat16
    assert layer(torch.zeros(1, 4)).dtype == torch.float32


def test_every_plan_computes_the_same_within_its_precision() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, 4, 3, padding=1))
    images = torch.randn(4, 16, 4, 4)
    expected = network(images)
    for bf16 in (False, True):
        for channels_last in (False, True):
            for matrices in (False, True):
                plan = Plan("cpu", bf16, channels_last, matrices)
                plan.place(network)
                with plan.computing(), torch.no_grad():
                    found = network(images.contiguous(memory_format=plan.memory_format)).float()
                torch.testing.assert_close(found, expected, rtol=0, atol=0.03 if bf16 else 1e-5)


def test_the_fastest_is_taken_and_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Linear(3, 2)
    layouts: list[Plan] = []

    def slow_unless_plain(plan: Plan, *rest: object, **more: object) -> float:
        return 0.01 if not plan.bf16 and not plan.channels_last else 0.5

    monkeypatch.setattr("cutaway.training.precision._time_steps", slow_unless_plain)
    monkeypatch.setattr("cutaway.training.precision.bf16_share", lambda device: 0.4)
    chosen = choose_plan("cpu", lambda: network(torch.ones(1, 3)).sum(), network, layouts.append)
    assert (chosen.bf16, chosen.channels_last, chosen.matrices) == (False, False, False)
    assert chosen.reason.startswith(
        "10 ms a step against cpu, bf16, channels last, tiny maps as matrix products 500 ms"
    )
    assert len(layouts) == 4


def test_bfloat16_that_is_imitated_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Plan] = []
    monkeypatch.setattr("cutaway.training.precision._time_steps", lambda plan, *rest, **more: 0.1)
    monkeypatch.setattr("cutaway.training.precision.bf16_share", lambda device: 12.0)
    choose_plan("cpu", lambda: torch.zeros(()), nn.Linear(3, 2), tried.append)
    assert [plan.bf16 for plan in tried] == [False, False]


def test_probing_leaves_no_gradient() -> None:
    network = nn.Linear(3, 2)

    def loss() -> Tensor:
        return network(torch.ones(1, 3)).float().sum()

    choose_plan("cpu", loss, network, lambda plan: None)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_measured_plan_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path))
    asked = []

    def measure() -> Plan:
        asked.append(1)
        return Plan("cpu", bf16=len(asked) == 1, reason="measured")

    first = remembered_plan("network a", measure)
    assert remembered_plan("network a", measure) == first
    assert remembered_plan("network b", measure) != first
    assert len(asked) == 2
    memory = cache_folder() / "plans.json"
    assert len(json.loads(memory.read_text())) == 2
    memory.write_text("{ damaged")
    remembered_plan("network a", measure)
    assert len(asked) == 3
