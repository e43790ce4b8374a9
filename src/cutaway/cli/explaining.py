"""The verb that explains: explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, ModelName, Out, Weights
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.words import Words, terminal_words

if TYPE_CHECKING:
    from cutaway.scope.explanation import Explanation
    from cutaway.scope.ranking import Ranking

_ALL = "all"


@app.command()
def explain(
    model: ModelName,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, or test:412.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="NAME",
            help="A method; repeat it to rank several, or say all.  [default: grad-cam]",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="A class by name or index, 'cat - dog', or a unit LAYER:CHANNEL.  [default: the predicted class]",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "-l", metavar="NAME", help="The layer that a CAM reads.  [default: the last one with maps]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of all random choices.")] = 0,
    out: Out = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Draw which parts of an image speak for a class.

    One method gives its map. Several, or `--method all`, are ranked by how faithful their maps of these images are.
    """
    from cutaway.cli.results import folder_for, save_and_tell
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope import Scope

    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    wanted = method or ["grad-cam"]
    found: Explanation | Ranking
    with TerminalWatcher(quiet=as_json) as watcher:
        if len(wanted) == 1 and wanted[0] != _ALL:
            found = scope.explain(images, wanted[0], target, layer, seed=seed, progress=watcher.work)
        else:
            names = None if _ALL in wanted else wanted
            found = scope.rank(images, names, target, layer=layer, seed=seed, progress=watcher.work)
    save_and_tell(
        found, folder_for(out, "explain", model, images[0]), as_json, text=_text(found), report=_report(found)
    )


def _report(found: Explanation | Ranking) -> dict[str, Any]:
    """What was found, as JSON."""
    from cutaway.scope.explanation import Explanation

    if isinstance(found, Explanation):
        method, layer = found.attribution.method, found.attribution.layer
        return {"method": method, "layer": layer, "images": _images(found)}
    return {"best": found.best, "methods": found.table()}


def _images(found: Explanation) -> list[dict[str, Any]]:
    target, scores = found.attribution.target, found.attribution.scores.tolist()
    return [{"image": name, "target": target.name(i), "score": scores[i]} for i, name in enumerate(found.names)]


def _text(found: Explanation | Ranking) -> str:
    """What was found, for a person: a line an image and the certificate's, or the table of methods."""
    from cutaway.scope.explanation import Explanation

    if isinstance(found, Explanation):
        say = terminal_words()
        lines = [say("explain.image", **{**row, "score": f"{row['score']:.3f}"}) for row in _images(found)]
        return "\n".join([*lines, found.certificate.line()])
    return _ranked(found, terminal_words())


def _ranked(found: Ranking, say: Words) -> str:
    from cutaway.cli.table import table, terminal_width
    from cutaway.scope.ranking import MEASURES

    rows = []
    for row in found.rows:
        numbers = {name: f"{row.numbers[name]:.3f}" if row.numbers else None for name in MEASURES}
        place, seconds = (f"{row.place:.1f}", f"{row.seconds:.2f}") if row.numbers else (None, None)
        cells = {"method": row.method, "place": place, **numbers, "seconds": seconds, "note": say.said(row.note)}
        rows.append({say.known("rank", name): cell for name, cell in cells.items()})
    directions = [
        say("rank.high" if larger else "rank.low", measure=say.known("rank", name)) for name, larger in MEASURES.items()
    ]
    best = say("rank.best", directions=", ".join(directions))
    return f"{table(rows, terminal_width(), [say('rank.note')])}\n\n{best}"
