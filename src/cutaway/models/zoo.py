"""Networks of torchvision and timm, with or without their own weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cutaway.errors import InputError, unknown
from cutaway.models.model import Preprocessing, Shape

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_RESCALING = ("inception_v3", "googlenet")
_AUXILIARY = ("AuxLogits", "aux1", "aux2")


@dataclass(frozen=True)
class Found:
    """A library's network with the input it is made for, and the class names of its own weights ((), if unnamed)."""

    network: nn.Module
    shape: Shape
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    classes: tuple[str, ...] = ()


def standardisation(shape: Shape, mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    """RGB statistics for `shape`; other counts of channels get their averages.

    >>> standardisation((1, 8, 8), (0.25, 0.5, 0.75), (0.25, 0.25, 0.25)).mean
    (0.5,)
    """
    if shape[0] == len(mean):
        return Preprocessing(shape, mean, std)
    averages = [(sum(values) / len(values),) * shape[0] for values in (mean, std)]
    return Preprocessing(shape, *averages)


def from_torchvision(name: str, *, shape: Shape | None, pretrained: bool) -> Found:
    """`name` of torchvision's classifiers, with its default weights if `pretrained`.

    Auxiliary classifiers are left out, and the change of scale inside Inception and GoogLeNet is replaced by the
    preprocessing it amounts to (mean and deviation 0.5).
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown("model", name, known, "among torchvision's classifiers")
    builder = models.get_model_builder(name)
    preset = models.get_model_weights(builder).DEFAULT
    transforms = preset.transforms()
    side = transforms.crop_size[0]
    found_shape = shape or (3, side, side)
    options = _torchvision_options(name, found_shape, pretrained)
    network = _made(f"torchvision:{name}", lambda: builder(weights=preset if pretrained else None, **options))
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if name in _RESCALING:
        _simplify(network)
        mean, std = _HALF, _HALF
    return Found(network, found_shape, mean, std, tuple(preset.meta["categories"]))


def _torchvision_options(name: str, shape: Shape, pretrained: bool) -> dict[str, Any]:
    if name in _RESCALING and not pretrained:
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_") and not pretrained:
        return {"image_size": shape[1]}
    if name.startswith("maxvit") and not pretrained:
        return {"input_size": shape[1:]}
    return {}


def _simplify(network: nn.Module) -> None:
    """Take out what would return more than logits in training, and what would scale the input once more."""
    for part in _AUXILIARY:
        if hasattr(network, part):
            setattr(network, part, None)
    network.aux_logits = False  # type: ignore[assignment]  # a plain flag, which nn.Module's types do not know
    network.transform_input = False  # type: ignore[assignment]  # as above


def without_auxiliary(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` of a file without those of auxiliary classifiers."""
    return {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] not in _AUXILIARY}


def from_timm(name: str, *, classes: int | None, shape: Shape | None, pretrained: bool, dropout: float | None) -> Found:
    """`name` of timm, with its default weights if `pretrained`; timm itself adapts head, channels and dropout."""
    try:
        import timm
    except ImportError as error:
        raise InputError(f"timm:{name} needs timm, which is not installed; pip install 'cutaway[timm]'") from error
    architecture, dot, _ = name.partition(".")
    # Listed names alone: timm itself would also fetch from a hub, or read a folder, whose name a run may bring.
    if not timm.is_model(architecture) or (dot and name not in timm.list_models(include_tags=True)):
        raise unknown("model", name, timm.list_models(include_tags=bool(dot)), "in timm")
    options: dict[str, Any] = {"num_classes": classes, "drop_rate": dropout}
    if shape is not None:
        options["in_chans"] = shape[0]
        options["img_size"] = shape[1:] if _has_fixed_size(name) else None
    given = {key: value for key, value in options.items() if value is not None}
    network = _made(f"timm:{name}", lambda: timm.create_model(name, pretrained=pretrained, **given))
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]  # timm's own attribute
    return Found(network, shape or tuple(config["input_size"]), tuple(config["mean"]), tuple(config["std"]))


def _has_fixed_size(name: str) -> bool:
    from timm.models import get_pretrained_cfg_value

    return bool(get_pretrained_cfg_value(name, "fixed_input_size"))


def _made(spec: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` returns; failing to fetch weights, and refusing a size, are sentences."""
    try:
        return make()
    except (OSError, EOFError) as error:  # URLError, timeouts and Hugging Face's errors are kinds of OSError
        raise InputError(
            f"the default weights of {spec} were neither in the local cache nor could they be fetched "
            f"({_first_line(error)}); give them as a file: --weights FILE"
        ) from error
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise InputError(f"{spec} cannot be made: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
