"""Imagining as a whole: batches, seeds, certificates, mistakes, and a network that is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from synthesis_cases import SMALL, by_hand, network
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.synthesis import STYLES, Request, Space, direction, imagine, objective, whole_layer
from cutaway.lenses.synthesis.ascent import Batches
from cutaway.lenses.synthesis.imagination import controls_of, default_batch

GOALS = [objective("3:2"), objective(1), objective("0:4"), objective("3:5@centre"), whole_layer("4"), objective("0:1")]
EXACT = Request(steps=6, seed=2, precision="fp32")
ALL = pytest.mark.parametrize("kind", STYLES)


@ALL
def test_a_batch_is_its_images_alone_whatever_their_order_and_layers(kind: str) -> None:
    together = imagine(network(), GOALS, SMALL, kind, EXACT)
    halves = imagine(network(), GOALS, SMALL, kind, Request(steps=6, seed=2, batch=2, precision="fp32"))
    torch.testing.assert_close(together.inputs, halves.inputs, atol=1e-5, rtol=1e-5)
    for index in (0, 2, 5):
        alone = imagine(network(), [GOALS[index]], SMALL, kind, EXACT)
        torch.testing.assert_close(together.inputs[index], alone.inputs[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.history[:, index], alone.history[:, 0], atol=1e-5, rtol=1e-5)
        for name, values in together.check.items():
            assert values[index] == pytest.approx(alone.check[name][0], rel=1e-4, abs=1e-5)


@ALL
def test_seeds_are_exact(kind: str) -> None:
    found = imagine(network(), GOALS, SMALL, kind, EXACT)
    assert torch.equal(found.inputs, imagine(network(), GOALS, SMALL, kind, EXACT).inputs)
    other = imagine(network(), GOALS, SMALL, kind, Request(steps=6, seed=3, precision="fp32"))
    assert not torch.equal(found.inputs, other.inputs)


@ALL
def test_the_images_beat_their_start_and_noise_and_stay_in_range(kind: str) -> None:
    options = {"l2": 0.0} if kind == "classic" else {}
    found = imagine(network(), GOALS, SMALL, kind, Request(steps=60, seed=2, precision="fp32"), **options)
    reached, start, noise = (torch.tensor(found.check[name]) for name in ("reached", "start", "noise_max"))
    assert (reached > start).all()
    assert (reached[:-1] > noise[:-1]).all()
    pixels = SMALL.pixels(found.inputs)
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    assert tuple(found.history.shape) == (60, len(GOALS))


@ALL
def test_what_is_reached_is_what_the_network_says(kind: str) -> None:
    model = network().requires_grad_(False)
    found = imagine(model, GOALS, SMALL, kind, EXACT)
    maps, logits = by_hand(model, found.inputs.double(), 4), by_hand(model, found.inputs.double(), 8)
    first = by_hand(model, found.inputs.double(), 1)
    expected = [maps[0, 2].mean(), logits[1, 1], first[2, 4].mean(), maps[3, 5, 4, 6], maps[4].tanh().square().mean()]
    assert found.reached[:5].tolist() == pytest.approx([float(value) for value in expected], rel=1e-5)
    assert found.check["reached"] == found.reached.tolist()


def test_a_linear_units_best_image_is_its_kernel() -> None:
    """The score is w . x: without clamping, the ascent from any start ends along w."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1 * 6 * 6, 3, bias=False)).double()
    place = Space((1, 6, 6), (0.5,), (0.25,))
    request = Request(steps=400, precision="fp32")
    plain: dict[str, Any] = {"jitter": 0, "clamp": False, "blur": 0.0, "l2": 0.0}
    found = imagine(model, [objective(1)], place, "classic", request, **plain)
    weight = model[1].weight[1].detach().float()  # type: ignore[index, union-attr, operator]  # a linear layer
    assert float(torch.cosine_similarity(found.inputs.flatten(), weight, dim=0)) > 0.99


