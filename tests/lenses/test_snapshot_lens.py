import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses import capture, choose_channels, gradients, kernels, take_snapshot

IMAGES, LABELS = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2])


def small() -> nn.Sequential:
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)]
    convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Conv2d(6, 12, 3, 2), *head)


def test_holds_what_the_lenses_say() -> None:
    network = small()
    found = take_snapshot(network, IMAGES, LABELS)
    names = ["maps/0", "channels/0", "maps/2", "channels/2", "maps/4", "channels/4", "kernels/0", "gradients/0"]
    assert list(found) == names
    for layer in ("0", "2", "4"):
        truth = capture(network, IMAGES, [layer])[layer].detach()
        torch.testing.assert_close(found[f"maps/{layer}"].float(), truth, rtol=1e-3, atol=1e-3)
    assert torch.equal(found["kernels/0"], kernels(network, "0"))
    assert torch.equal(found["gradients/0"], gradients(network, IMAGES, LABELS, ["0"])["0"])
    assert found["maps/0"].dtype == torch.float16
    assert all(value.is_contiguous() and value.device.type == "cpu" for value in found.values())


def test_the_last_layer_of_each_size() -> None:
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)), nn.Flatten(), nn.Linear(64, 3))
    found = take_snapshot(network, IMAGES, LABELS)
    assert [name for name in found if name.startswith("maps/")] == ["maps/0", "maps/2"]


def test_layers_that_only_training_uses_are_left_out() -> None:
    class WithHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.auxiliary = small(), nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.body(x)
            return logits

    assert not any("auxiliary" in name for name in take_snapshot(WithHead(), IMAGES, LABELS))


def test_chosen_layers_and_the_budget() -> None:
    found = take_snapshot(small(), IMAGES, LABELS, ["3", "4"], max_channels=5, max_bytes=4 * 3 * 64 * 2)
    assert found["maps/3"].shape == (3, 2, 8, 8)
    assert found["maps/4"].shape == (3, 5, 3, 3)
    truth = capture(small(), IMAGES, ["3"])["3"].detach()[:, found["channels/3"]]
    torch.testing.assert_close(found["maps/3"].float(), truth, rtol=1e-3, atol=1e-3)
    tiny = take_snapshot(small(), IMAGES, LABELS, max_bytes=1)
    assert tiny["maps/0"].shape[1] == 1


def test_the_choice_is_the_same_every_epoch_and_leaves_the_random_state() -> None:
    state = torch.get_rng_state()
    first = choose_channels("layer1.conv1", 100, 10)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, choose_channels("layer1.conv1", 100, 10))
    assert first.tolist() == sorted(set(first.tolist()))
    assert not torch.equal(first, choose_channels("layer1.conv2", 100, 10))


def test_values_beyond_half_precision_stay_finite() -> None:
    network = small()
    network[0].weight.data *= 1e8
    assert take_snapshot(network, IMAGES, LABELS)["maps/0"].isfinite().all()


def test_a_network_without_convolutions() -> None:
    with pytest.raises(InputError, match="has no 2-D convolution"):
        take_snapshot(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), IMAGES, LABELS)
