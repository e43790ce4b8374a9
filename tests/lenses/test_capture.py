import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import call_name, capture, observe
from cutaway.restoring import untouched


class Residual(nn.Module):
    """As in torchvision: one in-place ReLU used twice, and an addition in place."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        out += identity
        return self.relu(out)


class Recorder(nn.Module):
    """Wraps a layer and keeps a copy of what it returned: the slow, obvious truth."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.returned: list[Tensor] = []

    def forward(self, *args: Any) -> Any:
        output = self.layer(*args)
        self.returned.append(output.clone())
        return output


def residual_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Residual(), Residual(), nn.Flatten(), nn.Linear(2 * 16, 3))


IMAGES = torch.linspace(-1, 1, 2 * 2 * 16).reshape(2, 2, 4, 4)


def test_constants_by_hand() -> None:
    conv = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.ones_(conv.weight)
    network = nn.Sequential(conv, nn.ReLU(inplace=True))
    image = -torch.arange(16.0).reshape(1, 1, 4, 4)
    found = capture(network, image)
    # 3x3 windows of 0 .. 15: the sum is nine times the middle, 5 6 9 10.
    assert found["0"].flatten().tolist() == [-45.0, -54.0, -81.0, -90.0]
    assert found["1"].flatten().tolist() == [0.0] * 4


@pytest.mark.parametrize("layer", ["0.conv1", "0.bn1", "0.conv2", "1.conv1", "1.bn1", "1.conv2"])
def test_what_a_layer_returned_and_not_what_later_operations_made_of_it(layer: str) -> None:
    network = residual_network().eval()
    parent, name = network.get_submodule(layer.rsplit(".", 1)[0]), layer.rsplit(".", 1)[1]
    recorder = Recorder(getattr(parent, name))
    setattr(parent, name, recorder)
    with torch.no_grad():
        network(IMAGES)
    setattr(parent, name, recorder.layer)
    assert torch.equal(capture(network, IMAGES, [layer])[layer], recorder.returned[0])


def test_each_call_of_a_reused_module_has_its_name() -> None:
    network = residual_network().eval()
    found = capture(network, IMAGES)
    expected = ["conv1", "bn1", "relu", "conv2", "relu#1"]
    assert list(found) == [f"0.{name}" for name in expected] + [f"1.{name}" for name in expected] + ["2", "3"]
    block = network[0]
    with torch.no_grad():
        first = F.relu(block.bn1(block.conv1(IMAGES)))
        second = F.relu(block.conv2(first) + IMAGES)
    assert torch.equal(found["0.relu"], first)
    assert torch.equal(found["0.relu#1"], second)
    assert torch.equal(capture(network, IMAGES, ["0"])["0"], second)
    assert call_name("a", 2) == "a#2"


def test_inputs_before_a_layer_changes_them_in_place() -> None:
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    found = capture(network, IMAGES, ["1"], inputs=True)
    assert torch.equal(found["1"], IMAGES)


def test_the_images_themselves_stay_as_they_are() -> None:
    images = IMAGES.clone()
    capture(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True)), images)
    assert torch.equal(images, IMAGES)


class Explosive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("reached")


def test_stops_at_the_deepest_layer_asked_for() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), Explosive())
    assert set(capture(network, IMAGES, ["1", "0"])) == {"0", "1"}
    assert set(capture(network, IMAGES, ["2"], inputs=True)) == {"2"}
    with pytest.raises(RuntimeError, match="reached"):
        capture(network, IMAGES)


def test_a_network_that_catches_exceptions_cannot_swallow_the_stop() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ReLU()
            self.after = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.inner(x)
            except Exception:
                pytest.fail("the network saw the stop")
            return self.after(x)

    assert list(capture(Stubborn(), IMAGES, ["inner"])) == ["inner"]


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.named = Pair(), Named()
        self.lonely = Lonely()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.pair(x)
        return a + self.named(b)["boxes"] + self.lonely(x)[0]


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"boxes": x * 2, "scores": [x * 3], "count": 7}


class Lonely(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 5, None


def test_tuples_and_dicts() -> None:
    found = capture(Parts(), IMAGES)
    assert list(found) == ["pair[0]", "pair[1]", "named[boxes]", "named[scores.0]", "lonely"]
    assert torch.equal(found["named[scores.0]"], (IMAGES + 2) * 3)
    assert list(capture(Parts(), IMAGES, ["pair"])) == ["pair[0]", "pair[1]"]
    assert list(capture(Parts(), IMAGES, ["pair[1]"])) == ["pair[1]"]


def test_unknown_and_unreached_layers_say_so() -> None:
    network = residual_network()
    with pytest.raises(InputError, match=r"layer '0.conv3' is not in Sequential; the nearest are '0.conv"):
        capture(network, IMAGES, ["0.conv3"])
    with pytest.raises(InputError, match=r"layer '0.relu#2' was not reached.*called 2 times"):
        capture(network, IMAGES, ["0.relu#2"])

    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(InputError, match=r"layer 'auxiliary' was not reached.*not called"):
        capture(Training(), IMAGES, ["auxiliary"])


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 3, 8, 8)]
)
def test_images_of_the_wrong_kind(bad: Tensor) -> None:
    with pytest.raises(InputError, match=r"images must be a float tensor \(N, C, H, W\).*found"):
        capture(nn.ReLU(), bad)