def test_controls_keep_the_colours_and_the_spectrum() -> None:
    pixels = 0.5 + 0.05 * torch.randn(2, *SMALL.shape)
    inputs = SMALL.inputs(pixels)
    found = SMALL.pixels(controls_of(inputs, SMALL, 0, 1))
    torch.testing.assert_close(found.mean((2, 3)), pixels.mean((2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.var((2, 3)), pixels.var((2, 3)), atol=1e-4, rtol=5e-2)
    inner = (slice(None), slice(None), slice(1, 6), slice(1, 7))
    torch.testing.assert_close(torch.fft.rfft2(found).abs()[inner], torch.fft.rfft2(pixels).abs()[inner])
    assert not torch.allclose(found, SMALL.pixels(controls_of(inputs, SMALL, 0, 2)), atol=0.01)


def test_a_spectrum_of_images_is_used_and_named() -> None:
    images = torch.rand(5, *SMALL.shape)
    found = imagine(network(), GOALS[:1], SMALL, "maco", EXACT, spectrum=images)
    natural = imagine(network(), GOALS[:1], SMALL, "maco", EXACT)
    assert not torch.allclose(found.inputs, natural.inputs)
    assert (found.parameters["spectrum"], natural.parameters["spectrum"]) == ("5 images", "1/f")


def test_the_parameters_say_everything() -> None:
    found = imagine(network(), GOALS[:1], SMALL, "classic", EXACT, l2=0.5)
    assert found.parameters == {
        "style": "classic",
        "steps": 6,
        "size": [3, 12, 16],
        "jitter": 1,
        "l2": 0.5,
        "clamp": True,
        "blur": 0.5,
        "blur_every": 10,
        "step": pytest.approx(1.5465, rel=1e-3),
        "computed": "the network itself",
    }


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
def test_precisions_agree_and_are_named(precision: str) -> None:
    model = network().float()
    found = imagine(model, GOALS[:2], SMALL, "fourier", Request(steps=8, precision=precision))
    exact = imagine(model, GOALS[:2], SMALL, "fourier", Request(steps=8, precision="fp32"))
    torch.testing.assert_close(found.reached, exact.reached, atol=0.02, rtol=0.05)
    said = str(found.parameters["computed"])
    assert ("copy" in said) == (precision != "fp32")
    assert precision != "bf16" or "bf16" in said


def test_progress_counts_the_steps_of_all_images() -> None:
    seen: list[tuple[str, int, int]] = []
    request = Request(steps=3, batch=2, precision="fp32", progress=lambda *told: seen.append(told))
    imagine(network(), GOALS[:3], SMALL, "fourier", request)
    assert [done for _, done, _ in seen] == [2, 4, 6, 7, 8, 9]
    assert {(label, total) for label, _, total in seen} == {("imagining", 9)}


def test_the_pass_ends_at_the_deepest_layer() -> None:
    model = network()
    calls: list[str] = []
    for name in ("3", "7"):
        model.get_submodule(name).register_forward_hook(lambda *_args, name=name: calls.append(name))
    imagine(model, [objective("3:2"), objective("0:1")], SMALL, "fourier", EXACT)
    assert set(calls) == {"3"}


def test_a_network_that_ends_for_another_size_still_has_units() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    found = imagine(model, [objective("0:1")], SMALL, "fourier", Request(steps=2))
    assert tuple(found.inputs.shape) == (1, *SMALL.shape)
    with pytest.raises(InputError, match=r"Sequential does not take images of 3x12x16 \(.+\); give another size"):
        imagine(model, [objective(1)], SMALL, "fourier", Request(steps=2))


class Silent(nn.Module):
    """A unit behind a ReLU that is always off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        nn.init.constant_(self.conv.bias, -100.0)  # type: ignore[arg-type]  # it has a bias
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.relu(self.conv(images)).mean((2, 3))
        return found


def test_a_silent_unit_is_said_to_be_silent() -> None:
    found = imagine(Silent(), [objective("relu:1")], Space((1, 8, 8), (0.5,), (0.25,)), request=Request(steps=3))
    assert found.notes[0].startswith("'relu:1' stayed at 0: nothing in the image moves it")


def test_a_penalty_that_outweighs_the_objective_is_said() -> None:
    found = imagine(network(), GOALS[:3], SMALL, "classic", EXACT, l2=0.05)
    assert [note.split("'")[1] for note in found.notes] == ["3:2", "class 1", "0:4"]
    assert all("the L2 penalty outweighs" in note for note in found.notes)
    assert not imagine(network(), GOALS[:3], SMALL, "classic", EXACT, l2=0.0).notes


@pytest.mark.parametrize(
    ("goals", "kind", "options", "sentence"),
    [
        ([], "fourier", {}, "there is nothing to imagine: an empty list of targets was given"),
        ([objective("9:1")], "fourier", {}, "layer '9' is not in Sequential; the nearest are"),
        ([objective("3:8")], "fourier", {}, "target 8 is out of range: layer '3' has 8 channels, numbered from 0"),
        ([objective(5)], "fourier", {}, "target 5 is out of range: there are 5 classes, numbered from 0"),
        ([objective("3:1@30,1")], "fourier", {}, "place 30,1 is outside the 8x12 maps of layer '3'"),
        ([direction("3", torch.ones(5))], "fourier", {}, "a direction of 5 numbers does not fit '3' with 8 channels"),
        (
            [objective(0)],
            "furier",
            {},
            "style 'furier' is not one of classic, fourier, maco; the nearest are 'fourier'",
        ),
        (
            [objective(0)],
            "classic",
            {"jiter": 1},
            "option 'jiter' is not one of style 'classic'; the nearest are 'jitt",
        ),
        ([objective(0)], "classic", {"l2": -1}, "l2 is -1, expected 0 or more"),
        ([objective(0)], "maco", {"spectrum": "2/f"}, "spectrum is '2/f', expected '1/f' or images"),
    ],
)
def test_mistakes_are_one_sentence(goals: list[Any], kind: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as told:
        imagine(network(), goals, SMALL, kind, EXACT, **options)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("request_", [Request(steps=0), Request(keep=-1)])
def test_no_steps_are_a_mistake(request_: Request) -> None:
    with pytest.raises(InputError, match="expected at least 1 step, and keep 0 or more"):
        imagine(network(), GOALS[:1], SMALL, "fourier", request_)
    with pytest.raises(InputError, match="precision 'fp8' is not one of auto, fp32, bf16"):
        imagine(network(), GOALS[:1], SMALL, "fourier", Request(precision="fp8"))


def test_outputs_that_are_no_logits_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError, match=r"returns \(1, 4, 10, 14\), expected logits \(N, classes\)"):
        imagine(model, [objective(0)], SMALL, "fourier", EXACT)


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = torch.nan  # type: ignore[index, union-attr]  # a convolution
    with pytest.raises(InputError, match=r"the objective '3:0' .* layer '3' is the first to return NaN"):
        imagine(model, [objective("3:0")], SMALL, "fourier", EXACT)


def test_where_memory_runs_out_the_batch_is_halved_and_said() -> None:
    seen: list[int] = []

    def work(part: slice) -> int:
        seen.append(part.stop - part.start)
        if part.stop - part.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return part.start

    batches = Batches(8)
    assert batches.over(5, work) == [0, 2, 4]
    assert seen == [5, 4, 2, 2, 1]
    assert batches.notes[0] == "not enough memory for 8 images at once: 4 from there on"

    def never(part: slice) -> int:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(InputError, match="not enough memory for a single image; give a smaller size"):
        Batches(4).over(3, never)


def test_batches_are_smaller_for_larger_images() -> None:
    sizes = [default_batch(Space((1, side, side), (0.5,), (0.5,))) for side in (28, 128, 224, 1024)]
    assert sizes == [64, 16, 5, 4]


@pytest.mark.parametrize("fails", [False, True])
@ALL
def test_the_network_is_left_as_it_was(kind: str, fails: bool) -> None:
    model = network()
    model[1].eval()
    model[0].weight.requires_grad_(False)  # type: ignore[union-attr, operator]  # a convolution
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    random = torch.get_rng_state()

    def stop(_label: str, done: int, _total: int) -> None:
        if fails and done == 2:
            raise KeyboardInterrupt

    request = Request(steps=3, precision="fp32", progress=stop)
    with torch.no_grad():
        if fails:
            with pytest.raises(KeyboardInterrupt):
                imagine(model, GOALS[:1], SMALL, kind, request)
        else:
            imagine(model, GOALS[:1], SMALL, kind, request)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags
    assert [value.requires_grad for value in model.parameters()] == [False] + [True] * 7
    assert all(value.grad is None for value in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@ALL
def test_it_works_in_the_callers_inference_mode_and_through_wrappers(kind: str) -> None:
    goals = [*GOALS[:2], direction("0", torch.ones(6).double())]
    expected = imagine(network(), goals, SMALL, kind, EXACT)
    wrapped = nn.DataParallel(network())
    with torch.inference_mode():
        inside = [*GOALS[:2], direction("0", torch.ones(6).double())]
        found = imagine(wrapped, inside, SMALL, kind, EXACT)
    torch.testing.assert_close(found.inputs.clone(), expected.inputs)
