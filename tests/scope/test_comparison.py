"""`compare`: one pass through either network, and every number from its definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from cutaway.data import Dataset, Split
from cutaway.data.stores import ArrayImages
from cutaway.errors import InputError
from cutaway.lenses.activations import activation_statistics
from cutaway.lenses.similarity import similarity
from cutaway.models import Preprocessing
from cutaway.scope import Scope
from cutaway.scope.comparison import Comparison, compare
from cutaway.scope.sides import drawn

CLASSES = ("cat", "dog", "owl")
INPUT = Preprocessing((1, 10, 10), (0.4,), (0.3,))


def dataset(count: int = 40) -> Dataset:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 1, 10, 10), dtype=np.uint8)
    splits = {
        name: Split(name, ArrayImages(pixels), random.integers(0, 3, count).astype(np.int64))
        for name in ("train", "test")
    }
    return Dataset("toy", "toy", CLASSES, splits, (), (), 0, {})


def network(seed: int, width: int = 4, classes: int = 3, channels: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    found = nn.Sequential(
        nn.Conv2d(channels, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 5, 3),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, classes),
    )
    # Random features alone give every image nearly the same answer.
    found[-1].weight.data *= 20
    return found


def scope(seed: int, **options: int) -> Scope:
    return Scope(network(seed, **options), classes=CLASSES, preprocessing=INPUT)


@pytest.fixture(scope="module")
def found() -> tuple[Scope, Scope, Comparison]:
    a, b = scope(0), scope(1, width=6)
    return a, b, compare(a, b, dataset(), batch=10, seed=3)


def inputs(order: Tensor) -> Tensor:
    return INPUT(torch.from_numpy(dataset().splits["test"].images[order.numpy()]))


def test_every_number_is_that_of_its_lens(found: tuple[Scope, Scope, Comparison]) -> None:
    a, b, result = found
    assert result.agreement is not None
    order = result.agreement.positions
    images = inputs(order)
    pairs = [(part, part) for part in images.split(10)]
    assert torch.allclose(result.cka, similarity(a.network, b.network, pairs).cka, atol=1e-6)
    for own, activity in zip((a, b), result.activity, strict=True):
        expected = activation_statistics(own.network, images.split(10))
        assert list(activity) == ["2", "4"]
        assert activity["2"].zero_fraction == pytest.approx(expected["2"].zero_fraction, abs=1e-3)
        assert activity["4"].dead_channels == expected["4"].dead_channels
    labels = torch.from_numpy(dataset().splits["test"].labels)[order]
    for own, gradients in zip((a, b), result.gradients, strict=True):
        own.network.eval()
        loss = F.cross_entropy(own.network(images), labels)
        (expected_gradient,) = torch.autograd.grad(loss, [own.network[3].weight])
        assert gradients["3"].norm == pytest.approx(float(expected_gradient.norm()), rel=1e-4)


def test_predictions_are_those_of_each_network(found: tuple[Scope, Scope, Comparison]) -> None:
    a, b, result = found
    said = result.agreement
    assert said is not None
    assert sorted(said.positions.tolist()) == list(range(40))
    with torch.no_grad():
        for own, predicted, sure in (
            (a, said.predicted_a, said.probability_a),
            (b, said.predicted_b, said.probability_b),
        ):
            shares = own.network.eval()(inputs(said.positions)).softmax(1)
            assert torch.equal(predicted, shares.argmax(1))
            assert torch.allclose(sure, shares.amax(1), atol=1e-5)
    differ = said.disagreeing
    assert len(differ)
    assert torch.equal(differ.sort().values, torch.nonzero(said.predicted_a != said.predicted_b).flatten())
    shown = torch.from_numpy(dataset().splits["test"].images[said.positions[differ[:24]].numpy()])
    assert torch.equal(result.views.pixels, shown)


def test_each_network_runs_once_a_batch() -> None:
    calls = [0, 0]
    scopes = [scope(0), scope(1)]
    compare(*scopes, dataset(), batch=10, images=39)
    for index, own in enumerate(scopes):
        own.network.register_forward_pre_hook(lambda *_, i=index: calls.__setitem__(i, calls[i] + 1))
    compare(*scopes, dataset(), batch=10, images=39)
    # Four batches; the gradients take the same four; and one image and one batch for the pictures.
    assert calls == [10, 10]


def test_a_network_with_itself() -> None:
    own = scope(0)
    result = compare(own, own, dataset(), batch=20)
    assert torch.allclose(result.cka.diagonal(), torch.ones(3, dtype=torch.float64))
    assert result.certificate.check["self_similarity_gap"] < 1e-6
    assert result.agreement is not None
    assert result.agreement.share == 1
    assert "disagreements" not in result.pictures()
    assert [pair.same_place for pair in result.matchings] == [1, 1, 1]
    assert [pair.mean for pair in result.matchings] == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_units_of_a_network_in_another_order_are_found() -> None:
    first, second = network(0), network(0)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for module, names in ((second[0], ("weight", "bias")), (second[1], ("weight", "bias"))):
            for name in names:
                getattr(module, name).copy_(getattr(module, name)[order])
        second[3].weight.copy_(second[3].weight[:, order])
    a, b = (Scope(one, classes=CLASSES, preprocessing=INPUT) for one in (first, second))
    result = compare(a, b, dataset(), batch=20)
    assert order[result.matchings[0].partner].tolist() == [0, 1, 2, 3]
    assert torch.allclose(result.cka.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-5)


def test_same_seed_same_result_and_other_images_with_another() -> None:
    first, again, other = (compare(scope(0), scope(1), dataset(), images=20, batch=10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.cka, again.cka)
    assert not torch.equal(first.cka, other.cka)
    assert first.certificate.as_dict() == again.certificate.as_dict()


def test_networks_of_different_input_and_kind() -> None:
    large = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    wide = Scope(large, classes=CLASSES, preprocessing=Preprocessing((3, 24, 20), (0.5,) * 3, (0.2,) * 3))
    result = compare(scope(0), wide, dataset(), batch=20)
    assert (result.layers_a, result.layers_b) == (("0", "3", "7"), ("0", "4"))
    # Layer 0 is a convolution in both; 4 is a sigmoid in one and a linear layer in the other.
    assert [(pair.layer_a, pair.layer_b) for pair in result.matchings] == [("0", "0")]
    assert result.matchings[0].correlation.shape == (4, 8)


def test_chosen_layers_and_pairs() -> None:
    result = compare(scope(0), scope(1), dataset(), layers=["2", "4"], pairs=[("2", "4")], batch=20)
    assert (result.layers_a, result.layers_b) == (("2", "4"), ("2", "4"))
    assert [(pair.layer_a, pair.layer_b) for pair in result.matchings] == [("2", "4")]
    assert result.gradients == ({}, {})


def test_saved_and_read_again(found: tuple[Scope, Scope, Comparison], tmp_path: Path) -> None:
    result = found[2]
    names = [path.name for path in result.save(tmp_path)]
    assert names[0] == "similarity.png"
    assert {"disagreements.png", "maps.png", "kernels.png", "gradients.png", "certificate.json"} < set(names)
    arrays = load_file(tmp_path / "arrays.safetensors")
    assert torch.equal(arrays["cka"], result.cka)
    assert arrays["correlation 0=0"].shape == (4, 6)
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["method"] == "CKA"
    assert certificate["parameters"]["images"] == 40
    assert certificate["parameters"]["split"] == "test"
    assert certificate["weights"] != certificate["parameters"]["weights_b"]
    json.dumps(result.figures(), allow_nan=False)


def test_one_row_a_layer(found: tuple[Scope, Scope, Comparison]) -> None:
    result = found[2]
    for side, cka in ((0, result.cka), (1, result.cka.T)):
        rows = result.layer_rows(side)
        assert [row["layer"] for row in rows] == ["0", "3", "7"]
        for row, values in zip(rows, cka, strict=True):
            assert row["cka"] == pytest.approx(max(values.tolist()))
        assert rows[0]["channels"] == (4, 6)[side]
        assert rows[2]["dead"] is None


def test_maps_of_both_are_on_one_scale(found: tuple[Scope, Scope, Comparison]) -> None:
    result = found[2]
    assert result.views.maps is not None
    largest = max(float(value.abs().max()) for value in result.views.maps)
    scale = result.pictures()["maps"].scale
    assert scale is not None
    assert scale.high == pytest.approx(largest, rel=0.2)


def test_classes_that_are_not_those_of_the_data() -> None:
    others = [Scope(network(seed), classes=("a", "b", "c"), preprocessing=INPUT) for seed in (0, 1)]
    result = compare(*others, dataset(), batch=20)
    assert result.agreement is not None
    assert result.agreement.accuracies is None
    assert result.gradients == ({}, {})
    assert "not those of the data" in result.certificate.notes[0]
    result = compare(others[0], scope(1), dataset(), batch=20)
    assert result.agreement is None
    assert "not tell the same classes apart" in result.certificate.notes[0]
    result.pictures()


def test_the_networks_are_untouched() -> None:
    scopes = [scope(0), scope(1)]
    for own in scopes:
        own.network.train()
        own.network[0].weight.requires_grad_(False)
    before = [{name: value.clone() for name, value in own.network.state_dict().items()} for own in scopes]
    compare(*scopes, dataset(), batch=20)
    for own, state in zip(scopes, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in own.network.state_dict().items())
        assert all(module.training for module in own.network.modules())
        assert not own.network[0].weight.requires_grad
        assert all(weight.grad is None for weight in own.network.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in own.network.modules())


def test_memory_that_runs_out_halves_the_batch() -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(0)

        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 12:
                raise torch.OutOfMemoryError("out of memory")
            return self.inner(images)

    own = Scope(Hungry(), classes=CLASSES, preprocessing=INPUT)
    result = compare(own, own, dataset(), batch=40)
    assert result.certificate.parameters["batch"] == 10
    assert [note.split(":")[0] for note in result.certificate.notes] == [
        "not enough memory for batches of 40",
        "not enough memory for batches of 20",
    ]


def test_mistakes_are_sentences() -> None:
    a, b = scope(0), scope(1)
    with pytest.raises(InputError, match="split 'val' is not in toy; the nearest are"):
        compare(a, b, dataset(), split="val")
    with pytest.raises(InputError, match="layer '33' is not in Sequential nor in Sequential; the nearest are '3'"):
        compare(a, b, dataset(), layers=["33"])
    with pytest.raises(InputError, match="at least 4 images; found 3"):
        compare(a, b, dataset(), images=3)
    with pytest.raises(InputError, match="batch is 2"):
        compare(a, b, dataset(), batch=2)
    with pytest.raises(InputError, match="does not say how its input is standardised"):
        compare(a, network(1), dataset())
    named = nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3)), nn.Flatten())
    with pytest.raises(InputError, match=r"none of the layers 0\.0 is in Sequential"):
        compare(a, Scope(named, preprocessing=INPUT), dataset(), layers=["0.0"])
    maps = Scope(nn.Sequential(nn.Conv2d(1, 3, 3)), preprocessing=INPUT)
    with pytest.raises(InputError, match=r"returns \(40, 3, 8, 8\), expected logits"):
        compare(a, maps, dataset())


def test_images_are_drawn_once_each_in_batches_of_nearly_equal_size() -> None:
    for size, images, batch in ((40, None, 7), (100, 33, 8), (13, None, 4), (9, 100, 128)):
        chunks = drawn(size, images, batch, 0)
        lengths = [len(chunk) for chunk in chunks]
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) >= 4
        assert sum(lengths) == min(size, images or size) == len(set(np.concatenate(chunks).tolist()))
