"""The images that the cases train on, by name; the few ones for networks that take long."""

from __future__ import annotations

from functools import partial

from faults.images import images

fashion, cifar, shapes, colours = (partial(images, name) for name in ("fashion", "cifar", "shapes", "colours"))
few_cifar, few_fashion = partial(images, "cifar", 1600, 300), partial(images, "fashion", 1600, 300)
