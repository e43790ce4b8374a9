"""The top-level function: targets, chunks, memory, precision, errors, and what a result says of itself."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.memory import is_out_of_memory
from cutaway.errors import InputError
from cutaway.lenses.attribution import METHODS, Attribution, explain
from cutaway.lenses.attribution.chunks import in_chunks, joined
from cutaway.lenses.attribution.method import Found
from cutaway.lenses.targets import parse_target

# The package gives its name to the function.
MODULE = import_module("cutaway.lenses.attribution.explain")


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def some_images(count: int = 3) -> Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(5))


def test_the_defaults() -> None:
    network, images = small_network(), some_images()
    found = explain(network, images)
    logits = network.eval()(images)
    assert found.method == "grad-cam"
    assert found.layer == "2"
    assert found.target.plus == tuple(logits.argmax(1).tolist())
    assert torch.allclose(found.scores, logits.amax(1), atol=1e-6)
    assert (found.values.shape, found.values.dtype, found.size) == ((3, 1, 6, 6), torch.float32, (6, 6))
    with pytest.raises(FrozenInstanceError):
        found.layer = "0"  # type: ignore[misc]  # that is what is tried


def test_the_certificate() -> None:
    found = explain(small_network(), some_images(), target=["cat", "dog", "cat"], classes=("cat", "dog", "cow"))
    assert found.certificate.method == "grad-cam"
    assert found.certificate.parameters == {"target": ["cat", "dog", "cat"], "layer": "2"}
    assert found.certificate.seed is None
    assert found.certificate.check["score"] == pytest.approx(found.scores.tolist())
    assert len(found.certificate.check["cam_identity"]) == 3
    assert found.certificate.as_dict()["notes"] == []


def test_a_seed_is_named_where_it_plays_a_part() -> None:
    network, images = small_network(), some_images()
    assert explain(network, images, "smoothgrad", 0, seed=7, samples=2).certificate.seed == 7
    assert explain(network, images, "saliency", 0, seed=7).certificate.seed is None


def test_options_are_in_the_certificate() -> None:
    found = explain(small_network(), some_images(), "smoothgrad", 0, samples=2)
    assert found.certificate.parameters["samples"] == 2
    assert found.certificate.parameters["noise"] == METHODS["smoothgrad"].options["noise"]


@pytest.mark.parametrize("target", [1, "1", [0, 1, 2], torch.tensor([2, 1, 0]), (0, 2), "0 - 2", parse_target(2)])
def test_any_target(target: Any) -> None:
    network, images = small_network(), some_images()
    found = explain(network, images, target=target)
    parsed = target if not isinstance(target, (int, str, list, tuple, Tensor)) else parse_target(target)
    assert found.target == parsed
    assert torch.allclose(found.scores, parsed.scores({"": network.eval()(images)}), atol=1e-6)


@pytest.mark.parametrize("method", ["grad-cam", "saliency", "smoothgrad", "score-cam"])
def test_a_target_for_each_image_in_chunks(method: str) -> None:
    network, images, target = small_network(), some_images(5), [0, 1, 2, 1, 0]
    whole = explain(network, images, method, target)
    for batch in (1, 2):
        chunked = explain(network, images, method, target, batch=batch)
        assert torch.allclose(chunked.values, whole.values, rtol=1e-5, atol=1e-7)
        assert torch.allclose(chunked.scores, whole.scores)
        assert len(chunked.certificate.check["score"]) == 5


def test_heat() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    found = replace(explain(small_network(), some_images(1), target=0), values=values)
    up = F.interpolate(values, (6, 6), mode="bilinear", align_corners=False)[:, 0]
    assert torch.equal(found.heat(signed=True), up)
    # The negative value is left out before it can be mixed into its neighbours.
    assert found.heat()[0, 0, 0] == 1
    assert torch.equal(found.heat(), found.heat(signed=False))
    assert found.heat()[0, 0, 3] > up[0, 0, 3]


def test_heat_of_pixels() -> None:
    values = torch.tensor([[3.0, -5.0], [1.0, 1.0]]).reshape(1, 2, 1, 2)
    base = explain(small_network(), some_images(1), target=0)
    signed = replace(base, method="input-x-gradient", values=values, size=(1, 2))
    assert signed.heat().tolist() == [[[4.0, -4.0]]]
    assert signed.heat(signed=False).tolist() == [[[4.0, 0.0]]]
    assert replace(signed, method="saliency").heat().tolist() == [[[3.0, 5.0]]]


def test_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    explain(small_network(), some_images(5), target=0, batch=2, progress=lambda *step: seen.append(step))
    assert seen == [("grad-cam", 2, 5), ("grad-cam", 4, 5), ("grad-cam", 5, 5)]


# ---- memory ---------------------------------------------------------------------------------------------------------


class Hungry(nn.Module):
    """Runs out of memory for more than so many images."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.network, self.most, self.error = small_network(), most, error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self.error
        return self.network(x)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_the_batch_is_halved_when_memory_runs_out(error: Exception) -> None:
    network = Hungry(2, error)
    found = explain(network, some_images(5), target=[0, 1, 2, 0, 1], batch=32)
    expected = explain(network.network, some_images(5), target=[0, 1, 2, 0, 1])
    assert torch.allclose(found.values, expected.values, rtol=1e-5, atol=1e-7)
    assert found.certificate.notes == ("the batch was halved from 32 to 2 for want of memory",)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_no_memory_for_one_image(error: Exception) -> None:
    with pytest.raises(InputError, match="not enough memory for one image"):
        explain(Hungry(0, error), some_images(), target=0, layer="network.2")


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))

    def fail(images: slice, batch: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_chunks(3, 2, fail)


def test_findings_are_joined() -> None:
    pieces = [
        Found(torch.ones(2, 1, 1, 1), {"gap": torch.tensor([1.0, 2.0]), "worst": 3.0}, ("a",), {"steps": 8}),
        Found(torch.zeros(1, 1, 1, 1), {"gap": torch.tensor([4.0]), "worst": 2.0}, ("a", "b"), {"steps": 16}),
    ]
    found = joined(pieces)
    assert found.values.flatten().tolist() == [1, 1, 0]
    assert found.check["gap"].tolist() == [1, 2, 4]
    assert found.check["worst"] == 3
    assert found.notes == ("a", "b")
    assert found.parameters == {"steps": [8, 16]}


# ---- precision ------------------------------------------------------------------------------------------------------


def with_precision(monkeypatch: pytest.MonkeyPatch, low: bool, **options: Any) -> Attribution:
    monkeypatch.setattr(MODULE, "bf16_pays", lambda _device: low)
    return explain(small_network(), some_images(), target=[0, 1, 2], precision="auto", **options)


@pytest.mark.parametrize("low", [True, False])
def test_a_faster_copy_gives_the_same_map(monkeypatch: pytest.MonkeyPatch, low: bool) -> None:
    exact = explain(small_network(), some_images(), target=[0, 1, 2])
    found = with_precision(monkeypatch, low)
    limit = 0.02 if low else 1e-5
    assert float((found.values - exact.values).abs().max()) <= limit * float(exact.values.abs().max())
    assert found.certificate.check["fp32_difference"] <= limit
    assert ("bfloat16" if low else "float32") in found.certificate.notes[0]


def test_bf16_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "bf16_pays", lambda _device: False)
    found = explain(small_network(), some_images(), target=[0, 1, 2], precision="bf16")
    assert "in bfloat16" in found.certificate.notes[0]


