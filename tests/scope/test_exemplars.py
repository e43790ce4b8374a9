"""Exemplars of a whole split: the same bits for any number of processes and after any stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutaway.data import Dataset, Split
from cutaway.data.stores import ArrayImages
from cutaway.errors import InputError
from cutaway.lenses.capture import capture
from cutaway.lenses.exemplars import Replay
from cutaway.models import Preprocessing
from cutaway.scope import Scope, exemplar_chunks, exemplar_workers
from cutaway.scope.exemplar_chunks import Manifest, Scanner, Store
from cutaway.scope.exemplar_result import LEVELS, plain_layers
from cutaway.scope.exemplars import Exemplars, exemplars, parse_unit


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot of 24 images and chunks of 16, so that a small split has several."""
    monkeypatch.setattr(exemplar_chunks, "SAMPLE", 24)
    monkeypatch.setattr(exemplar_chunks, "_LEAST", 16)


def pixels(count: int, channels: int = 3, size: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def split(images: np.ndarray, name: str = "train") -> Split:
    return Split(name, ArrayImages(images), np.arange(len(images)) % 2)


def dataset(train: np.ndarray) -> Dataset:
    parts = {"train": split(train), "test": split(train[:5], "test")}
    return Dataset("pets", "pets", ("cat", "dog"), parts, (), (), 0, {})


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(16, 20, 3, padding=1)
    )


def scope(net: nn.Module | None = None, shape: tuple[int, int, int] = (3, 12, 12)) -> Scope:
    count = shape[0]
    known = Preprocessing(shape, (0.5,) * count, (0.25,) * count)
    return Scope(net or network(count), classes=["cat", "dog"], preprocessing=known)


def assert_same(one: Exemplars, other: Exemplars) -> None:
    expected = other.arrays()
    for name, value in one.arrays().items():
        assert torch.equal(value, expected[name]), name


def test_it_is_what_a_look_at_all_maps_finds() -> None:
    images = pixels(100)
    found = scope().exemplars(dataset(images), k=5, processes=1)
    values = scope().inputs(torch.from_numpy(images)).values
    with torch.no_grad():
        maps = capture(network(), values, ["0", "3"])
    assert list(found.layers) == ["0", "3"]
    for layer, one in found.layers.items():
        peaks = maps[layer].amax((2, 3))
        order = peaks.argsort(dim=0, descending=True, stable=True)
        assert torch.equal(one.best.images, order[:5].T)
        assert torch.equal(one.least.images, peaks.argsort(dim=0, stable=True)[:5].T)
        assert torch.allclose(one.best.scores, peaks.gather(0, order)[:5].T, atol=1e-5)
        every = maps[layer].transpose(0, 1).flatten(1).topk(5).values
        assert torch.allclose(one.spots.scores, every, atol=1e-5)
        rows, columns = one.best.places.unbind(2)
        channels = torch.arange(len(rows))[:, None]
        assert torch.allclose(maps[layer][one.best.images, channels, rows, columns], one.best.scores, atol=1e-5)
        sample = torch.from_numpy(Manifest.of(100).sample)
        ranks = [round(level * 23) for level in LEVELS]
        assert torch.allclose(one.quantiles.scores, peaks[sample].sort(0).values[ranks].T, atol=1e-5)


def test_any_number_of_processes_gives_the_same_bits(tmp_path: Path) -> None:
    data = dataset(pixels(150))
    results = []
    for processes in (1, 2, 4):
        found = scope().exemplars(data, processes=processes, folder=tmp_path / str(processes))
        assert found.certificate.check["replay_gap"] < 1e-6
        found.save(tmp_path / f"saved {processes}")
        results.append(found)
        files = [*(tmp_path / str(processes)).rglob("*.safetensors")]
        assert [path.name for path in files] == ["all.safetensors"]
    whole = [next((tmp_path / str(count)).rglob("all.safetensors")).read_bytes() for count in (1, 2, 4)]
    saved = [(tmp_path / f"saved {count}" / "arrays.safetensors").read_bytes() for count in (1, 2, 4)]
    assert len(set(whole)) == len(set(saved)) == 1
    assert_same(results[0], results[2])


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    scope().exemplars(dataset(pixels(30)), processes=1)
    assert torch.get_num_threads() == before


def test_bf16_finds_scores_that_are_near(tmp_path: Path) -> None:
    data = dataset(pixels(150))
    exact = scope().exemplars(data, processes=1)
    fast = [scope().exemplars(data, processes=count, precision="bf16") for count in (1, 3)]
    assert_same(*fast)
    assert fast[0].certificate.parameters["precision"] == "bf16"
    for layer, one in fast[0].layers.items():
        assert torch.allclose(one.best.scores, exact[layer].best.scores, rtol=0.02, atol=0.02)


