"""Verbs that look inside a network: predict, maps, kernels, gradients, curves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.streams import print_json, tell
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.errors import InputError
from cutaway.words import terminal_words

if TYPE_CHECKING:
    from cutaway.scope import Scope

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="RUN, RUN@7, RUN@last, a built-in name, torchvision:NAME, timm:NAME or FILE.py:FACTORY."
    ),
]
ImageName = Annotated[
    str, typer.Argument(metavar="IMAGE", help="An image file, or test:412 for an image of the run's data.")
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", "-l", metavar="NAME", help="A layer's dotted name; may be repeated.  [default: convolutions]"
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Draw so many channels a layer, chosen by --seed.  [default: all]"),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Which channels are drawn where not all are.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where pictures and arrays go.  [default: in pictures/]")
]
Weights = Annotated[str | None, typer.Option(metavar="FILE|default", help="Weights, for a model that is no run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def predict(
    model: ModelName,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, or test:412.")],
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes are listed.")] = 10,
    as_json: Json = False,
) -> None:
    """Rank the classes for each image.

    Prints probability and score (the logit, which is what the network returns), best first. Of several images one that
    cannot be read is named, and the others are ranked.
    """
    from cutaway.scope import Scope

    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    wrong: dict[str, str] = {}
    try:
        found = scope.predict(images)
    except InputError:
        wrong = _unreadable(scope, images)
        if not wrong or len(wrong) == len(set(images)):
            raise
        found = scope.predict([name for name in images if name not in wrong])
    good = [name for name in images if name not in wrong]
    ranked = {name: rows[:top] for name, rows in zip(good, found, strict=True)}
    if as_json:
        print_json(
            [
                {"image": name, "error": wrong[name]} if name in wrong else {"image": name, "classes": ranked[name]}
                for name in dict.fromkeys(images)
            ]
        )
    else:
        _print_ranked(ranked)
    if wrong:
        raise InputError("; ".join(map(terminal_words().said, wrong.values())))


def _unreadable(scope: Scope, images: list[str]) -> dict[str, str]:
    """The sentence of each image that cannot be read."""
    found = {}
    for name in images:
        try:
            scope.inputs(name)
        except InputError as error:
            found[name] = str(error)
    return found


def _print_ranked(ranked: dict[str, list[dict[str, Any]]]) -> None:
    say = terminal_words()
    for name, rows in ranked.items():
        print(name)
        for row in rows:
            print(f"  {row['probability']:7.2%}  {say('predict.score')} {row['logit']:8.3f}  {row['class']}")


@app.command()
def maps(
    model: ModelName,
    image: ImageName,
    layer: Layers = None,
    channels: Channels = None,
    seed: Seed = 0,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Draw what every layer answers to an image.

    One figure of the whole network (ten channels of each layer), one picture a layer, and the values themselves in
    arrays.safetensors.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.scope import Scope
    from cutaway.scope.looking import feature_maps, of_convolutions

    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    found = feature_maps(scope, image, layer, channels=channels, seed=seed)
    found = found if layer else of_convolutions(scope, found)
    save_and_tell(found, folder_for(out, "maps", model, image), as_json)


@app.command()
def kernels(
    model: ModelName,
    layer: Layers = None,
    seed: Seed = 0,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Draw the kernels of every convolution.

    One picture a layer, and the values themselves in arrays.safetensors.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.scope import Scope
    from cutaway.scope.looking import kernels as read_kernels

    found = read_kernels(Scope(model, weights=weights, trust=trusting(trust, factory)), layer, seed=seed)
    save_and_tell(found, folder_for(out, "kernels", model), as_json)


@app.command()
def gradients(
    model: ModelName,
    image: ImageName,
    target: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="The right class, by name or index.  [default: the predicted one]"),
    ] = None,
    layer: Layers = None,
    seed: Seed = 0,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Draw how the loss would change every kernel.

    The gradient of the cross-entropy for one image and its right class: one picture a layer, and the values
    themselves in arrays.safetensors.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.scope import Scope
    from cutaway.scope.looking import gradients as weight_gradients
    from cutaway.scope.looking import need_convolutions

    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    found = weight_gradients(scope, image, target, layer or need_convolutions(scope), seed=seed)
    save_and_tell(found, folder_for(out, "gradients", model, image), as_json)


@app.command()
def curves(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .svg, .png or .pdf file.  [default: RUN/curves.svg]"),
    ] = None,
) -> None:
    """Draw loss and accuracy over the epochs, for a paper or a slide."""
    from cutaway.pictures import curves_figure
    from cutaway.runs import open_run

    record = open_run(run)
    path = out or record.folder.path / "curves.svg"
    with warnings.catch_warnings(record=True) as caught:
        curves_figure(record.metrics(), path, title=record.name, say=terminal_words())
    for warning in caught:
        tell(f"cutaway: {warning.message}")
    print(path)