def test_a_copy_that_was_good_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "bf16_pays", lambda _device: False)
    network, images = small_network(), some_images()
    found = [explain(network, images, target=[0, 1, 2], precision="auto") for _ in range(2)]
    assert torch.equal(found[0].values, found[1].values)
    assert found[0].certificate == found[1].certificate
    monkeypatch.setattr(MODULE, "TOLERANCE", -1.0)
    refused = explain(network, images, target=[0, 1, 2], precision="auto")
    assert refused.certificate.notes[0].startswith("computed on the network itself")


def test_a_copy_that_is_not_as_good_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "TOLERANCE", -1.0)
    found = with_precision(monkeypatch, True)
    assert torch.equal(found.values, explain(small_network(), some_images(), target=[0, 1, 2]).values)
    assert found.certificate.notes[0].startswith("computed on the network itself: a copy in float32")
    assert "fp32_difference" not in found.certificate.check


def test_one_image_and_other_methods_need_no_copy() -> None:
    network, images = small_network(), some_images()
    for count, method in ((1, "grad-cam"), (3, "saliency")):
        exact = explain(network, images[:count], method, 0)
        assert torch.equal(explain(network, images[:count], method, 0, precision="bf16").values, exact.values)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradcam"}, r"method 'gradcam' is not known; the nearest are 'grad-cam'"),
        ({"steps": 3}, r"method 'grad-cam' has no option 'steps'; its options are: none"),
        ({"method": "smoothgrad", "step": 3}, r"has no option 'step'; its options are: 'samples', 'noise'"),
        ({"method": "saliency", "layer": "2"}, r"method 'saliency' reads no layer, found layer '2'; leave it out"),
        ({"layer": "5x"}, r"layer '5x' is not in Sequential; the nearest are '5'"),
        ({"layer": "2#1"}, r"layer '2#1' was not reached by the forward pass: its module was called 1 times"),
        ({"target": 7}, r"target 7 is out of range: there are 3 classes"),
        (
            {"target": "dig", "classes": ("cat", "dog", "cow")},
            r"class 'dig' is not of this model; the nearest are 'dog'",
        ),
        ({"target": [0, 1]}, r"expected one target for all images or one for each of 3, found 2"),
        ({"batch": 0}, r"batch must be at least 1, found 0"),
        ({"precision": "fp8"}, r"precision 'fp8' is not known; the nearest are 'fp32'"),
    ],
)
def test_wrong_calls(options: dict[str, Any], message: str) -> None:
    network = small_network()
    with pytest.raises(InputError, match=message):
        explain(network, some_images(), **{"target": 0, **options})
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("target", [None, 0])
def test_wrong_images(target: int | None) -> None:
    network = small_network()
    with pytest.raises(InputError, match=r"images must be a float tensor \(N, C, H, W\).*found uint8 \(1, 2, 6, 6\)"):
        explain(network, torch.zeros(1, 2, 6, 6, dtype=torch.uint8), target=target)
    with pytest.raises(InputError, match=r"images must be a float tensor .* found float32 \(2, 6, 6\)"):
        explain(network, torch.zeros(2, 6, 6), target=target)
    with pytest.raises(
        InputError, match=r"Sequential does not run on images of 3x6x6: .*to have 2 channels, but got 3"
    ):
        explain(network, torch.zeros(1, 3, 6, 6), target=target)


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "saliency", "score-cam"])
@pytest.mark.parametrize("target", [None, 0])
def test_scores_that_are_not_finite(method: str, target: int | None) -> None:
    network = small_network()
    network[0].weight.data[1] = float("nan")
    with pytest.raises(InputError, match="is not finite; layer '0' is the first to return NaN or infinity"):
        explain(network, some_images(), method, target, "2" if METHODS[method].needs_layer else None)
    with pytest.raises(InputError, match="the images are not"):
        explain(small_network(), some_images() * float("inf"), method, target)


def test_a_network_without_logits() -> None:
    network = small_network()[:3]
    with pytest.raises(InputError, match=r"returns \(3, 4, 6, 6\), expected logits"):
        explain(network, some_images(), target=0, layer="2")
    assert explain(network, some_images(), target="1:2", layer="0").values.shape == (3, 1, 6, 6)


# ---- wrappers and surroundings --------------------------------------------------------------------------------------


def test_wrapped_networks_and_callers_modes() -> None:
    network, images = small_network(), some_images()
    expected = explain(network, images, target=0).values
    assert torch.equal(explain(nn.DataParallel(network), images, target=0).values, expected)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert torch.equal(explain(network, images, target=0).values, expected)
    assert torch.equal(explain(network.requires_grad_(False), images.double(), target=0).values, expected)


def test_the_result_outlives_the_pass() -> None:
    found = explain(small_network(), some_images(), target=0)
    assert not found.values.requires_grad
    assert not found.scores.requires_grad
    assert found.values.device.type == found.scores.device.type == "cpu"