def stopping_after(images: int) -> Callable[[str, int, int], None]:
    def progress(label: str, done: int, total: int) -> None:
        if label == exemplar_workers.LABEL and done >= images:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("processes", [1, 2])
def test_a_scan_that_stopped_goes_on(tmp_path: Path, processes: int) -> None:
    data, heard = dataset(pixels(150)), []
    with pytest.raises(KeyboardInterrupt):
        scope().exemplars(data, processes=processes, folder=tmp_path, progress=stopping_after(100))
    assert any(tmp_path.rglob("chunk-*"))
    found = scope().exemplars(data, processes=processes, folder=tmp_path, progress=lambda *step: heard.append(step[1:]))
    assert heard[0][0] > 24
    assert heard[-1] == (150, 150)
    assert_same(found, scope().exemplars(data, processes=1))


def test_a_finished_scan_is_not_repeated(tmp_path: Path) -> None:
    data, heard = dataset(pixels(60)), []
    first = scope().exemplars(data, processes=1, folder=tmp_path)
    second = scope().exemplars(data, processes=1, folder=tmp_path, progress=lambda *step: heard.append(step))
    assert not heard
    assert_same(first, second)


def test_other_settings_weights_or_data_are_another_scan(tmp_path: Path) -> None:
    data, net = dataset(pixels(40)), network()
    scope(net).exemplars(data, processes=1, folder=tmp_path)
    scope(net).exemplars(data, processes=1, folder=tmp_path, k=3)
    scope(net).exemplars(data, processes=1, folder=tmp_path, precision="bf16")
    scope(net).exemplars(dataset(pixels(40, seed=1)), processes=1, folder=tmp_path)
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1
    scope(net).exemplars(data, processes=1, folder=tmp_path)
    assert len(list(tmp_path.glob("scan-*"))) == 5


@pytest.mark.parametrize("name", ["chunk-00002", "pilot"])
def test_a_damaged_part_is_scanned_again(tmp_path: Path, name: str) -> None:
    data = dataset(pixels(150))
    with pytest.raises(KeyboardInterrupt):
        scope().exemplars(data, processes=1, folder=tmp_path, progress=stopping_after(120))
    part = next(tmp_path.rglob(f"{name}*"))
    part.write_bytes(part.read_bytes()[:100])
    assert_same(scope().exemplars(data, processes=1, folder=tmp_path), scope().exemplars(data, processes=1))


KILLED = """
import sys, time
import torch
from tests.scope import test_exemplars as here
here.exemplar_chunks.SAMPLE, here.exemplar_chunks._LEAST = 24, 16
net = here.network()
net.register_forward_hook(lambda *_: time.sleep(0.02))
data = here.dataset(here.pixels(600))
here.scope(net).exemplars(data, processes=int(sys.argv[2]), folder=sys.argv[1], batch=8)
"""


@pytest.mark.parametrize("processes", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_scan_goes_on_and_gives_the_same(tmp_path: Path, processes: int) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(processes)]
    child = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.rglob("chunk-*.safetensors"))) < 3:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    done, heard = len(list(tmp_path.rglob("chunk-*.safetensors"))), []
    data = dataset(pixels(600))
    found = scope().exemplars(data, processes=1, folder=tmp_path, batch=8, progress=lambda *step: heard.append(step[1]))
    assert 3 <= done < 36
    assert heard[0] > 24 + 3 * 16 - 8
    assert_same(found, scope().exemplars(data, processes=1, batch=8))