def test_grad_mode_is_the_callers() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    assert capture(network, IMAGES)["0"].requires_grad
    with torch.no_grad():
        assert not capture(network, IMAGES)["0"].requires_grad
    with torch.inference_mode():
        assert capture(network, IMAGES)["0"].shape == (2, 2, 4, 4)
    network.requires_grad_(False)
    assert capture(network, IMAGES)["0"].shape == (2, 2, 4, 4)


def test_half_precision_networks_get_their_dtype() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1)).to(torch.bfloat16)
    assert capture(network, IMAGES)["0"].dtype == torch.bfloat16


def test_shared_and_parametrized_modules() -> None:
    shared = nn.ReLU()
    network = nn.Sequential(shared, nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)), shared)
    assert list(capture(network, IMAGES)) == ["0", "1", "0#1"]
    assert list(capture(network, IMAGES, ["2"])) == ["2"]


class Messy(nn.Module):
    """Changes everything a forward pass may change, and raises at a chosen point."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.fails_at = fails_at
        self.conv = nn.Conv2d(2, 2, 1)
        self.bn = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        for step, action in enumerate(self._actions()):
            if step == self.fails_at:
                raise RuntimeError("on purpose")
            x = action(x)
        return x

    def _actions(self) -> list[Callable[[Tensor], Tensor]]:
        def note(x: Tensor) -> Tensor:
            self.count += 1
            self.replaced = self.replaced + 1
            self.bn.running_mean.fill_(7)
            return x + torch.randn_like(x) + random.random() + float(np.random.rand())

        return [self.conv, note, lambda x: self.bn.train()(x), lambda x: self.drop.train()(x)]


def state_of(network: nn.Module) -> dict[str, Any]:
    parameters = list(network.parameters())
    legacy = np.random.get_state()
    return {
        "flags": [module.training for module in network.modules()],
        "buffers": {name: (id(value), value.clone()) for name, value in network.named_buffers()},
        "weights": {name: value.detach().clone() for name, value in network.named_parameters()},
        "requires_grad": [value.requires_grad for value in parameters],
        "gradients": [
            None if value.grad is None else (id(value.grad), value.grad.clone()) for value in network.parameters()
        ],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "random": (random.getstate(), str(legacy), torch.get_rng_state().tolist()),
    }


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, (list, tuple)):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    elif isinstance(before, Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after


@settings(max_examples=25, deadline=None)
@given(
    fails_at=st.integers(0, 5),
    flags=st.lists(st.booleans(), min_size=4, max_size=4),
    frozen=st.booleans(),
    inputs=st.booleans(),
)
def test_nothing_is_left_behind_wherever_the_forward_pass_fails(
    fails_at: int, flags: list[bool], frozen: bool, inputs: bool
) -> None:
    network = Messy(fails_at)
    for module, flag in zip(network.modules(), flags, strict=True):
        module.training = flag
    network.conv.weight.requires_grad_(not frozen)
    network.conv.bias.grad = torch.ones(2)  # type: ignore[union-attr]  # this one has a bias
    before = state_of(network)
    with pytest.raises(RuntimeError, match="on purpose") if fails_at < 4 else nullcontext():
        capture(network, IMAGES, inputs=inputs)
    assert_same(before, state_of(network))


def test_nothing_is_left_behind_when_the_visitor_fails() -> None:
    network = residual_network().train()
    network[1].eval()
    before = state_of(network)

    def visit(name: str, value: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(network, IMAGES, None, visit)
    assert_same(before, state_of(network))


def test_untouched_puts_back_what_its_block_changes() -> None:
    network = residual_network()
    before = state_of(network)
    with untouched(network):
        network.eval()
        network.requires_grad_(False)
        network[0].bn1.running_var.zero_()
        network[3].weight.grad = torch.ones(3, 32)
        torch.rand(3)
    assert_same(before, state_of(network))


def test_a_batch_is_as_good_as_its_images_one_by_one() -> None:
    network = residual_network()
    together = capture(network, IMAGES)
    for index in range(len(IMAGES)):
        alone = capture(network, IMAGES[index : index + 1])
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][index])


def test_a_graph_recorded_by_capture_can_still_go_backward() -> None:
    network = residual_network()
    found = capture(network, IMAGES, ["1"])["1"]
    (gradient,) = torch.autograd.grad(found.sum(), [network[0].conv1.weight])
    assert gradient.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*deprecated")
def test_scripted_networks_are_put_back_too() -> None:
    network = torch.jit.script(nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with untouched(network):
        network.train()(IMAGES)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
