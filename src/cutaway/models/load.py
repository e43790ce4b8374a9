"""From a model's spec to a `Model`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cutaway.errors import InputError, unknown
from cutaway.models import builtin, foreign, zoo
from cutaway.models.adapt import explain_failure, first_convolution, smallest_side
from cutaway.models.changes import apply_changes
from cutaway.models.factories import absolute
from cutaway.models.freezing import freeze_backbone
from cutaway.models.model import Model, Preprocessing, Shape
from cutaway.models.probe import Trial, attempt
from cutaway.models.trust import Code, is_own_code, permit
from cutaway.models.weights import Tensors, fit_weights, read_weights

_DEFAULT_CLASSES, _DEFAULT_SHAPE = 10, (3, 224, 224)


def load_model(
    spec: str | Path,
    *,
    classes: Sequence[str] | int | None = None,
    shape: Shape | None = None,
    weights: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    dropout: float | None = None,
    stem: str | None = None,
    freeze: bool | str = False,
    change: Sequence[str] = (),
    seed: int | None = None,
    trust: bool | str = False,
    code: Code | None = None,
) -> Model:
    """The network that `spec` names, adapted to `classes` and to images of `shape`.

    `spec` is a run folder (`RUN`, `RUN@7`, `RUN@last`), a built-in name, `torchvision:NAME`, `timm:NAME`,
    `FILE.py:FACTORY` or `package.module:FACTORY`. `classes` are the names or their count (default: what the run or
    the weights have, else 10 for a built-in and the network's own for others). `shape` is (C, H, W) (default: what
    the run, the preprocessing or the network is made for). `weights` is a `.safetensors`, `.pth` or `.pt` file, or
    `default` for a library's own. `dropout` (0..1) and `stem` (`small`, `half`, `imagenet`) replace the
    architecture's where it has them. `freeze` leaves only the class layer trainable, or the layer whose dotted name
    is given. `change` names small repairs of the structure (`batch-norm`, `no-last-activation`). `seed` fixes what is
    drawn at random, and leaves torch's generator as it was. `trust` opens a run whose network is made by code that this
    machine has not trained with: True runs the factory that the run names, a spec runs that one instead. `code` lets
    no file of one's own run but those, with these hashes. Raises `InputError`, one sentence, for anything that does
    not fit.

    >>> load_model("resnet18", classes=("cat", "dog"), shape=(1, 28, 28)).options
    {'stem': 'small'}
    """
    shape = shape or (preprocessing.shape if preprocessing else None)
    _check_numbers(classes, shape, dropout)
    request = _Request(
        str(spec), classes, shape, weights, preprocessing, dropout, stem, freeze, tuple(change), trust, code
    )
    with _seeded(seed):
        return _make(request)


@dataclass(frozen=True)
class _Request:
    spec: str
    classes: Sequence[str] | int | None
    shape: Shape | None
    weights: str | Path | None
    preprocessing: Preprocessing | None
    dropout: float | None
    stem: str | None
    freeze: bool | str
    change: tuple[str, ...]
    trust: bool | str
    code: Code | None


def _make(request: _Request) -> Model:
    spec = request.spec
    if _is_run(spec) and spec not in builtin.model_names():
        return _from_run(request)
    if isinstance(request.trust, str):
        raise InputError(f"{spec} is no run, whose network another factory could make; leave out {request.trust}")
    if spec in builtin.model_names():
        return _builtin(request)
    if ":" in spec:
        return _foreign(request)
    raise unknown("model", spec, builtin.model_names())


def _builtin(request: _Request) -> Model:
    name, shape = request.spec, request.shape or _DEFAULT_SHAPE
    if request.weights == "default":
        raise InputError(f"the built-in {name} has no weights of its own; take torchvision:{name}, or --weights FILE")
    tensors = _tensors(request)
    heads = builtin.heads(name)
    classes = _class_names(request.classes, _count_in(tensors, heads[0]) or _DEFAULT_CLASSES)
    options = builtin.settled_options(name, shape=shape, stem=request.stem, dropout=request.dropout)
    _check_size(name, shape, options)
    network = builtin.build(name, classes=len(classes), shape=shape, **options)
    model = Model(network, name, classes, shape, request.preprocessing, heads[0], options)
    return _finished(model, request, tensors, heads)


def _foreign(request: _Request) -> Model:
    spec = request.spec
    if request.stem is not None:
        raise InputError(f"{spec} has no stem to choose; leave out stem, or take a built-in resnet")
    tensors = _tensors(request)
    made = foreign.make(
        spec,
        shape=request.shape,
        classes=_count(request.classes),
        pretrained=request.weights == "default",
        dropout=request.dropout,
        code=request.code,
    )
    if tensors is not None and spec.startswith("torchvision:"):
        tensors = zoo.without_auxiliary(tensors)
    count = _count(request.classes) or _count_in(tensors, made.head) or made.count
    notes = (*made.notes, *foreign.fit_head(made, count))
    # A library says what its weights expect; one's own network what it expects itself.
    has_weights = request.weights is not None or is_own_code(spec)
    classes = _class_names(request.classes, count, made.classes if has_weights else ())
    options = {} if request.dropout is None else {"dropout": request.dropout}
    preprocessing = request.preprocessing or (made.preprocessing if has_weights else None)
    model = Model(
        made.network, absolute(spec), classes, made.shape, preprocessing, made.head, options, made.warnings, notes
    )
    model.code = dict(made.code)
    return _finished(model, request, tensors, (made.head,))


def _from_run(request: _Request) -> Model:
    from cutaway.runs import resolve

    if request.weights is not None:
        raise InputError(f"{request.spec} is a run and has its own weights; leave out --weights")
    run, epoch = resolve(request.spec)
    try:
        record = run.info["model"]
        saved = Preprocessing.from_dict(record["preprocessing"] or {})
        spec, options, classes = record["spec"], record["options"], tuple(record["classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.folder.run_json} does not describe its model ({error!r})") from error
    shape = request.shape or saved.shape
    allowed = permit(spec, record.get("code", {}), request.trust, str(run.folder.path))
    again = replace(
        request,
        spec=allowed.spec,
        code=allowed.code,
        trust=False,
        classes=request.classes or classes,
        shape=shape,
        weights=run.weights(epoch),
        preprocessing=request.preprocessing or zoo.standardisation(shape, saved.mean, saved.std),
        dropout=options.get("dropout") if request.dropout is None else request.dropout,
        stem=request.stem or options.get("stem"),
        change=request.change or tuple(options.get("change", [])),
    )
    return _make(again)


def _is_run(spec: str) -> bool:
    """Whether `spec` means a run folder: it is a folder, or looks like a path to one."""
    path = Path(spec.rpartition("@")[0] or spec)
    is_path = path.is_dir() or Path(spec).is_dir() or len(path.parts) > 1
    return is_path and not spec.startswith(("torchvision:", "timm:")) and not _is_file_spec(spec)


def _is_file_spec(spec: str) -> bool:
    return spec.rpartition(":")[0].endswith(".py")


def _finished(model: Model, request: _Request, tensors: Tensors | None, heads: tuple[str, ...]) -> Model:
    """`model` with the tensors of a file in it, and frozen if asked for."""
    trainable = request.freeze if isinstance(request.freeze, str) else model.head
    model.pretrained = request.weights is not None
    if request.change:
        apply_changes(model.network, request.change, model.shape)
        model.options["change"] = list(request.change)
        if "no-last-activation" in request.change:
            model.warnings = ()  # they were about that activation
    if tensors is not None:
        source, first = f"the file {request.weights}", first_convolution(model.network)
        fitted = fit_weights(model.network, tensors, source, heads, first)
        trainable = fitted.left_out or trainable
        model.notes += fitted.notes
        if model.preprocessing is None:
            model.preprocessing = zoo.standardisation(model.shape, zoo.IMAGENET_MEAN, zoo.IMAGENET_STD)
            model.notes += ("the mean and deviation of ImageNet are taken to be those of the weights",)
    if request.freeze:
        freeze_backbone(model.network, [trainable])
        # By name, so that building the network again without the weights leaves the same layers trainable.
        model.options["freeze"] = trainable
        if request.freeze is True and not model.pretrained and not is_own_code(model.spec):
            model.warnings += ("the frozen layers have random weights: only the class layer learns; give --weights",)
    return model


def _tensors(request: _Request) -> Tensors | None:
    return None if request.weights in (None, "default") else read_weights(Path(str(request.weights)))


def _count(classes: Sequence[str] | int | None) -> int | None:
    return classes if isinstance(classes, int) or classes is None else len(classes)


def _count_in(tensors: Tensors | None, head: str) -> int | None:
    weight = (tensors or {}).get(f"{head}.weight")
    return None if weight is None else len(weight)


def _class_names(classes: Sequence[str] | int | None, count: int, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    if classes is not None and not isinstance(classes, int):
        return tuple(classes)
    count = count if classes is None else classes
    return known if len(known) == count else tuple(str(number) for number in range(count))


def _check_numbers(classes: Sequence[str] | int | None, shape: Shape | None, dropout: float | None) -> None:
    if classes is not None and (_count(classes) or 0) < 1:
        raise InputError("a classifier needs at least one class")
    if shape is not None and (len(shape) != 3 or min(shape) < 1):
        raise InputError(f"the input's shape is channels, height, width, all at least 1; found {tuple(shape)}")
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"dropout is a probability from 0 to below 1; found {dropout}")


def _check_size(name: str, shape: Shape, options: dict[str, object]) -> None:
    """An `InputError` if images of `shape` do not pass through the built-in network; tried without arithmetic."""

    def trial(height: int, width: int) -> Trial:
        size = (shape[0], height, width)
        with torch.device("meta"), warnings.catch_warnings():
            # A network for too small images has layers without weights, of which torch warns.
            warnings.simplefilter("ignore")
            return attempt(builtin.build(name, classes=2, shape=size, **options), torch.empty(1, *size))  # type: ignore[arg-type]  # options are build's own

    found = trial(*shape[1:])
    if found.error is not None:
        smallest = smallest_side(lambda side: trial(side, side).error is None, shape)
        raise explain_failure(found, name, shape, smallest)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
