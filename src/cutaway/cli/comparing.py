"""The verb that puts two networks side by side: compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, Out

if TYPE_CHECKING:
    from cutaway.scope.comparison import Comparison

_MODEL = "RUN, RUN@7, RUN@last, a built-in name, torchvision:NAME, timm:NAME or FILE.py:FACTORY."


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="Likewise; RUN@3 and RUN@last are two epochs.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="A built-in data set or a folder of images.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="Which images: test, val or train.")] = "test",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            metavar="NAME",
            help="A layer of either network; may be repeated.  [default: convolutions and linear layers]",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(metavar="N", min=4, help="How many images of the split, drawn by --seed.")
    ] = 2000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which images, and in which order.")] = 0,
    out: Out = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|default", help="Weights, for each MODEL that is no run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put two networks, or two epochs, side by side.

    How alike their layers are (CKA), which unit is which, their gradients and dead units, and the images on which
    they disagree: pictures, the values in arrays.safetensors, and how they were measured in certificate.json.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.data import load_data
    from cutaway.runs import is_run
    from cutaway.scope import Scope
    from cutaway.scope.comparison import compare as compare_scopes

    with TerminalWatcher(quiet=as_json) as watch:
        a, b = (
            Scope(spec, weights=None if is_run(spec) or is_run(spec.rpartition("@")[0]) else weights)
            for spec in (first, second)
        )
        loaded = load_data(data, progress=watch.work)
        found = compare_scopes(a, b, loaded, split=split, layers=layer, images=images, seed=seed, progress=watch.work)
    text = "\n".join(_lines(found, split, len(loaded.splits[split])))
    save_and_tell(found, folder_for(out, "compare", first, second), as_json, text=text, report=found.figures())


def _lines(found: Comparison, split: str, size: int) -> Iterator[str]:
    from cutaway.cli.table import table, terminal_width

    figures = found.figures()
    for letter, name in zip("AB", found.names, strict=True):
        yield f"{letter}: {name}"
    yield f"measured on {found.similarity.images:,} of the {size:,} images of the {split} split"
    yield from _agreement_lines(figures["agreement"])
    for letter, rows, spread in zip("AB", figures["layers"], figures["gradient_spread"], strict=True):
        yield f"\nlayers of {letter}, and the most similar layer of the other"
        yield table([_shown(row) for row in rows], terminal_width(), ("layer", "most similar"))
        if spread is not None:
            yield f"gradient lengths are spread over the layers of {letter} with evenness {spread:.3f} (1 is even)"
    if figures["units"]:
        yield "\nunits matched one to one by their correlation"
        yield table([_matched(row) for row in figures["units"]], terminal_width(), ("layer of A", "layer of B"))
    yield from (f"note: {note}" for note in found.certificate.notes)
    yield ""


def _agreement_lines(found: dict[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    if found["accuracy"] is not None:
        right = found["right"]
        yield f"accuracy: A {found['accuracy'][0]:.2%}, B {found['accuracy'][1]:.2%}"
        yield (
            f"right: both {right['both']}, only A {right['only_a']}, only B {right['only_b']}, neither "
            f"{right['neither']} (McNemar p {found['mcnemar_p']:.2g})"
        )
    yield f"they say the same of {found['agree']:.2%} of the images"


def _matched(row: dict[str, Any]) -> dict[str, str]:
    return {
        "layer of A": row["layers"][0],
        "layer of B": row["layers"][1],
        "mean correlation": f"{row['mean_correlation']:.3f}",
        "same number": f"{row['same_number']:.0%}",
    }


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """A layer's row with the words and digits of a person's table."""

    def text(key: str, form: str) -> str:
        return "" if row[key] is None else format(row[key], form)

    return {
        "layer": row["layer"],
        "most similar": row["most_similar"] or "",
        "CKA": text("cka", ".3f"),
        "gradient": text("gradient_norm", ".2e"),
        "/ weight": text("relative_gradient", ".2e"),
        "sparsity": text("gradient_sparsity", ".3f"),
        "near 0": text("gradient_near_zero", ".1%"),
        "zeros": text("zero_fraction", ".1%"),
        "channels": text("channels", "d"),
        "dead": text("dead", "d"),
        "stuck": text("saturated", "d"),
    }
