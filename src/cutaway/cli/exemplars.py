"""The verb that finds the real patches which excite units most: exemplars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, ModelName, Out, Weights
from cutaway.cli.streams import tell
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.words import Words, terminal_words

if TYPE_CHECKING:
    from cutaway.scope.exemplars import Exemplars


@app.command()
def exemplars(
    model: ModelName,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A built-in data set or a folder of images.")],
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", metavar="NAME", help="A layer; may be repeated.  [default: convolutions]"),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many patches a unit.")] = 9,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", "-u", metavar="LAYER:CHANNEL", help="Draw this unit by itself; may be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Which images: train, val or test.")] = "train",
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many processes scan.  [default: one a core]")
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="fp32, or bf16: faster, and nearly the same patches.")
    ] = "fp32",
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images at a time.  [default: what fits the cache]")
    ] = None,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Find the real patches that excite each unit most.

    One pass over a split for all units of all layers. What is done when it stops is kept in the folder, and the same
    command goes on from there.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope import Scope
    from cutaway.scope.exemplars import exemplars as find
    from cutaway.scope.exemplars import parse_unit

    units = [parse_unit(text) for text in unit or ()]
    folder = folder_for(out, "exemplars", model, data)
    with TerminalWatcher(quiet=as_json) as watch:
        try:
            found = find(
                Scope(model, weights=weights, trust=trusting(trust, factory)),
                data,
                layer,
                k,
                split=split,
                folder=folder,
                processes=processes,
                batch=batch,
                precision=precision,
                units=units,
                progress=watch.work,
            )
        except KeyboardInterrupt:
            tell(terminal_words()("exemplars.kept", folder=folder))
            raise
    save_and_tell(found, folder, as_json, text="\n".join(_lines(found, terminal_words())), report=_report(found))


def _lines(found: Exemplars, say: Words) -> Iterator[str]:
    from cutaway.scope.exemplar_result import plain_layers

    check = found.certificate.check
    part = say.known("split", found.split.name)
    yield say("exemplars.images", count=f"{len(found.split):,}", split=part, source=found.source)
    for row in plain_layers(found):
        size, (height, width) = "x".join(map(str, row["map"])), row["field"]
        sees = say("unit.field_exact" if row["field_exact"] else "unit.field", height=height, width=width)
        constant = say("exemplars.constant", count=row["constant"]) if row["constant"] else ""
        yield "  " + say(
            "exemplars.layer", layer=row["layer"], units=row["units"], constant=constant, size=size, sees=sees
        )
    gap = f"{check['replay_gap']:.1g}"
    yield say("exemplars.replayed", equal=check["replayed_equal"], count=check["replayed"], gap=gap)
    for layer, channel in found.units:
        yield f"\n{layer}:{channel}"
        for patch in found.unit(layer, channel):
            where = say("exemplars.place", image=found.name(patch.image), row=patch.place[0], column=patch.place[1])
            yield f"  {patch.score:10.4f}  {where}"


def _report(found: Exemplars) -> dict[str, Any]:
    from cutaway.scope.exemplar_result import plain_layers

    return {"layers": plain_layers(found), "units": [found.rows(layer, channel) for layer, channel in found.units]}
