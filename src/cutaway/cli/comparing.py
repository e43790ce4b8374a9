"""The verb that puts two networks side by side: compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, Out
from cutaway.cli.trust import Factory, Trust, trusting_some
from cutaway.words import Words, terminal_words

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
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Put two networks, or two epochs, side by side.

    How alike their layers are (CKA), which unit is which, their gradients and dead units, and the images on which
    they disagree: pictures, the values in arrays.safetensors, and how they were measured in certificate.json.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope.comparison import compare as compare_scopes
    from cutaway.scope.comparison import opened, shared_data

    allowed = trusting_some([first, second], trust, factory)
    with TerminalWatcher(quiet=as_json) as watch:
        a, b = (opened(spec, allowed, weights) for spec in (first, second))
        loaded = shared_data(a, b, data, watch.work)
        found = compare_scopes(a, b, loaded, split=split, layers=layer, images=images, seed=seed, progress=watch.work)
    text = "\n".join(_lines(found, split, len(loaded.splits[split]), terminal_words()))
    save_and_tell(found, folder_for(out, "compare", first, second), as_json, text=text, report=found.figures())


def _lines(found: Comparison, split: str, size: int, say: Words) -> Iterator[str]:
    from cutaway.cli.table import table, terminal_width

    figures = found.figures()
    for letter, name in zip("AB", found.names, strict=True):
        yield f"{letter}: {name}"
    part = say.known("split", split)
    yield say("compare.measured", count=f"{found.similarity.images:,}", size=f"{size:,}", split=part)
    yield from _agreement_lines(figures["agreement"], say)
    for letter, rows, spread in zip("AB", figures["layers"], figures["gradient_spread"], strict=True):
        yield "\n" + say("compare.layers", side=letter)
        shrink = (say("compare.layer"), say("compare.most_similar"))
        yield table([_shown(row, say) for row in rows], terminal_width(), shrink)
        if spread is not None:
            yield say("compare.evenness", side=letter, evenness=f"{spread:.3f}")
    if figures["units"]:
        yield "\n" + say("compare.matched")
        shrink = (say("compare.layer_of", side="A"), say("compare.layer_of", side="B"))
        yield table([_matched(row, say) for row in figures["units"]], terminal_width(), shrink)
    yield from (say("terminal.note", note=say.said(note)) for note in found.certificate.notes)
    yield ""


def _agreement_lines(found: dict[str, Any] | None, say: Words) -> Iterator[str]:
    if found is None:
        return
    if found["accuracy"] is not None:
        first, second = (f"{accuracy:.2%}" for accuracy in found["accuracy"])
        yield say("compare.accuracy", first=first, second=second)
        yield say("compare.right", **found["right"], p=f"{found['mcnemar_p']:.2g}")
    yield say("compare.agree", share=f"{found['agree']:.2%}")


def _matched(row: dict[str, Any], say: Words) -> dict[str, str]:
    return {
        say("compare.layer_of", side="A"): row["layers"][0],
        say("compare.layer_of", side="B"): row["layers"][1],
        say("compare.correlation"): f"{row['mean_correlation']:.3f}",
        say("compare.same_number"): f"{row['same_number']:.0%}",
    }


def _shown(row: dict[str, Any], say: Words) -> dict[str, str]:
    """A layer's row with the words and digits of a person's table."""

    def text(key: str, form: str) -> str:
        return "" if row[key] is None else format(row[key], form)

    cells = {
        "layer": row["layer"],
        "most_similar": row["most_similar"] or "",
        "cka": text("cka", ".3f"),
        "gradient": text("gradient_norm", ".2e"),
        "relative": text("relative_gradient", ".2e"),
        "sparsity": text("gradient_sparsity", ".3f"),
        "near_zero": text("gradient_near_zero", ".1%"),
        "zeros": text("zero_fraction", ".1%"),
        "channels": text("channels", "d"),
        "dead": text("dead", "d"),
        "stuck": text("saturated", "d"),
    }
    return {say(f"compare.{name}"): cell for name, cell in cells.items()}
