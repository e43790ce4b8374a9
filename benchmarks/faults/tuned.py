"""Faults that the rules were tuned on.

The kinds are those of DeepLocalize (Wardat et al., 2021), AutoTrainer (Zhang et al., 2021), UMLAUT (Schoop et al.,
2021) and DeepDiagnosis (Wardat et al., 2022), written anew for PyTorch.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from faults.case import Case
from faults.images import blank, by_class, divided, from_one, images, rare, raw, shuffled_labels, twice
from faults.loop import LARGE, Loop, adam, sgd
from faults.networks import (
    built_in,
    changed,
    fill,
    freeze,
    middle,
    middle_norm,
    plain,
    scale,
    shift_bias,
    small,
    small_norm,
)
from faults.sets import cifar, colours, fashion, few_cifar, few_fashion, shapes


class _Root(nn.Module):
    """The square root of what a convolution returns: no number for negative values."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return (maps - 0.05).sqrt()


def _rooted(channels: int, side: int, classes: int) -> nn.Module:
    layers = list(small(channels, side, classes))
    return nn.Sequential(*layers[:4], _Root(), *layers[4:])


TUNED = [
    # what stands between the last layer and the loss
    Case(
        "relu-logits-small",
        "last layer activation",
        Loop(fashion, plain(16, 32, last=nn.ReLU)),
        ("activation-on-logits",),
        "10",
    ),
    Case(
        "relu-logits-vgg",
        "last layer activation",
        Loop(few_cifar, built_in("vgg11", nn.ReLU), **LARGE),
        ("activation-on-logits",),
        "1",
    ),
    Case(
        "softmax-small",
        "softmax twice",
        Loop(fashion, plain(16, 32, last=partial(nn.Softmax, 1))),
        ("softmax-before-loss",),
        "10",
    ),
    Case(
        "softmax-resnet",
        "softmax twice",
        Loop(few_fashion, built_in("resnet18", partial(nn.Softmax, 1)), **LARGE),
        ("softmax-before-loss",),
        "1",
    ),
    Case(
        "squared-error",
        "wrong loss",
        Loop(fashion, small, sgd(0.01), loss=lambda o, y: F.mse_loss(o, F.one_hot(y, 10).float())),
        ("wrong-loss",),
    ),
    Case("nll-raw", "wrong loss", Loop(fashion, small, sgd(0.001), loss=F.nll_loss), ("wrong-loss",)),
    Case(
        "summed-loss",
        "wrong loss",
        Loop(shapes, middle, sgd(0.05), loss=partial(F.cross_entropy, reduction="sum")),
        ("wrong-loss",),
    ),
    # the loop
    Case(
        "no-zero-grad-small",
        "forgotten zero_grad",
        Loop(fashion, small, sgd(0.05), zero_grad="never"),
        ("stale-gradients",),
    ),
    Case(
        "no-zero-grad-vgg",
        "forgotten zero_grad",
        Loop(few_cifar, built_in("vgg11_bn"), adam(1e-3), zero_grad="never", **LARGE),
        ("stale-gradients",),
    ),
    Case("eval-mode-training", "wrong mode", Loop(fashion, small_norm, train_mode="never"), ("trained-in-eval-mode",)),
    Case(
        "training-mode-evaluation",
        "wrong mode",
        Loop(few_fashion, built_in("alexnet"), sgd(0.01), eval_mode=False, **LARGE),
        ("evaluated-in-training-mode",),
    ),
    Case(
        "sorted-small",
        "not shuffled",
        Loop(lambda: by_class(fashion()), small, sgd(0.05), shuffle=False),
        ("not-shuffled",),
    ),
    Case(
        "sorted-resnet",
        "not shuffled",
        Loop(lambda: by_class(few_cifar()), built_in("resnet18"), shuffle=False, **LARGE),
        ("not-shuffled",),
    ),
    Case(
        "frozen-random",
        "unchanged weights",
        Loop(cifar, changed(middle, freeze(slice(0, 4))), sgd(0.05)),
        ("frozen-layers",),
        "0",
    ),
    Case("other-optimizer", "unchanged weights", Loop(fashion, small, optimize_other=True), ("not-updated",)),
    Case("no-step", "unchanged weights", Loop(shapes, small_norm, step=False), ("not-updated",)),
    # rates
    Case(
        "rate-5",
        "rate too high",
        Loop(fashion, small, sgd(5.0)),
        ("rate-too-high", "not-finite", "divergence", "dead-units"),
    ),
    Case(
        "adam-rate-alexnet",
        "rate too high",
        Loop(few_fashion, built_in("alexnet"), adam(0.05), **LARGE),
        ("rate-too-high", "divergence"),
    ),
    Case("rate-1e-7", "slow convergence", Loop(fashion, small, sgd(1e-7)), ("rate-too-low",)),
    Case(
        "rate-1e-6-resnet",
        "slow convergence",
        Loop(few_fashion, built_in("resnet18"), adam(1e-7), **LARGE),
        ("rate-too-low",),
    ),
    Case(
        "momentum-oscillation",
        "oscillating loss",
        Loop(shapes, middle_norm, sgd(3.0, 0.95)),
        ("rate-too-high", "oscillation", "divergence"),
    ),
    # inputs
    Case("pixels-255-small", "data range", Loop(lambda: raw(fashion()), small, sgd(0.05)), ("input-unscaled",)),
    Case(
        "pixels-255-vgg",
        "data range",
        Loop(lambda: raw(few_cifar()), built_in("vgg11"), adam(1e-3), **LARGE),
        ("input-unscaled",),
    ),
    Case(
        "normalised-twice", "data range", Loop(lambda: twice(cifar()), middle, sgd(0.02)), ("input-normalised-twice",)
    ),
    Case("divided-twice", "data range", Loop(lambda: divided(cifar()), middle, sgd(0.02)), ("input-normalised-twice",)),
    Case("blank-images", "data range", Loop(lambda: blank(fashion()), small), ("input-constant",)),
    Case(
        "eval-not-normalised",
        "transforms differ",
        Loop(cifar, middle_norm, eval_input=lambda x: x * 0.25 + 0.47),
        ("evaluation-differs",),
    ),
    Case(
        "eval-channels-swapped",
        "transforms differ",
        Loop(colours, small, eval_input=lambda x: x.flip(1)),
        ("evaluation-differs",),
    ),
    # labels and splits
    Case(
        "shuffled-labels", "wrong labels", Loop(lambda: shuffled_labels(fashion()), small), ("labels-without-meaning",)
    ),
    Case("labels-from-one", "labels out of range", Loop(lambda: from_one(fashion()), small), ("label-range",)),
    Case(
        "one-class-97",
        "imbalance",
        Loop(lambda: rare(images("fashion", 12000, 3000), 0.003), small),
        ("imbalanced-classes",),
    ),
    Case(
        "evaluated-on-train",
        "evaluation set",
        Loop(fashion, small, evaluate_on_train=True),
        ("evaluated-on-training-data",),
    ),
    # layers
    Case(
        "sigmoids-deep",
        "vanishing gradient",
        Loop(fashion, plain(16, 16, 16, 16, 16, 16, 16, activation=nn.Sigmoid), sgd(0.05)),
        ("vanishing-gradients", "signal-fades"),
    ),
    Case(
        "tanh-saturated",
        "saturated activation",
        Loop(fashion, changed(plain(16, 32, activation=nn.Tanh), scale(40.0, slice(0, 3))), sgd(0.01)),
        ("saturated-units", "initial-scale"),
        "0",
    ),
    Case(
        "bias-minus-10",
        "dying ReLU",
        Loop(fashion, changed(small, shift_bias(-10.0, slice(1, 2))), sgd(0.05)),
        ("dead-units",),
        "3",
    ),
    Case(
        "constant-weights",
        "wrong initialisation",
        Loop(shapes, changed(middle, fill(0.01)), sgd(0.05)),
        ("weights-all-alike",),
        "0",
    ),
    Case(
        "weights-30",
        "exploding gradient",
        Loop(cifar, changed(middle, scale(30.0)), sgd(0.01)),
        ("initial-scale", "exploding-gradients"),
        "0",
    ),
    Case(
        "weights-small",
        "vanishing gradient",
        Loop(cifar, changed(middle, scale(0.03)), sgd(0.01)),
        ("initial-scale", "signal-fades"),
        "0",
    ),
    Case(
        "no-activation",
        "missing activation",
        Loop(shapes, plain(24, 32, 48, activation=nn.Identity)),
        ("no-activation",),
        "0",
    ),
    Case("square-root", "not a number", Loop(fashion, _rooted), ("not-finite",), "4"),
    # batches and regularisation
    Case(
        "batch-norm-of-2",
        "batch size",
        Loop(partial(images, "fashion", 400, 200), middle_norm, sgd(0.05), batch=2, epochs=1),
        ("tiny-batch-norm",),
    ),
    Case(
        "batch-of-1",
        "batch size",
        Loop(partial(images, "shapes", 250, 200), small, sgd(0.02), batch=1, epochs=1),
        ("batch-too-small",),
    ),
    Case("dropout-95", "over-regularised", Loop(cifar, plain(16, 32, dropout=0.95), epochs=4), ("over-regularised",)),
]
