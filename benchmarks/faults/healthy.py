"""Healthy trainings of many kinds: whatever the doctor calls an error here is a false alarm."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import nn

from faults.case import Case
from faults.images import images, rare, unit
from faults.loop import LARGE, Loop, adam, adamw, rmsprop, sgd
from faults.networks import Make, built_in, changed, kaiming, middle, middle_norm, plain, small, small_norm
from faults.sets import cifar, colours, fashion, few_cifar, few_fashion, shapes


def _case(name: str, loop: Loop) -> Case:
    return Case(name, "healthy", loop)


def _vgg(name: str) -> Make:
    return changed(built_in(name), kaiming)


HEALTHY = [
    _case("small-adam", Loop(fashion, small)),
    _case("small-sgd", Loop(fashion, small, sgd(0.05))),
    _case("small-sgd-slow", Loop(fashion, small, sgd(0.005))),
    _case("small-rmsprop", Loop(fashion, small, rmsprop(1e-3))),
    _case("small-norm-cifar", Loop(cifar, small_norm)),
    _case("small-norm-sgd", Loop(cifar, small_norm, sgd(0.1))),
    _case("small-unit-input", Loop(lambda: unit(fashion()), small)),
    _case("middle-cifar", Loop(cifar, middle)),
    _case("middle-cifar-sgd", Loop(cifar, middle, sgd(0.03))),
    _case("middle-norm-cifar", Loop(cifar, middle_norm)),
    _case("middle-norm-shapes", Loop(shapes, middle_norm, epochs=4)),
    _case("middle-shapes", Loop(shapes, changed(middle, kaiming), epochs=4)),
    _case("colours-small", Loop(colours, small)),
    _case("colours-norm", Loop(colours, middle_norm, sgd(0.02))),
    _case("label-smoothing", Loop(fashion, small, loss=partial(F.cross_entropy, label_smoothing=0.1))),
    _case("log-softmax-nll", Loop(fashion, plain(16, 32, last=partial(nn.LogSoftmax, 1)), loss=F.nll_loss)),
    _case("dropout-half", Loop(fashion, plain(16, 32, dropout=0.5))),
    _case("tanh", Loop(fashion, plain(16, 32, activation=nn.Tanh))),
    _case("leaky", Loop(cifar, plain(24, 32, 48, activation=nn.LeakyReLU))),
    _case("gelu-adamw", Loop(cifar, plain(24, 32, 48, activation=nn.GELU), adamw(2e-3))),
    _case("sigmoid-shallow", Loop(fashion, plain(32, norm=True, activation=nn.Sigmoid), adam(3e-3))),
    _case("batch-16", Loop(partial(images, "fashion", 960, 300), small, sgd(0.02), batch=16)),
    _case("batch-256", Loop(partial(images, "fashion", 5120, 500), small, sgd(0.1), batch=256)),
    _case("accumulating", Loop(fashion, small, batch=16, accumulate=3)),
    _case("clipped", Loop(cifar, middle, sgd(0.05), clip=1.0)),
    _case("warm-up", Loop(fashion, small_norm, sgd(0.01), schedule=lambda share: 3.0 if share < 0.5 else 0.3)),
    _case("mild-imbalance", Loop(lambda: rare(images("fashion", 4000, 800), 0.4), small)),
    _case("no-no-grad", Loop(fashion, small_norm, no_grad=False)),
    _case("long-small", Loop(partial(images, "fashion", 960, 300), small, epochs=10)),
    _case("resnet18-fashion", Loop(few_fashion, built_in("resnet18"), **LARGE)),
    _case("resnet18-cifar-sgd", Loop(few_cifar, built_in("resnet18"), sgd(0.05), **LARGE)),
    _case("vgg11-bn-cifar", Loop(few_cifar, built_in("vgg11_bn"), adam(5e-4), **LARGE)),
    _case("vgg11-kaiming-cifar", Loop(few_cifar, _vgg("vgg11"), adam(2e-4), **LARGE)),
    _case("alexnet-fashion", Loop(few_fashion, built_in("alexnet"), adam(5e-4), **LARGE)),
]
