"""Verbs that look inside a network: predict, maps, kernels, gradients, curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app

if TYPE_CHECKING:
    from torch import Tensor

    from cutaway.cli.subject import Subject
    from cutaway.pictures import Picture

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
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes are listed.")] = 10,
    as_json: Json = False,
) -> None:
    """Rank the classes for each image.

    Prints probability and score (the logit, which is what the network returns), best first.
    """
    from cutaway.cli.subject import open_subject

    subject = open_subject(model, weights)
    ranked = {name: subject.ranking(subject.image(name).input)[:top] for name in images}
    if as_json:
        print(json.dumps([{"image": name, "classes": rows} for name, rows in ranked.items()], ensure_ascii=False))
        return
    for name, rows in ranked.items():
        print(name)
        for row in rows:
            print(f"  {row['probability']:7.2%}  score {row['logit']:8.3f}  {row['class']}")


@app.command()
def maps(
    model: ModelName,
    image: ImageName,
    layer: Layers = None,
    channels: Channels = None,
    seed: Seed = 0,
    out: Out = None,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Draw what every layer answers to an image.

    One figure of the whole network (ten channels of each layer), one picture a layer, and the values themselves in
    arrays.safetensors.
    """
    from cutaway.cli.subject import open_subject
    from cutaway.lenses.activations import feature_maps
    from cutaway.pictures import channel_grid, network_figure

    subject = open_subject(model, weights)
    wanted = set() if layer else set(subject.convolutions)
    seen = subject.image(image)
    found = feature_maps(subject.model.network, seen.input, layer or None)
    if wanted:
        found = {name: value for name, value in found.items() if name.partition("#")[0] in wanted}
    arrays = {name: value[0].float().cpu() for name, value in found.items()}
    pictures = {
        f"maps-{name}": channel_grid(value.numpy(), layer=name, count=channels, seed=seed)
        for name, value in arrays.items()
    }
    figure = [(name, value.numpy()) for name, value in arrays.items()]
    pictures = {"network": network_figure(figure, count=channels or 10, seed=seed, title=seen.name), **pictures}
    folder = out or Path("pictures") / f"maps-{subject.name}-{seen.stem}"
    _finish(folder, subject, pictures, arrays, {"image": seen.name, "channels": channels, "seed": seed}, as_json)


@app.command()
def kernels(
    model: ModelName,
    layer: Layers = None,
    seed: Seed = 0,
    out: Out = None,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Draw the kernels of every convolution.

    One picture a layer, and the values themselves in arrays.safetensors.
    """
    from cutaway.cli.subject import open_subject
    from cutaway.lenses.weights import kernels as read_kernels
    from cutaway.pictures import kernel_grid

    subject = open_subject(model, weights)
    network = subject.model.network
    arrays = {name: read_kernels(network, name).float().cpu().contiguous() for name in layer or subject.convolutions}
    pictures = {f"kernels-{name}": kernel_grid(value.numpy(), layer=name, seed=seed) for name, value in arrays.items()}
    _finish(out or Path("pictures") / f"kernels-{subject.name}", subject, pictures, arrays, {"seed": seed}, as_json)


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
    as_json: Json = False,
) -> None:
    """Draw how the loss would change every kernel.

    The gradient of the cross-entropy for one image and its right class: one picture a layer, and the values
    themselves in arrays.safetensors.
    """
    import torch

    from cutaway.cli.subject import open_subject
    from cutaway.lenses.weights import gradients as weight_gradients
    from cutaway.pictures import kernel_grid

    subject = open_subject(model, weights)
    seen = subject.image(image)
    best = subject.ranking(seen.input)[0]["class"]
    chosen = subject.target(target if target is not None else best)
    names = layer or subject.convolutions
    found = weight_gradients(subject.model.network, seen.input, torch.tensor([chosen]), names)
    arrays = {name: value.float().cpu().contiguous() for name, value in found.items()}
    pictures = {
        f"gradients-{name}": kernel_grid(value.numpy(), layer=name, what="gradients of the kernels", seed=seed)
        for name, value in arrays.items()
        if value.ndim == 4
    }
    about = {"image": seen.name, "target": subject.model.classes[chosen], "seed": seed}
    _finish(
        out or Path("pictures") / f"gradients-{subject.name}-{seen.stem}", subject, pictures, arrays, about, as_json
    )


@app.command()
def curves(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A .html (interactive), .png, .svg or .pdf file.  [default: RUN/curves.html]"
        ),
    ] = None,
) -> None:
    """Draw loss and accuracy over the epochs."""
    from cutaway.errors import InputError
    from cutaway.files import write_text
    from cutaway.pictures import curves_figure, curves_html
    from cutaway.runs import open_run

    record = open_run(run)
    path = out or record.folder.path / "curves.html"
    if path.suffix == ".html":
        write_text(path, curves_html(record.metrics(), title=record.name))
    elif path.suffix in (".png", ".svg", ".pdf"):
        curves_figure(record.metrics(), path, title=record.name)
    else:
        raise InputError(f"--out is {path}, expected a name ending in .html, .png, .svg or .pdf")
    print(path)


def _finish(
    folder: Path,
    subject: Subject,
    pictures: dict[str, Picture],
    arrays: dict[str, Tensor],
    about: dict[str, Any],
    as_json: bool,
) -> None:
    from cutaway.cli.subject import save_all

    files = save_all(folder, subject, pictures, arrays, about)
    if as_json:
        print(json.dumps({"folder": str(folder), "files": files}, ensure_ascii=False))
        return
    print(folder / files[0])
    rest = files[1:]
    print(f"beside it: {', '.join(rest) if len(rest) < 5 else f'{rest[0]} ... {rest[-1]}, {len(rest)} files'}")
