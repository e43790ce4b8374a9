"""A scan finds what a double loop over images and places finds, whatever its batches, and leaves the network alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import capture
from cutaway.lenses.exemplars import Scan, Tables
from cutaway.lenses.exemplars import scan as scan_module
from cutaway.lenses.exemplars.tables import Table

Entry = tuple[float, int, int]


def network() -> nn.Module:
    """Maps of 6x6 and 3x3; whole weights, so that whole images give many ties."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3, padding=1), nn.ReLU()
    )
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randint(-1, 2, value.shape).float())
        net[0].weight[3].zero_()  # a dead unit
        net[0].bias[3] = -1
    return net


def pictures(count: int, seed: int = 1) -> Tensor:
    return torch.randint(0, 3, (count, 2, 6, 6), generator=torch.Generator().manual_seed(seed)).float()


LAYERS = ["0", "1", "3"]


def brute(maps: Tensor, k: int, ids: Sequence[int]) -> dict[str, list[list[Entry]]]:
    """Best, spots and least of each channel of maps (N, C, H, W) by two loops and Python's sort."""
    found: dict[str, list[list[Entry]]] = {"best": [], "spots": [], "least": []}
    for channel in range(maps.shape[1]):
        places = [
            (value, image, place)
            for image, one in zip(ids, maps[:, channel], strict=True)
            for place, value in enumerate(one.flatten().tolist())
        ]
        places.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
        peaks = [next(entry for entry in places if entry[1] == image) for image in ids]
        found["spots"].append(places[:k])
        found["best"].append(sorted(peaks, key=lambda entry: (-entry[0], entry[1]))[:k])
        found["least"].append(sorted(peaks, key=lambda entry: (entry[0], entry[1]))[:k])
    return found


def read(table: Table, sign: float = 1.0) -> list[list[Entry]]:
    lists = [value.tolist() for value in (table.scores, table.images, table.places)]
    return [
        [(sign * score, image, place) for score, image, place in zip(*rows, strict=True) if image >= 0]
        for rows in zip(*lists, strict=True)
    ]


def check(tables: dict[str, Tables], maps: dict[str, Tensor], k: int, ids: Sequence[int]) -> None:
    for layer, found in tables.items():
        expected = brute(maps[layer], k, ids)
        assert read(found.best) == expected["best"], layer
        assert read(found.spots) == expected["spots"], layer
        assert read(found.least, -1.0) == expected["least"], layer


def run(
    net: nn.Module, images: Tensor, ids: Tensor, k: int, batch: int, known: dict[str, Tables] | None = None
) -> dict[str, Tables]:
    scan = Scan(net, LAYERS, k, known)
    for start in range(0, len(images), batch):
        scan.add(images[start : start + batch], ids[start : start + batch])
    return scan.tables()


@pytest.mark.parametrize(("k", "batch"), [(1, 40), (3, 1), (4, 7), (9, 16), (60, 8)])
def test_a_scan_equals_a_double_loop(k: int, batch: int) -> None:
    net, images = network(), pictures(40)
    tables = run(net, images, torch.arange(40), k, batch)
    assert list(tables) == LAYERS
    check(tables, capture(net, images, LAYERS), k, range(40))


@pytest.fixture(params=[False, True])
def denormals(request: pytest.FixtureRequest) -> Iterator[None]:
    """With and without the tiniest floats, which a training switches off."""
    torch.set_flush_denormal(request.param)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("denormals")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_parts_that_know_of_each_other_merge_to_the_whole(order: tuple[int, ...]) -> None:
    """The bars of images scanned before leave out only what they beat, ties included, in any order of the parts."""
    net, images, ids = network(), pictures(60), torch.arange(60)
    pilot_ids = torch.tensor([3, 17, 20, 29, 41, 55])
    rest = ids[~torch.isin(ids, pilot_ids)].split(18)
    known = whole = run(net, images[pilot_ids], pilot_ids, 3, 4)
    for part in order:
        found = run(net, images[rest[part]], rest[part], 3, 5, known)
        whole = {layer: tables.merge(found[layer]) for layer, tables in whole.items()}
        known = {layer: tables.merge(found[layer]) for layer, tables in known.items()}
    check(whole, capture(net, images, LAYERS), 3, range(60))


