"""Faults and healthy trainings that were written after the rules were frozen (commit 5b1db55), and never tuned on."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faults.case import Case
from faults.images import (
    blank,
    by_class,
    divided,
    from_one,
    images,
    leaking,
    rare,
    raw,
    repeated,
    rolled_labels,
    shuffled_labels,
    spoilt,
    twice,
    unit,
)
from faults.loop import LARGE, Loop, adam, adamw, rmsprop, sgd
from faults.networks import (
    Make,
    built_in,
    changed,
    fill,
    freeze,
    kaiming,
    middle,
    middle_norm,
    plain,
    scale,
    shift_bias,
    small,
    small_norm,
)
from faults.sets import cifar, colours, fashion, few_cifar, few_fashion, shapes


class _Logarithm(nn.Module):
    """The logarithm of what a ReLU returns: minus infinity for its zeros."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.log()


class _Functional(nn.Module):
    """A network whose last line is `return F.relu(...)`."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, batch: Tensor) -> Tensor:
        return F.relu(self.body(batch))


def _logarithm(channels: int, side: int, classes: int) -> nn.Module:
    layers = list(small(channels, side, classes))
    return nn.Sequential(*layers[:2], _Logarithm(), *layers[2:])


def _functional(channels: int, side: int, classes: int) -> nn.Module:
    return _Functional(middle(channels, side, classes))


def _absolute(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.l1_loss(outputs, F.one_hot(labels, 10).float())


def _fault(name: str, kind: str, loop: Loop, causes: str, layer: str | None = None) -> Case:
    return Case(name, kind, loop, tuple(causes.split()), layer, held_out=1)


def _healthy(name: str, loop: Loop) -> Case:
    return Case(name, "healthy", loop, held_out=1)


def _vgg(name: str) -> Make:
    return changed(built_in(name), kaiming)


_LAST = [
    _fault(
        "relu-logits-resnet",
        "last layer activation",
        Loop(few_fashion, built_in("resnet18", nn.ReLU), **LARGE),
        "activation-on-logits",
        "1",
    ),
    _fault("relu-function", "last layer activation", Loop(shapes, _functional), "activation-on-logits"),
    _fault(
        "tanh-logits",
        "last layer activation",
        Loop(cifar, plain(16, 32, last=nn.Tanh), sgd(0.02)),
        "activation-on-logits",
        "10",
    ),
    _fault(
        "sigmoid-logits",
        "last layer activation",
        Loop(colours, plain(16, 32, last=nn.Sigmoid)),
        "activation-on-logits",
        "10",
    ),
    _fault(
        "softmax-alexnet",
        "softmax twice",
        Loop(few_fashion, built_in("alexnet", partial(nn.Softmax, 1)), **LARGE),
        "softmax-before-loss",
        "1",
    ),
    _fault(
        "softmax-wrong-axis",
        "softmax twice",
        Loop(fashion, plain(16, 32, last=partial(nn.Softmax, 0))),
        "activation-on-logits softmax-before-loss",
        "10",
    ),
    _fault("absolute-error", "wrong loss", Loop(fashion, small, sgd(0.02), loss=_absolute), "wrong-loss"),
    _fault(
        "negated-loss",
        "wrong loss",
        Loop(fashion, small, sgd(0.01), loss=lambda o, y: -F.cross_entropy(o, y)),
        "wrong-loss divergence",
    ),
    _fault(
        "summed-loss-cifar",
        "wrong loss",
        Loop(cifar, middle_norm, sgd(0.05), loss=partial(F.cross_entropy, reduction="sum")),
        "wrong-loss",
    ),
    _fault(
        "nll-after-softmax",
        "wrong loss",
        Loop(fashion, plain(16, 32, last=partial(nn.Softmax, 1)), loss=F.nll_loss),
        "wrong-loss softmax-before-loss",
    ),
]
_LOOP = [
    _fault(
        "zero-grad-once-an-epoch",
        "forgotten zero_grad",
        Loop(cifar, middle_norm, sgd(0.02), zero_grad="epoch"),
        "stale-gradients",
    ),
    _fault(
        "no-zero-grad-adam",
        "forgotten zero_grad",
        Loop(colours, plain(16, 32, activation=nn.GELU), adam(3e-3), zero_grad="never"),
        "stale-gradients",
    ),
    _fault(
        "train-mode-once",
        "wrong mode",
        Loop(few_fashion, built_in("alexnet"), adam(5e-4), train_mode="once", **LARGE),
        "trained-in-eval-mode",
    ),
    _fault("no-eval-mode", "wrong mode", Loop(cifar, small_norm, eval_mode=False), "evaluated-in-training-mode"),
    _fault(
        "no-eval-mode-no-no-grad",
        "wrong mode",
        Loop(fashion, plain(16, 32, dropout=0.5), eval_mode=False, no_grad=False),
        "evaluated-in-training-mode",
    ),
    _fault("sorted-colours", "not shuffled", Loop(lambda: by_class(colours()), small, shuffle=False), "not-shuffled"),
    _fault(
        "sorted-cifar",
        "not shuffled",
        Loop(lambda: by_class(cifar()), middle_norm, sgd(0.05), shuffle=False),
        "not-shuffled",
    ),
    _fault("only-the-head", "unchanged weights", Loop(cifar, middle, only_head=True), "frozen-layers", "0"),
    _fault(
        "frozen-middle",
        "unchanged weights",
        Loop(shapes, changed(middle, freeze(slice(2, 5))), sgd(0.05)),
        "frozen-layers",
        "5",
    ),
    _fault("rate-zero", "unchanged weights", Loop(fashion, small, sgd(0.0)), "not-updated rate-too-low"),
    _fault("other-optimizer-cifar", "unchanged weights", Loop(cifar, middle, optimize_other=True), "not-updated"),
]
_RATES = [
    _fault("adam-rate-1", "rate too high", Loop(cifar, small, adam(1.0)), "rate-too-high divergence not-finite"),
    _fault(
        "rate-10-resnet",
        "rate too high",
        Loop(few_fashion, built_in("resnet18"), sgd(10.0), **LARGE),
        "rate-too-high divergence not-finite",
    ),
    _fault(
        "rmsprop-rate",
        "rate too high",
        Loop(colours, middle, rmsprop(0.3)),
        "rate-too-high divergence not-finite",
    ),
    _fault(
        "rate-grows",
        "rate too high",
        Loop(fashion, small, sgd(0.05), schedule=lambda share: 60.0 if share > 0 else 1.0),
        "rate-too-high divergence not-finite",
    ),
    _fault("rate-1e-6-norm", "slow convergence", Loop(cifar, middle_norm, sgd(1e-6)), "rate-too-low"),
    _fault("adam-rate-1e-8", "slow convergence", Loop(colours, small, adam(1e-8)), "rate-too-low"),
]
_INPUTS = [
    _fault(
        "pixels-255-alexnet",
        "data range",
        Loop(lambda: raw(few_fashion()), built_in("alexnet"), sgd(0.02), **LARGE),
        "input-unscaled",
    ),
    _fault("pixels-255-shapes", "data range", Loop(lambda: raw(shapes()), middle), "input-unscaled"),
    _fault("twice-colours", "data range", Loop(lambda: twice(colours()), small), "input-normalised-twice"),
    _fault("divided-fashion", "data range", Loop(lambda: divided(fashion()), small_norm), "input-normalised-twice"),
    _fault("blank-shapes", "data range", Loop(lambda: blank(shapes()), middle_norm), "input-constant"),
    _fault("spoilt-pixels", "not a number", Loop(lambda: spoilt(cifar()), middle, sgd(0.02)), "not-finite", "0"),
    _fault(
        "train-not-normalised",
        "transforms differ",
        Loop(cifar, small_norm, train_input=lambda x: x * 0.25 + 0.47),
        "evaluation-differs",
    ),
    _fault(
        "eval-255",
        "transforms differ",
        Loop(shapes, middle_norm, eval_input=lambda x: x * 64 + 120),
        "evaluation-differs",
    ),
    _fault(
        "eval-channels-swapped-cifar",
        "transforms differ",
        Loop(cifar, small_norm, eval_input=lambda x: x.flip(1)),
        "evaluation-differs",
    ),
]
_LABELS = [
    _fault(
        "shuffled-labels-cifar",
        "wrong labels",
        Loop(lambda: shuffled_labels(cifar()), middle_norm, epochs=5),
        "labels-without-meaning",
    ),
    _fault(
        "rolled-labels",
        "wrong labels",
        Loop(lambda: rolled_labels(fashion()), small, sgd(0.05)),
        "labels-without-meaning",
    ),
    _fault("labels-from-one-cifar", "labels out of range", Loop(lambda: from_one(cifar()), small_norm), "label-range"),
    _fault(
        "one-class-85",
        "imbalance",
        Loop(lambda: rare(images("fashion", 8000, 2000), 0.02), small),
        "imbalanced-classes",
    ),
    _fault(
        "evaluated-on-train-cifar",
        "evaluation set",
        Loop(cifar, middle, evaluate_on_train=True),
        "evaluated-on-training-data",
    ),
    _fault("leak-20", "evaluation set", Loop(lambda: leaking(fashion(), 0.2), small), "leak"),
    _fault("repeated-images", "duplicates", Loop(lambda: repeated(images("cifar", 640, 500), 3), middle), "duplicates"),
]
_LAYERS = [
    _fault(
        "sigmoids-deep-cifar",
        "vanishing gradient",
        Loop(cifar, plain(24, 24, 24, 24, 24, 24, 24, 24, activation=nn.Sigmoid)),
        "vanishing-gradients signal-fades",
    ),
    _fault(
        "plain-vgg16",
        "vanishing gradient",
        Loop(few_cifar, built_in("vgg16"), adam(1e-3), **LARGE),
        "signal-fades vanishing-gradients",
    ),
    _fault(
        "tanh-saturated-middle",
        "saturated activation",
        Loop(cifar, changed(plain(24, 32, 48, activation=nn.Tanh), scale(60.0, slice(1, 3)))),
        "saturated-units initial-scale",
        "3",
    ),
    _fault(
        "bias-minus-20-first",
        "dying ReLU",
        Loop(cifar, changed(middle, shift_bias(-20.0, slice(0, 1)))),
        "dead-units",
        "0",
    ),
    _fault(
        "bias-minus-9-linear",
        "dying ReLU",
        Loop(fashion, changed(small, shift_bias(-9.0, slice(2, 3))), sgd(0.03)),
        "dead-units",
        "7",
    ),
    _fault("zero-weights", "wrong initialisation", Loop(fashion, changed(small, fill(0.0))), "weights-all-alike", "0"),
    _fault(
        "one-constant-layer",
        "wrong initialisation",
        Loop(cifar, changed(middle, fill(0.05, slice(2, 3)))),
        "weights-all-alike",
        "5",
    ),
    _fault(
        "weights-20-fashion",
        "exploding gradient",
        Loop(fashion, changed(small, scale(20.0)), sgd(0.02)),
        "initial-scale exploding-gradients",
        "0",
    ),
    _fault(
        "weights-50th",
        "vanishing gradient",
        Loop(fashion, changed(small, scale(0.02)), sgd(0.01)),
        "initial-scale signal-fades",
        "0",
    ),
    _fault(
        "no-activation-fashion",
        "missing activation",
        Loop(fashion, plain(16, 32, activation=nn.Identity), sgd(0.02)),
        "no-activation",
        "0",
    ),
    _fault("logarithm", "not a number", Loop(fashion, _logarithm), "not-finite", "2"),
]
_SIZES = [
    _fault(
        "batch-norm-of-3",
        "batch size",
        Loop(partial(images, "cifar", 450, 200), small_norm, sgd(0.05), batch=3, epochs=1),
        "tiny-batch-norm",
    ),
    _fault(
        "batch-of-2",
        "batch size",
        Loop(partial(images, "cifar", 400, 200), small, adam(3e-3), batch=2, epochs=1),
        "batch-too-small",
    ),
    _fault("batch-of-960", "batch size", Loop(cifar, middle, sgd(0.02), batch=960, epochs=6), "batch-too-large"),
    _fault(
        "dropout-90-alexnet",
        "over-regularised",
        Loop(few_fashion, built_in("alexnet", dropout=0.9), adam(5e-4), **LARGE),
        "over-regularised",
    ),
    _fault("decay-1", "over-regularised", Loop(fashion, small, sgd(0.05, decay=1.0)), "over-regularised"),
    _fault("adam-decay", "over-regularised", Loop(cifar, small_norm, adam(1e-3, weight_decay=0.5)), "over-regularised"),
    _fault("few-images", "overfitting", Loop(partial(images, "cifar", 240, 500), middle, epochs=30), "overfitting"),
    _fault(
        "two-channels",
        "underfitting",
        Loop(partial(images, "cifar", 960, 300), plain(2, head=3), sgd(0.05), epochs=10),
        "underfitting",
    ),
]
_HEALTHY = [
    _healthy("selu", Loop(fashion, plain(16, 32, activation=nn.SELU), sgd(0.02))),
    _healthy("nesterov", Loop(cifar, small, lambda p: torch.optim.SGD(p, 0.03, momentum=0.9, nesterov=True))),
    _healthy("adagrad", Loop(fashion, small_norm, lambda p: torch.optim.Adagrad(p, 0.01))),
    _healthy("nadam", Loop(colours, middle, lambda p: torch.optim.NAdam(p, 1e-3))),
    _healthy("wide", Loop(fashion, plain(48, 64, norm=True), sgd(0.03))),
    _healthy("three-convolutions", Loop(cifar, plain(16, 24, 32, head=32), adam(2e-3), batch=64)),
    _healthy("shapes-sgd", Loop(shapes, middle_norm, sgd(0.03), epochs=4)),
    _healthy("unit-input-norm", Loop(lambda: unit(cifar()), middle_norm)),
    _healthy("batch-96", Loop(fashion, small, sgd(0.06), batch=96)),
    _healthy("dropout-quarter", Loop(cifar, plain(24, 32, dropout=0.25), adamw(1e-3))),
    _healthy("noise", Loop(cifar, middle_norm, train_input=lambda x: x + 0.1 * torch.randn_like(x))),
    _healthy("mirrored", Loop(cifar, middle_norm, sgd(0.05), train_input=lambda x: x.flip(3))),
    _healthy("falling-rate", Loop(fashion, small, sgd(0.1), schedule=lambda share: 0.3)),
    _healthy("imbalance-half", Loop(lambda: rare(images("fashion", 4000, 800), 0.5, 3), small_norm, sgd(0.05))),
    _healthy("alexnet-cifar", Loop(few_cifar, built_in("alexnet"), adam(3e-4), **LARGE)),
    _healthy("vgg11-fashion", Loop(few_fashion, _vgg("vgg11"), adam(1e-4), **LARGE)),
]
HELD_OUT = [*_LAST, *_LOOP, *_RATES, *_INPUTS, *_LABELS, *_LAYERS, *_SIZES, *_HEALTHY]