def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    class Dies(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return images

    parent = os.getpid()
    with pytest.raises(InputError, match=r"ended from outside \(exit code -9\).*run the same command again"):
        scope(nn.Sequential(network(), Dies())).exemplars(dataset(pixels(150)), ["1"], processes=2, folder=tmp_path)


def test_a_mistake_in_a_process_is_told_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images, net = pixels(150), network()

    class Spoils(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values + torch.nan if os.getpid() != parent else values

    parent = os.getpid()
    with pytest.raises(InputError, match="layer '1' returns values that are not finite for image"):
        scope(nn.Sequential(net, Spoils())).exemplars(dataset(images), ["1"], processes=2)


def test_a_defect_in_a_process_is_no_mistake_of_the_user() -> None:
    class Broken(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            if os.getpid() != parent:
                raise KeyError("defect")
            return values

    parent = os.getpid()
    with pytest.raises(RuntimeError, match="KeyError: 'defect'"):
        scope(nn.Sequential(network(), Broken())).exemplars(dataset(pixels(150)), ["1"], processes=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_too_little_memory_halves_the_batch(processes: int) -> None:
    class Hungry(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return images

    found = scope(nn.Sequential(network(), Hungry())).exemplars(
        dataset(pixels(150)), ["1"], batch=16, processes=processes
    )
    assert found.certificate.parameters["batch"] == 4
    assert found.certificate.notes == (
        "not enough memory for batches of 16: halved",
        "not enough memory for batches of 8: halved",
    )


def test_fewer_images_than_patches() -> None:
    found = scope().exemplars(dataset(pixels(5)), k=9, processes=1)
    one = found["0"]
    assert one.best.scores.shape == one.least.scores.shape == (16, 5)
    assert one.spots.scores.shape == (16, 9)
    assert sorted(one.best.images[3].tolist()) == [0, 1, 2, 3, 4]
    assert one.best.images[3].tolist() == one.least.images[3].tolist()[::-1]
    assert found.picture("0", 3).pixels.ndim == 3


@pytest.mark.parametrize("count", [1, 24, 25])
def test_splits_around_the_size_of_the_pilot(count: int) -> None:
    found = scope().exemplars(dataset(pixels(count)), k=2, processes=2)
    assert found["0"].best.scores.shape == (16, min(2, count))
    assert bool((found["0"].best.images >= 0).all())


def test_grey_images_of_28_pixels() -> None:
    found = scope(shape=(1, 28, 28)).exemplars(dataset(pixels(40, 1, 28)), processes=1)
    assert found["3"].found.size == (14, 14)
    assert found.crop(found.unit("3", 2)[0]).shape[0] == 1
    assert found.picture("3").pixels.shape[2] == 3


def test_images_of_another_size_are_brought_to_the_networks() -> None:
    found = scope().exemplars(dataset(pixels(30, 1, 20)), processes=1)
    assert found["0"].found.size == (12, 12)


def test_a_dead_unit_is_said_to_be() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight[4].zero_()
        net[0].bias[4] = -1
    found = scope(net).exemplars(dataset(pixels(40)), ["1"], processes=1)
    assert found["1"].is_constant(4)
    assert not found["1"].is_constant(5)
    assert plain_layers(found)[0]["constant"] == 1
    assert "the same for every image" in found.picture("1", 4).caption


def test_what_is_kept_does_not_grow_with_the_images() -> None:
    def numbers(count: int) -> int:
        given = scope()
        assert given.preprocessing
        part = split(pixels(count))
        scanner = Scanner(given.network, given.device, given.preprocessing, part, ["0", "3"], 4, 16, False)
        manifest = Manifest.of(count)
        pilot = scanner.scan(manifest.sample, None, lambda _: None, ahead=True)
        chunk = scanner.scan(manifest.ids(0), pilot, lambda _: None, ahead=True)
        return sum(v.numel() for t in (pilot, chunk) for one in t.values() for v in one.arrays().values())

    assert numbers(60) == numbers(240)


def test_a_manifest_holds_every_image_once() -> None:
    for count in (1, 24, 25, 100, 5000):
        manifest = Manifest.of(count)
        ids = np.concatenate([manifest.sample, *(manifest.ids(index) for index in range(len(manifest)))])
        assert sorted(ids.tolist()) == list(range(count))
        assert all(len(manifest.ids(index)) for index in range(len(manifest)))
    assert len(Manifest.of(1_281_167)) <= 320


def test_crops_are_pixels_of_their_image() -> None:
    images = pixels(60)
    found = scope().exemplars(dataset(images), processes=1)
    for layer in ("0", "3"):
        for patch in found.unit(layer, 7):
            top, left, bottom, right = patch.box
            expected = images[patch.image][:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
            assert np.array_equal(found.crop(patch), expected)
    assert found["3"].found.box(0, 0) == (-3, -3, 5, 5)


def test_a_crop_alone_gives_the_score() -> None:
    """What lies outside the crop has no say: with noise around it the image gives the same score at that place."""
    images = pixels(60)
    found, given = scope().exemplars(dataset(images), processes=1), scope()
    for patch in found.unit("3", 11):
        noisy = pixels(1, seed=patch.image + 7)
        top, left, bottom, right = (max(0, edge) for edge in patch.box)
        noisy[0, :, top:bottom, left:right] = images[patch.image][:, top:bottom, left:right]
        maps = given.feature_maps(torch.from_numpy(noisy), "3").maps["3"]
        assert float(maps[0, 11, *patch.place]) == pytest.approx(patch.score, abs=1e-5)


def test_units_bring_their_layers() -> None:
    found = scope().exemplars(dataset(pixels(30)), processes=1, units=[("3", 2), ("3", 4)])
    assert list(found.layers) == ["3"]
    assert list(found.pictures()) == ["unit 3 2", "unit 3 4", "exemplars 3"]


def test_patches_have_names() -> None:
    found = scope().exemplars(dataset(pixels(30)), processes=1)
    assert found.name(3) == "train:3 dog"
    named = replace(found, split=replace(found.split, files=tuple(f"photos/{i}.jpg" for i in range(30))))
    assert named.name(2) == "photos/2.jpg cat"
    row = named.rows("0", 1)
    assert row["best"][0]["name"].startswith("photos/")
    assert set(row) == {"layer", "channel", "constant", "best", "spots", "quantiles", "least"}


def test_a_split_can_be_given_and_another_chosen() -> None:
    data = dataset(pixels(30))
    assert len(scope().exemplars(data, split="test", processes=1).split) == 5
    assert scope().exemplars(data.splits["test"], processes=1).classes == ("cat", "dog")


def test_it_is_saved_with_its_pictures_and_certificate(tmp_path: Path) -> None:
    found = scope().exemplars(dataset(pixels(40)), ["0", "3"], processes=1, units=[("3", 2)])
    files = [path.name for path in found.save(tmp_path)]
    expected = ["unit-3-2.png", "exemplars-0.png", "exemplars-3.png", "arrays.safetensors", "certificate.json"]
    assert files == expected
    assert {"0/best.scores", "3/least.images", "3/quantiles.places"} <= set(found.arrays())
    assert found.certificate.weights
    assert found.certificate.check["replayed"] == 2


def error(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_mistakes_are_told() -> None:
    data = dataset(pixels(30))
    assert "nearest are 'test'" in error(lambda: scope().exemplars(data, split="tests"))
    assert "train split has no images" in error(lambda: scope().exemplars(split(pixels(0))))
    assert "does not say how its input is standardised" in error(lambda: exemplars(Scope(network()), data))
    assert "k is 0; expected 1 or more" in error(lambda: scope().exemplars(data, k=0))
    assert "precision 'fp16' is not known" in error(lambda: scope().exemplars(data, precision="fp16"))
    assert "layer 'conv' is not in Sequential" in error(lambda: scope().exemplars(data, ["conv"]))
    found = scope().exemplars(data, "0", processes=1)
    assert "no channel 16; they are numbered 0 to 15" in error(lambda: found.unit("0", 16))
    assert "layer '3' is not in these exemplars" in error(lambda: found["3"])
    assert "no channel 99" in error(lambda: scope().exemplars(data, units=[("3", 99)]))
    assert "kind 'worst' is not of exemplars" in error(lambda: found.unit("0", 0, "worst"))
    assert "LAYER:CHANNEL, such as conv1:17; found 'conv1'" in error(lambda: parse_unit("conv1"))


def test_several_processes_where_there_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.scope.exemplars.can_fork", lambda _: False)
    monkeypatch.setattr(exemplar_workers, "can_fork", lambda _: False)
    assert "2 processes were asked for" in error(lambda: scope().exemplars(dataset(pixels(150)), processes=2))
    assert len(scope().exemplars(dataset(pixels(30))).layers) == 2


def test_a_file_of_another_scan_is_not_taken(tmp_path: Path) -> None:
    scope().exemplars(dataset(pixels(30)), processes=1, folder=tmp_path)
    folder = next(tmp_path.glob("scan-*"))
    key = folder.name.removeprefix("scan-")
    assert Store(folder, key).read("all") is not None
    assert Store(folder, "another").read("all") is None
    assert Store(folder, key).read("nothing") is None


def test_weights_that_are_written_past_torch_are_another_scan(tmp_path: Path) -> None:
    data, net = dataset(pixels(40)), network()
    view = scope(net)
    before = view.exemplars(data, processes=1, folder=tmp_path)
    net[0].weight.data.clamp_(-0.05, 0.05)  # no version counter sees it
    after = view.exemplars(data, processes=1, folder=tmp_path)
    assert before.certificate.weights != after.certificate.weights
    assert after.certificate.check["replayed_equal"] == after.certificate.check["replayed"]
    assert_same(after, scope(net).exemplars(data, processes=1))


def test_a_kept_scan_that_its_replay_contradicts_is_made_again(tmp_path: Path) -> None:
    data, net = dataset(pixels(40)), network()
    first = scope(net).exemplars(data, processes=1, folder=tmp_path)
    folder = next(tmp_path.glob("scan-*"))
    store = Store(folder, folder.name.removeprefix("scan-"))
    whole = store.read("all")
    assert whole is not None
    for tables in whole.values():
        tables.best.scores.mul_(1.5)
    store.write("all", whole)
    again = scope(net).exemplars(data, processes=1, folder=tmp_path)
    assert_same(again, first)
    assert again.certificate.notes == first.certificate.notes == ()


def test_a_replay_that_finds_other_values_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.scope.exemplars.replay", lambda *_: Replay(0.07, 1, 0))
    found = scope().exemplars(dataset(pixels(40)), processes=1)
    assert "not to be relied on" in found.certificate.notes[0]