def test_only_the_pilot_fills_the_sample() -> None:
    net, images = network(), pictures(12)
    pilot = run(net, images[:5], torch.arange(5), 2, 2)
    maps = capture(net, images[:5], LAYERS)
    for layer, tables in pilot.items():
        assert tables.sample.images.tolist() == [0, 1, 2, 3, 4]
        assert torch.equal(tables.sample.scores, maps[layer].amax((2, 3)))
        assert torch.equal(tables.sample.places, maps[layer].flatten(2).argmax(2))
    later = run(net, images[5:], torch.arange(5, 12), 2, 3, pilot)
    assert all(not len(tables.sample.images) for tables in later.values())


def test_channels_last_gives_the_same() -> None:
    net, images = network(), pictures(20)
    one = run(net, images, torch.arange(20), 3, 8)
    other = run(net, images.contiguous(memory_format=torch.channels_last), torch.arange(20), 3, 8)
    for layer in LAYERS:
        assert all(torch.equal(one[layer].arrays()[name], value) for name, value in other[layer].arrays().items())


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image beats all before: the worst case, in which everything is a candidate."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False))
    nn.init.ones_(net[0].weight)
    most = 0
    real = scan_module._Collector._wait

    def wait(self: scan_module._Collector, given: scan_module.Entries) -> None:
        nonlocal most
        real(self, given)
        most = max(most, self.count)

    monkeypatch.setattr(scan_module._Collector, "_wait", wait)
    scan = Scan(net, ["0"], 2)
    for start in range(0, 400, 4):
        scan.add(torch.arange(start, start + 4.0).view(4, 1, 1, 1).expand(-1, -1, 2, 2), torch.arange(start, start + 4))
    assert most <= scan_module._ROOM * 2 * 3 + 4 * 3 * 2
    assert scan.tables()["0"].best.images.tolist() == [[399, 398]] * 3
    assert scan.tables()["0"].least.images.tolist() == [[0, 1]] * 3


def test_a_dead_unit_takes_the_first_images() -> None:
    tables = run(network(), pictures(30), torch.arange(30), 4, 8)["1"]
    for table in (tables.best, tables.least):
        assert table.scores[3].tolist() == [0.0] * 4
        assert table.images[3].tolist() == [0, 1, 2, 3]
        assert table.places[3].tolist() == [0] * 4
    assert tables.spots.images[3].tolist() == [0] * 4
    assert tables.spots.places[3].tolist() == [0, 1, 2, 3]


def test_values_that_are_not_finite_name_layer_and_image() -> None:
    images = pictures(6)
    images[4, 0, 2, 2] = torch.nan
    with pytest.raises(InputError, match=r"layer '0' returns values that are not finite for image 104 of the split"):
        Scan(network(), LAYERS, 2).add(images, torch.arange(100, 106))


def test_vectors_and_tokens_have_places_too() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(2, 3)
            self.head = nn.Linear(3, 4)

        def forward(self, images: Tensor) -> Tensor:
            mixed: Tensor = self.mix(images.flatten(2).transpose(1, 2))
            out: Tensor = self.head(mixed.mean(1))
            return out

    torch.manual_seed(0)
    net, images = Tokens(), pictures(10)
    scan = Scan(net, ["mix", "head"], 2)
    scan.add(images, torch.arange(10))
    maps = capture(net, images, ["mix", "head"])
    shaped = {"mix": maps["mix"].transpose(1, 2)[..., None], "head": maps["head"][:, :, None, None]}
    check(scan.tables(), shaped, 2, range(10))


def test_a_layer_without_channels_is_named() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten()

    with pytest.raises(InputError, match=r"layer '0' returns \(720,\); exemplars need maps"):
        Scan(nn.Sequential(Flat()), ["0"], 2).add(pictures(10), torch.arange(10))


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    net.train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = pictures(4)
    if fails:
        images[0] = torch.inf
        with pytest.raises(InputError):
            Scan(net, ["0", "2"], 2).add(images, torch.arange(4))
    else:
        Scan(net, ["0", "2"], 2).add(images, torch.arange(4))
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.requires_grad and value.grad is None for value in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
