import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.activations import activation_statistics, feature_maps


class Functional(nn.Module):
    """A residual block that calls its activations as functions, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 1)
        self.conv2 = nn.Conv2d(2, 2, 1)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.conv1(x), inplace=True)
        out = self.conv2(first).relu_() + first
        return self.gelu(torch.relu(out))


def one_to_two(weights: list[float], biases: list[float]) -> nn.Conv2d:
    conv = nn.Conv2d(1, 2, 1)
    conv.weight.data[:, 0, 0, 0] = torch.tensor(weights)
    conv.bias.data[:] = torch.tensor(biases)  # type: ignore[union-attr]  # this one has a bias
    return conv


def test_constants_by_hand() -> None:
    network = nn.Sequential(one_to_two([1.0, 0.0], [0.0, -1.0]), nn.ReLU(inplace=True))
    batches = [torch.tensor([-2.0, 0.0, 3.0, 1.0]).reshape(1, 1, 2, 2), torch.full((1, 1, 2, 2), 6.0)]
    found = activation_statistics(network, iter(batches))["1"]
    # Channel 0 becomes 0 0 3 1 and 6 6 6 6, channel 1 is always -1 before the ReLU.
    assert (found.layer, found.source) == ("1", "0")
    assert found.dead_channels == (1,)
    assert found.channels == 2
    assert found.dead_fraction == 0.5
    assert found.zero_fraction == pytest.approx(10 / 16)
    assert found.mean == pytest.approx(28 / 16)
    assert found.max == 6.0


def test_the_same_as_all_images_at_once_and_counted_in_loops() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU6())
    images = torch.randn(7, 3, 9, 9)
    found = activation_statistics(network, [images[:3], images[3:4], images[4:]])
    for layer, module in (("2", 3), ("4", 5)):
        with torch.no_grad():
            output = network.eval()[:module](images)
        zeros = sum(1 for value in output.flatten().tolist() if value == 0)
        assert found[layer].zero_fraction == pytest.approx(zeros / output.numel())
        assert found[layer].mean == pytest.approx(float(output.mean()), rel=1e-5)
        assert found[layer].max == pytest.approx(float(output.max()))
        dead = [channel for channel in range(output.shape[1]) if not output[:, channel].any()]
        assert list(found[layer].dead_channels) == dead
    assert (found["2"].source, found["4"].source) == ("0", "3")


def test_functions_count_once_each_with_the_module_that_called_them() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Functional())
    found = activation_statistics(network, [torch.randn(2, 1, 3, 3)])
    assert list(found) == ["0.relu()", "0.relu()#1", "0.relu()#2", "0.gelu"]
    assert [row.source for row in found.values()] == ["0.conv1", "0.conv2", "0.conv2", "0.conv2"]


def test_a_reused_module_counts_for_each_call() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
            self.bn2 = nn.BatchNorm2d(1)
            self.down = nn.Conv2d(1, 1, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            out = self.bn2(self.conv2(self.relu(self.conv1(x))))
            out += self.down(x)
            return self.relu(out)

    found = activation_statistics(nn.Sequential(Block()), [torch.randn(2, 1, 3, 3)])
    assert {name: row.source for name, row in found.items()} == {"0.relu": "0.conv1", "0.relu#1": "0.conv2"}


def test_a_convolution_with_modules_of_its_own_is_still_the_source() -> None:
    class Padded(nn.Conv2d):
        """As TensorFlow pads."""

        def __init__(self) -> None:
            super().__init__(1, 2, 2)
            self.pad = nn.ZeroPad2d((0, 1, 0, 1))

        def forward(self, input: Tensor) -> Tensor:
            return super().forward(self.pad(input))

    network = nn.Sequential(nn.Conv2d(1, 1, 1), Padded(), nn.BatchNorm2d(2), nn.ReLU6())
    (found,) = activation_statistics(network, [torch.randn(2, 1, 4, 4)]).values()
    assert (found.layer, found.source) == ("3", "1")


def test_channels_last_after_linear_layers() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.Linear(4, 3), nn.ReLU())
    network[1].weight.data.zero_()
    network[1].bias.data = torch.tensor([1.0, -1.0, 2.0])
    found = activation_statistics(network, [torch.randn(2, 5, 2, 2)])["2"]
    assert (found.channels, found.dead_channels) == (3, (1,))


def test_no_activation_and_no_batch() -> None:
    assert activation_statistics(nn.Sequential(nn.Conv2d(1, 1, 1)), [torch.zeros(1, 1, 2, 2)]) == {}
    assert activation_statistics(nn.Sequential(nn.ReLU()), []) == {}


def test_statistics_leave_the_network_alone_when_it_fails() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("on purpose")

    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), Broken()).train()
    with pytest.raises(RuntimeError, match="on purpose"):
        activation_statistics(network, [torch.zeros(1, 1, 2, 2)])
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_feature_maps_are_maps() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3))
    images = torch.randn(2, 1, 2, 2)
    found = feature_maps(network, images)
    assert list(found) == ["0", "1"]
    assert not found["0"].requires_grad
    with torch.no_grad():
        assert torch.equal(found["0"], network[0](images))
    assert list(feature_maps(network, images, ["1"])) == ["1"]
    with pytest.raises(InputError, match=r"layer '3' returns a tensor \(2, 3\) and no maps"):
        feature_maps(network, images, ["3"])
