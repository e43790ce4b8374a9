"""A second set that was held out: written when the rules stood as in commit d33b369, and measured once."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faults.case import Case
from faults.images import (
    Images,
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
    twice,
    unit,
)
from faults.loop import LARGE, Loop, adam, adamw, rmsprop, sgd
from faults.networks import (
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


class _Divided(nn.Module):
    """Each map divided by its own sum, which is 0 where a map is all 0."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps / maps.sum((2, 3), keepdim=True)


def _divided_maps(channels: int, side: int, classes: int) -> nn.Module:
    layers = list(small(channels, side, classes))
    return nn.Sequential(*layers[:2], _Divided(), *layers[2:])


def _one_batch(data: Images) -> Images:
    return data.but(train=data.train[:32].repeat(60, 1, 1, 1), train_labels=data.train_labels[:32].repeat(60))


def _fault(name: str, kind: str, loop: Loop, causes: str, layer: str | None = None) -> Case:
    return Case(name, kind, loop, tuple(causes.split()), layer, held_out=2)


def _healthy(name: str, loop: Loop) -> Case:
    return Case(name, "healthy", loop, held_out=2)


_TOO_HIGH = "rate-too-high divergence not-finite"
_FAULTS = [
    _fault(
        "relu-logits-middle-norm",
        "last layer activation",
        Loop(cifar, plain(24, 32, 48, norm=True, last=nn.ReLU), sgd(0.03)),
        "activation-on-logits",
        "16",
    ),
    _fault(
        "relu6-logits",
        "last layer activation",
        Loop(shapes, plain(16, 24, last=nn.ReLU6), adamw(2e-3)),
        "activation-on-logits",
        "10",
    ),
    _fault(
        "softmax-cifar-sgd",
        "softmax twice",
        Loop(cifar, plain(24, 32, norm=True, last=partial(nn.Softmax, 1)), sgd(0.05)),
        "softmax-before-loss",
        "12",
    ),
    _fault(
        "squared-error-colours",
        "wrong loss",
        Loop(colours, small, loss=lambda o, y: F.mse_loss(o, F.one_hot(y, 5).float())),
        "wrong-loss",
    ),
    _fault("nll-raw-cifar", "wrong loss", Loop(cifar, small_norm, adam(1e-4), loss=F.nll_loss), "wrong-loss"),
    _fault(
        "no-zero-grad-shapes",
        "forgotten zero_grad",
        Loop(shapes, small_norm, sgd(0.02), zero_grad="never"),
        "stale-gradients",
    ),
    _fault(
        "zero-grad-once-an-epoch-fashion",
        "forgotten zero_grad",
        Loop(fashion, middle, adam(5e-4), zero_grad="epoch"),
        "stale-gradients",
    ),
    _fault(
        "train-mode-never-dropout",
        "wrong mode",
        Loop(cifar, plain(16, 32, dropout=0.4), sgd(0.03), train_mode="never"),
        "trained-in-eval-mode",
    ),
    _fault(
        "no-eval-mode-shapes", "wrong mode", Loop(shapes, middle_norm, eval_mode=False), "evaluated-in-training-mode"
    ),
    _fault(
        "sorted-shapes",
        "not shuffled",
        Loop(lambda: by_class(shapes()), small_norm, adamw(), shuffle=False),
        "not-shuffled",
    ),
    _fault(
        "frozen-first",
        "unchanged weights",
        Loop(fashion, changed(middle_norm, freeze(slice(0, 3))), sgd(0.03)),
        "frozen-layers",
        "0",
    ),
    _fault("only-the-head-norm", "unchanged weights", Loop(shapes, small_norm, only_head=True), "frozen-layers", "0"),
    _fault("no-step-colours", "unchanged weights", Loop(colours, middle, step=False), "not-updated"),
    _fault("rate-20", "rate too high", Loop(cifar, small_norm, sgd(20.0)), _TOO_HIGH),
    _fault("adamw-rate-half", "rate too high", Loop(fashion, middle, adamw(0.5)), f"{_TOO_HIGH} dead-units"),
    _fault("rmsprop-rate-norm", "rate too high", Loop(cifar, middle_norm, rmsprop(1.0)), _TOO_HIGH),
    _fault("rate-1e-7-colours", "slow convergence", Loop(colours, middle_norm, sgd(1e-7)), "rate-too-low"),
    _fault("adamw-rate-1e-7", "slow convergence", Loop(shapes, small, adamw(1e-7, 0.0)), "rate-too-low"),
    _fault("pixels-255-colours", "data range", Loop(lambda: raw(colours()), small, sgd(0.03)), "input-unscaled"),
    _fault("twice-shapes", "data range", Loop(lambda: twice(shapes()), middle), "input-normalised-twice"),
    _fault("divided-colours", "data range", Loop(lambda: divided(colours()), small), "input-normalised-twice"),
    _fault("blank-cifar", "data range", Loop(lambda: blank(cifar()), small_norm, sgd(0.05)), "input-constant"),
    _fault(
        "eval-unit",
        "transforms differ",
        Loop(fashion, small, eval_input=lambda x: (x - x.min()) / (x.max() - x.min())),
        "evaluation-differs",
    ),
    _fault(
        "eval-inverted", "transforms differ", Loop(fashion, small_norm, eval_input=lambda x: -x), "evaluation-differs"
    ),
    _fault(
        "shuffled-labels-shapes",
        "wrong labels",
        Loop(lambda: shuffled_labels(shapes()), small),
        "labels-without-meaning",
    ),
    _fault(
        "rolled-labels-colours",
        "wrong labels",
        Loop(lambda: rolled_labels(colours()), middle),
        "labels-without-meaning",
    ),
    _fault("labels-from-one-shapes", "labels out of range", Loop(lambda: from_one(shapes()), middle), "label-range"),
    _fault(
        "one-class-92",
        "imbalance",
        Loop(lambda: rare(images("cifar", 12000, 2500), 0.01, 4), small_norm, sgd(0.02)),
        "imbalanced-classes",
    ),
    _fault("leak-35", "evaluation set", Loop(lambda: leaking(colours(), 0.35), small, sgd(0.02)), "leak"),
    _fault(
        "evaluated-on-train-shapes",
        "evaluation set",
        Loop(shapes, middle_norm, evaluate_on_train=True),
        "evaluated-on-training-data",
    ),
    _fault(
        "repeated-fashion", "duplicates", Loop(lambda: repeated(images("fashion", 480, 400), 4), small), "duplicates"
    ),
    _fault(
        "sigmoids-deep-shapes",
        "vanishing gradient",
        Loop(shapes, plain(16, 16, 16, 16, 16, 16, 16, 16, activation=nn.Sigmoid), adam(1e-3)),
        "vanishing-gradients signal-fades",
    ),
    _fault(
        "plain-vgg13",
        "vanishing gradient",
        Loop(few_cifar, built_in("vgg13"), adam(1e-3), **LARGE),
        "signal-fades vanishing-gradients",
    ),
    _fault(
        "tanh-saturated-cifar",
        "saturated activation",
        Loop(cifar, changed(plain(24, 32, activation=nn.Tanh), scale(80.0, slice(1, 2))), sgd(0.01)),
        "saturated-units initial-scale",
        "3",
    ),
    _fault(
        "bias-minus-15-third",
        "dying ReLU",
        Loop(shapes, changed(middle, shift_bias(-15.0, slice(2, 3))), sgd(0.03)),
        "dead-units",
        "5",
    ),
    _fault(
        "constant-weights-cifar",
        "wrong initialisation",
        Loop(cifar, changed(small, fill(0.02)), adam(1e-3)),
        "weights-all-alike",
        "0",
    ),
    _fault(
        "weights-15-shapes",
        "exploding gradient",
        Loop(shapes, changed(middle, scale(15.0)), sgd(0.01)),
        "initial-scale exploding-gradients",
        "0",
    ),
    _fault(
        "no-activation-cifar",
        "missing activation",
        Loop(cifar, plain(16, 24, 32, activation=nn.Identity), adam(1e-3)),
        "no-activation",
        "0",
    ),
    _fault("divided-maps", "not a number", Loop(cifar, _divided_maps), "not-finite", "2"),
    _fault(
        "batch-norm-of-2-shapes",
        "batch size",
        Loop(partial(images, "shapes", 400, 200), small_norm, adam(1e-3), batch=2, epochs=1),
        "tiny-batch-norm",
    ),
    _fault(
        "batch-of-1-fashion",
        "batch size",
        Loop(partial(images, "fashion", 300, 200), middle, sgd(0.02), batch=1, epochs=1),
        "batch-too-small",
    ),
    _fault("batch-of-960-shapes", "batch size", Loop(shapes, small, sgd(0.03), batch=960, epochs=8), "batch-too-large"),
    _fault("dropout-97", "over-regularised", Loop(fashion, plain(16, 32, dropout=0.97)), "over-regularised"),
    _fault("decay-half", "over-regularised", Loop(cifar, middle, sgd(0.05, decay=0.5)), "over-regularised"),
    _fault(
        "few-images-norm",
        "overfitting",
        Loop(partial(images, "cifar", 192, 500), middle_norm, epochs=30),
        "overfitting",
    ),
    _fault(
        "one-batch-slow",
        "one batch",
        Loop(lambda: _one_batch(cifar()), small, sgd(1e-6), batch=32),
        "one-batch-not-learnt rate-too-low",
    ),
]
_SOUND = [
    _healthy("elu", Loop(cifar, plain(16, 32, activation=nn.ELU), sgd(0.02))),
    _healthy("silu-norm", Loop(fashion, plain(24, 32, norm=True, activation=nn.SiLU), adam(2e-3))),
    _healthy("adamax", Loop(cifar, middle_norm, lambda p: torch.optim.Adamax(p, 2e-3))),
    _healthy("radam", Loop(fashion, small, lambda p: torch.optim.RAdam(p, 2e-3))),
    _healthy("rate-0.01-no-momentum", Loop(fashion, small_norm, sgd(0.05, momentum=0.0))),
    _healthy("batch-24-norm", Loop(cifar, small_norm, adam(5e-4), batch=24)),
    _healthy("smoothed-cifar", Loop(cifar, middle_norm, loss=partial(F.cross_entropy, label_smoothing=0.2))),
    _healthy("dimmed", Loop(colours, small_norm, train_input=lambda x: x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1)))),
    _healthy("unit-fashion-sgd", Loop(lambda: unit(fashion()), small, sgd(0.05))),
    _healthy("kaiming-deep", Loop(shapes, changed(plain(24, 24, 32, 32, 48, 48), kaiming), adam(5e-4), epochs=4)),
    _healthy("clipped-accumulating", Loop(fashion, middle_norm, sgd(0.05), batch=24, accumulate=2, clip=1.0)),
    _healthy("long-colours", Loop(partial(images, "colours", 960, 300), small, sgd(0.01), epochs=8)),
    _healthy("resnet18-shapes", Loop(partial(images, "shapes", 1600, 300), built_in("resnet18"), adam(5e-4), **LARGE)),
    _healthy("vgg11-bn-fashion", Loop(few_fashion, built_in("vgg11_bn"), sgd(0.02), **LARGE)),
]
SECOND = [*_FAULTS, *_SOUND]
