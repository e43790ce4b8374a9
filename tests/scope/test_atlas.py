"""An atlas: its numbers against brute force, its files after stops and kills, what it is stored under."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
from cutaway.models import Preprocessing
from cutaway.runs.atlas import Atlas, find_model_atlas
from cutaway.scope import Scope
from cutaway.scope.atlas import atlas_folder, make, make_atlas, patches, responses
from cutaway.views.unit import UnitView, view_unit

COUNT = 90
LAYERS = ["0", "4"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))


def network(units: int = 10) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, units, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(units, 3),
    )
    net[1].running_mean.normal_(std=0.3)
    net[4].bias.data[7] = -100.0  # a dead unit
    return net


def pixels(count: int = COUNT, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def dataset(images: np.ndarray) -> Dataset:
    files = tuple(f"{number % 2}/{number}.png" for number in range(len(images)))
    train = Split("train", ArrayImages(images), np.arange(len(images)) % 2, files)
    test = Split("test", ArrayImages(images[:30]), np.arange(30) % 2)
    return Dataset("pets", "pets", ("cat", "dog"), {"train": train, "test": test}, (), (), 0, {})


def scope(net: nn.Module | None = None, size: int = 12) -> Scope:
    known = Preprocessing((3, size, size), (0.5,) * 3, (0.25,) * 3)
    return Scope(net or network(), classes=["dog", "owl", "cat"], preprocessing=known)


def made(folder: Path, **options: Any) -> Atlas:
    return make_atlas(scope(), dataset(pixels()), folder=folder, **{"steps": 4, "k": 3, **options})


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return made(tmp_path_factory.mktemp("atlas"))


def maps(images: np.ndarray, layer: str) -> Tensor:
    with torch.no_grad():
        return capture(network().eval(), scope().inputs(torch.from_numpy(images)).values, [layer])[layer]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("layer", "channel"), [("0", 0), ("4", 3), ("4", 9)])
def test_patches_are_those_of_a_look_at_all_maps(atlas: Atlas, layer: str, channel: int) -> None:
    view, all_maps = view_unit(atlas, layer, channel), maps(pixels(), layer)[:, channel]
    peaks = all_maps.amax((1, 2))
    for found, order in (
        (view.best, peaks.argsort(descending=True, stable=True)[:3]),
        (view.least, peaks.argsort(stable=True)[:3]),
    ):
        assert [patch.image for patch in found] == order.tolist()
        for patch in found:
            assert patch.score == pytest.approx(float(all_maps[patch.image].max()), abs=1e-5)
            assert patch.score == pytest.approx(float(all_maps[patch.image][patch.place]), abs=1e-5)
            assert patch.name == f"{patch.image % 2}/{patch.image}.png"
            assert patch.label == ("cat", "dog")[patch.image % 2]
    ranks = [float(peaks.sort().values[round(level * (COUNT - 1))]) for level in (0.9, 0.5, 0.1)]
    assert [view.quantiles[place].score for place in (0, 4, 8)] == pytest.approx(ranks, abs=1e-5)


def test_patches_show_the_pixels_that_the_place_sees(atlas: Atlas) -> None:
    for patch in view_unit(atlas, "4", 3).best:
        image = pixels()[patch.image].transpose(1, 2, 0)
        assert patch.context is not None
        assert np.array_equal(patch.context.pixels, image)
        top, left, bottom, right = patch.box
        assert (bottom - top, right - left) == (8, 8)
        assert patch.crop is not None
        assert (patch.crop.height, patch.crop.width) == (8, 8)
        inside = (max(0, top), max(0, left), min(12, bottom), min(12, right))
        seen = patch.crop.pixels[inside[0] - top : inside[2] - top, inside[1] - left : inside[3] - left]
        assert np.array_equal(seen, image[inside[0] : inside[2], inside[1] : inside[3]])


@pytest.mark.parametrize(("layer", "channel", "behind"), [("0", 2, "2"), ("4", 3, "5"), ("4", 7, "5")])
def test_statistics_are_those_of_all_maps(atlas: Atlas, layer: str, channel: int, behind: str) -> None:
    view, values = view_unit(atlas, layer, channel), maps(pixels(), layer)[:, channel]
    found = view.statistics
    assert found is not None
    assert (found.images, found.total, found.active_of) == (COUNT, COUNT, behind)
    assert found.mean == pytest.approx(float(values.mean()), abs=1e-5)
    assert found.std == pytest.approx(float(values.std(correction=0)), rel=1e-4)
    assert (found.low, found.high) == pytest.approx((float(values.min()), float(values.max())), rel=1e-6, abs=1e-5)
    assert found.high == pytest.approx(view.best[0].score, abs=1e-5)
    assert found.active == pytest.approx(float((maps(pixels(), behind)[:, channel] > 0).float().mean()))
    assert found.counts.sum() == values.numel()
    assert found.dead == (channel == 7)


def test_votes_are_what_a_raised_answer_does(atlas: Atlas) -> None:
    view, net = view_unit(atlas, "4", 3), network().eval().double()
    images = scope().inputs(torch.from_numpy(pixels())).values.double()
    assert view.statistics is not None
    step = 1e-7

    def logits(raised: float) -> Tensor:
        hook = lambda _module, _args, output: output + raised * torch.eye(10)[3].view(1, -1, 1, 1)  # noqa: E731
        with net[4].register_forward_hook(hook), torch.no_grad():
            found: Tensor = net(images)
        return found.mean(0)

    change = (logits(step * view.statistics.std) - logits(0.0)) / step
    expected = dict(zip(("dog", "owl", "cat"), (change - change.mean()).tolist(), strict=True))
    assert {vote.label: vote.vote for vote in view.votes} == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert view.votes[0].label == max(expected, key=lambda label: expected[label])
    means = maps(pixels(), "4")[:, 3].mean((1, 2))
    responses = {vote.label: vote.response for vote in view.votes}
    assert responses["cat"] == pytest.approx(float(means[::2].mean()), abs=1e-5)
    assert responses["dog"] == pytest.approx(float(means[1::2].mean()), abs=1e-5)
    assert responses["owl"] is None  # no image has that label


def test_weights_are_those_of_the_network(atlas: Atlas) -> None:
    view, net = view_unit(atlas, "4", 3), network()
    kernel = net[4].weight.detach()[3]
    assert view.kernel is not None
    for values, channel, source in zip(view.kernel.values, view.kernel.inputs, view.kernel.sources, strict=True):
        assert np.array_equal(values, kernel[channel].numpy())
        assert source == f"0 c{channel}"
    assert view.kernel.total == 6
    assert view.kernel.norm == pytest.approx(float(kernel.norm()), rel=1e-6)
    scale = (net[1].weight / (net[1].running_var + net[1].eps).sqrt()).detach()
    assert [weight.norm for weight in view.incoming] == pytest.approx(
        sorted((kernel.flatten(1).norm(dim=1) * scale.abs()).tolist(), reverse=True), rel=1e-5
    )
    for weight in view.incoming:
        assert weight.weight == pytest.approx(float(kernel[weight.channel].sum() * scale[weight.channel]), abs=1e-6)
    assert {(weight.layer, weight.channel): weight.weight for weight in view.outgoing} == pytest.approx(
        {("8", channel): value for channel, value in enumerate(net[8].weight.detach()[:, 3].tolist())}
    )


def test_an_imagined_image_reaches_what_is_said(atlas: Atlas) -> None:
    view = view_unit(atlas, "4", 3)
    alone = scope().imagine("4:3", steps=4, precision=atlas.info["settings"]["precision"])
    (found,) = view.imagined
    assert (found.steps, found.style, found.seed) == (4, "fourier", 0)
    assert np.abs(found.still.pixels.transpose(2, 0, 1).astype(int) - alone.images[0].numpy()).max() <= 2
    own = capture(network().eval(), alone.inputs, ["4"])["4"][0, 3].detach()
    assert found.reached == pytest.approx(float(own.mean()), abs=1e-3)
    assert found.peak == pytest.approx(float(own.max()), abs=1e-3)
    assert found.best_real == pytest.approx(float(maps(pixels(), "4")[:, 3].mean((1, 2)).max()), abs=1e-5)


def test_every_part_has_its_certificate(atlas: Atlas) -> None:
    found = view_unit(atlas, "4", 3).certificates
    assert set(found) == {"exemplars", "responses", "weights", "imagined"}
    for certificate in found.values():
        assert certificate["weights"] == atlas.info["weights"] == scope().certify(empty()).weights
        assert set(certificate["versions"]) == {"cutaway", "torch"}
    assert found["exemplars"]["check"]["replay_gap"] < 1e-6
    assert found["responses"]["check"] == {"units": 10, "above_exemplars": 0}
    assert found["weights"]["check"] == {"inputs": 6, "followed": 6}


def empty() -> Any:
    from cutaway.lenses.certificate import Certificate

    return Certificate("none")


def test_large_images_are_kept_small_and_their_patches_cut(tmp_path: Path) -> None:
    images = pixels(20, 80)
    made_of = make_atlas(scope(size=80), dataset(images), folder=tmp_path, k=2, images=False)
    for patch in view_unit(made_of, "4", 3).best:
        assert patch.crop is not None
        assert (patch.crop.height, patch.crop.width) == (8, 8)
        top, left, bottom, right = patch.box
        inside = (max(0, top), max(0, left), min(80, bottom), min(80, right))
        seen = patch.crop.pixels[inside[0] - top : inside[2] - top, inside[1] - left : inside[3] - left]
        image = images[patch.image].transpose(1, 2, 0)
        assert np.array_equal(seen, image[inside[0] : inside[2], inside[1] : inside[3]])
        assert patch.context is not None
        assert patch.context.media == "image/jpeg"


def test_it_is_stored_once(tmp_path: Path) -> None:
    first = made(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert made(tmp_path).path == first.path
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    ids = np.concatenate([pack.ids for pack in first._packs])
    assert len(ids) == len(set(ids.tolist()))


def test_layers_join_those_that_are_there(tmp_path: Path, atlas: Atlas) -> None:
    assert list(made(tmp_path, layers="4", images=False).layers) == ["4"]
    assert list(made(tmp_path, layers=["0"]).layers) == LAYERS
    grown = made(tmp_path)
    for name, content in files(atlas.path).items():
        if not name.startswith(("images/", "exemplars/")):  # their order, and the layers in the certificate, differ
            assert files(grown.path)[name] == content, name
    assert _shown(view_unit(grown, "4", 3)) == _shown(view_unit(atlas, "4", 3))


def _shown(view: UnitView) -> list[Any]:
    return [(patch.image, patch.score, patch.crop.data) for patch in (*view.best, *view.least) if patch.crop]


def test_the_place_follows_from_weights_data_and_settings() -> None:
    first = make_atlas(scope(), dataset(pixels()), images=False)
    weights = first.info["weights"]
    assert first.path.parent == atlas_folder(scope())
    assert find_model_atlas(weights) is not None
    assert find_model_atlas("0" * 16) is None
    others = [
        make_atlas(scope(), dataset(pixels()), images=False, split="test"),
        make_atlas(scope(), dataset(pixels()), images=False, k=2),
        make_atlas(scope(), dataset(pixels()), images=False, steps=5),
        make_atlas(scope(network(9)), dataset(pixels()), images=False),
    ]
    assert len({first.path, *(other.path for other in others)}) == 5


def stopping_at(label: str, done: int) -> Callable[[str, int, int], None]:
    def progress(now: str, count: int, _total: int) -> None:
        if now == label and count >= done:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("label", "done"), [("scanning images", 60), ("keeping images", 40), ("measuring units", 150), ("imagining", 30)]
)
def test_what_was_stopped_goes_on_to_the_same_files(
    tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch, label: str, done: int
) -> None:
    monkeypatch.setattr(patches, "PACK", 40)
    whole = made(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "stopped", progress=stopping_at(label, done))
    assert len(files(tmp_path / "stopped")) < len(files(whole.path))
    made(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(whole.path)


KILLED = """
import sys
from pathlib import Path
from tests.scope import test_atlas as here
from cutaway.scope.atlas import make
make.CHUNK, make._precision = 8, lambda _: "fp32"
here.forty(Path(sys.argv[1]))
"""


def forty(folder: Path) -> Atlas:
    """An atlas that takes a while."""
    return make_atlas(scope(network(40)), dataset(pixels()), folder=folder, steps=24, k=3)


def test_what_was_killed_goes_on_to_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "CHUNK", 8)
    monkeypatch.setattr(make, "_precision", lambda _: "fp32")
    whole, killed, root = forty(tmp_path / "whole"), tmp_path / "killed", Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(killed)], cwd=root, env=environment)
    try:
        deadline = time.monotonic() + 120
        while len(list((killed / "imagined").rglob("*.safetensors"))) < 2:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(files(killed)) < len(files(whole.path))
    forty(killed)
    assert files(killed) == files(whole.path)


def test_one_process_makes_the_same_as_several(tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.scope.atlas.imagined.usable_cores", lambda: 1)
    assert files(made(tmp_path).path) == files(atlas.path)


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    threads = torch.get_num_threads()
    make_atlas(scope(net), dataset(pixels()), folder=tmp_path, steps=2)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in net.parameters())
    assert torch.get_num_threads() == threads


def test_a_network_of_many_classes_votes_for_those_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "CLASSES", 2)
    found = made(tmp_path, images=False)
    values = scope().inputs(torch.from_numpy(pixels())).values
    with torch.no_grad():
        named = network().eval()(values).argmax(1).bincount(minlength=3)
    expected = sorted(named.argsort(descending=True, stable=True)[:2].tolist())
    assert {vote.label for vote in view_unit(found, "4", 3).votes} == {
        ("dog", "owl", "cat")[index] for index in expected
    }


def test_a_network_without_logits_has_no_votes(tmp_path: Path) -> None:
    net = network()[:6]
    found = make_atlas(scope(net), dataset(pixels()), folder=tmp_path, images=False)
    assert view_unit(found, "4", 3).votes == ()
    assert view_unit(found, "4", 3).statistics is not None


def test_layers_without_weights_have_no_kernel(tmp_path: Path) -> None:
    view = view_unit(made(tmp_path, layers="5", images=False), "5", 3)
    assert view.kernel is None
    assert view.kind == "ReLU"
    assert view.best


def error(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mistakes(tmp_path: Path) -> None:
    assert "layer '9' is not in Sequential" in error(lambda: made(tmp_path, layers="9"))
    assert "split 'val' is not in pets" in error(lambda: made(tmp_path, split="val"))
    assert "steps is 0; expected 1 or more" in error(lambda: made(tmp_path, steps=0))
    assert "k is 0; expected 1 or more" in error(lambda: made(tmp_path, k=0))
    bare = Scope(network())
    assert "does not say how its input is standardised" in error(lambda: make_atlas(bare, dataset(pixels())))
    made(tmp_path, images=False)
    assert "holds an atlas of other weights, data or settings" in error(lambda: made(tmp_path, k=4))
    broken = network()
    with torch.no_grad():
        broken[4].weight[2, 0, 0, 0] = torch.nan
    assert "not finite" in error(lambda: make_atlas(scope(broken), dataset(pixels()), folder=tmp_path / "nan"))


def test_a_size_that_does_not_fit_is_told_before_the_work(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 7), nn.Flatten(), nn.Linear(32, 3))
    text = error(lambda: make_atlas(scope(net), dataset(pixels()), ["2"], folder=tmp_path, size=6))
    assert "give another size" in text
    assert not (tmp_path / "exemplars").exists()
