"""The verb that makes images: imagine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, ModelName, Out, Weights
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.words import terminal_words

if TYPE_CHECKING:
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope import Scope
    from cutaway.scope.imagined import Imagined

_REGULARISERS = {"jitter": 0, "l2": 0.0, "clamp": False, "blur": 0.0}


@app.command()
def imagine(
    model: ModelName,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", "-c", metavar="CLASS", help="A class by name or index; may be repeated."),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(
            "--unit",
            "-u",
            metavar="LAYER:CHANNEL",
            help="A channel, or one neuron as LAYER:CHANNEL@ROW,COLUMN or @centre; may be repeated.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", metavar="NAME", help="All of a layer; may be repeated."),
    ] = None,
    style: Annotated[str, typer.Option(metavar="NAME", help="classic, fourier or maco.")] = "fourier",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave jitter, l2, clamp or blur out of style classic; may be repeated."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="IMAGE",
            help="Begin with an image: a class is a fooling image, all else a dream.  [default: noise]",
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="With --from and --layer: an image with the same features there.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many steps.  [default: the style's]")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", min=1, help="Side of the images.  [default: the model's]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the noise and the transformations.")] = 0,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Make the images that excite a class, unit or layer.

    All in one picture, each with the response it reached; the values themselves are in arrays.safetensors, and the
    response to the start and to noise of the same colours and spectrum in certificate.json.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope import Scope

    targets = _targets(classes or (), units or (), layer or ())
    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    with TerminalWatcher(quiet=as_json) as watcher:
        if image is None:
            _check_noise(invert)
            found = scope.imagine(
                targets,
                style,
                steps=steps,
                size=size,
                seed=seed,
                progress=watcher.work,
                **_left_out(style, without or ()),
            )
        else:
            _check_from(targets, size, without or ())
            found = _from_image(scope, image, targets[0], bool(classes), invert, steps, seed, watcher)
        for note in found.certificate.notes:
            watcher.note(note)
    words = [str(target) for target in (classes or [])[:1] + (units or [])[:1]] or ["layer"]
    folder = folder_for(out, "imagine", model, *([image] if image else []), *words)
    save_and_tell(found, folder, as_json, text=_text(found), report={"images": _rows(found)})


def _targets(classes: Sequence[str], units: Sequence[str], layers: Sequence[str]) -> list[Any]:
    from cutaway.errors import InputError
    from cutaway.lenses.synthesis import whole_layer

    targets = [*classes, *units, *(whole_layer(name) for name in layers)]
    if not targets:
        raise InputError("nothing to imagine: give --class CLASS, --unit LAYER:CHANNEL or --layer NAME")
    for unit in units:
        if ":" not in unit:
            raise InputError(f"--unit is '{unit}', expected LAYER:CHANNEL such as layer3:17")
    return targets


def _left_out(style: str, names: Sequence[str]) -> dict[str, Any]:
    from cutaway.errors import InputError, unknown

    for name in names:
        if name not in _REGULARISERS:
            raise unknown("regulariser", name, _REGULARISERS, f"one of {', '.join(_REGULARISERS)}")
    if names and style != "classic":
        raise InputError(f"--without is for style classic, found style {style}")
    return {name: _REGULARISERS[name] for name in names}


def _check_noise(invert: bool) -> None:
    from cutaway.errors import InputError

    if invert:
        raise InputError("--invert needs an image: give --from IMAGE")


def _check_from(targets: Sequence[Any], size: int | None, without: Sequence[str]) -> None:
    from cutaway.errors import InputError

    if len(targets) != 1:
        raise InputError(f"--from takes one target, found {len(targets)}; run it once for each")
    if size is not None or without:
        raise InputError("--from begins with an image of the model's size: leave --size and --without out")


def _from_image(
    scope: Scope,
    image: str,
    target: Any,
    is_class: bool,
    invert: bool,
    steps: int | None,
    seed: int,
    watcher: TerminalWatcher,
) -> Imagined:
    from cutaway.errors import InputError

    if invert:
        if not getattr(target, "layer", ""):
            raise InputError("--invert needs the --layer whose features are kept")
        return scope.invert([image], target.layer, steps=steps, seed=seed, progress=watcher.work)
    if is_class:
        return scope.fool([image], target, steps=steps, progress=watcher.work)
    return scope.dream([image], target, steps=steps, seed=seed, progress=watcher.work)


def _rows(found: Imagined) -> list[dict[str, Any]]:
    """What each image reached, beside its checks."""
    check = found.certificate.check
    rows = []
    for index, target in enumerate(found.targets):
        numbers = {name: values[index] for name, values in check.items() if isinstance(values, list)}
        rows.append({"target": target, **numbers})
    return rows


def _text(found: Imagined) -> str:
    say, lines = terminal_words(), []
    for row in _rows(found):
        name, reached = row.pop("target"), row.pop("reached")
        words = [f"{say.known('imagine', key).replace('_', ' ')} {value:.3g}" for key, value in row.items()]
        lines.append(say("imagine.reached", target=name, value=f"{reached:.3g}", rest=", ".join(words)))
    return "\n".join(lines)
