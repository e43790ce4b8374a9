"""The verb that makes the pages of all units ahead of time: atlas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json, Layers, ModelName, Weights
from cutaway.cli.streams import print_json, tell
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.words import Words, terminal_words

if TYPE_CHECKING:
    from cutaway.runs.atlas import Atlas


@app.command()
def atlas(
    model: ModelName,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A built-in data set or a folder of images.")],
    layer: Layers = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many patches a unit.")] = 9,
    split: Annotated[str, typer.Option(metavar="NAME", help="Which images: train, val or test.")] = "train",
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave out the imagined images.")] = False,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of an imagined image.")] = 64,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", min=1, help="Side of imagined images.  [default: the model's]")
    ] = None,
    weights: Weights = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Make the page of every unit ahead of time.

    Real patches, statistics, votes, the strongest weights and an imagined image of each unit, in the run's folder or
    in the cache. What is done when it stops is kept, and the same command goes on from there.
    """
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.scope import Scope
    from cutaway.scope.atlas import atlas_folder, make_atlas

    scope = Scope(model, weights=weights, trust=trusting(trust, factory))
    with TerminalWatcher(quiet=as_json) as watch:
        try:
            found = make_atlas(
                scope,
                data,
                layer,
                split=split,
                k=k,
                images=not no_images,
                steps=steps,
                size=size,
                progress=watch.work,
            )
        except KeyboardInterrupt:
            tell(terminal_words()("atlas.kept", folder=atlas_folder(scope)))
            raise
    if as_json:
        print_json(_report(found))
    else:
        print("\n".join(_lines(found, terminal_words())))


def _report(found: Atlas) -> dict[str, Any]:
    files = [path for path in found.path.rglob("[!.]*") if path.is_file()]
    units = {name: layer.channels for name, layer in found.layers.items()}
    return {
        "folder": str(found.path),
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "layers": units,
        "imagined": {name: len(found.imagined_all(name)) for name in units},
        **{name: found.info[name] for name in ("model", "epoch", "weights", "data", "settings")},
    }


def _lines(found: Atlas, say: Words) -> Iterator[str]:
    report = _report(found)
    yield str(found.path)
    counts = {"layers": len(report["layers"]), "units": f"{sum(report['layers'].values()):,}"}
    size = f"{report['bytes'] / 1e6:,.1f}"
    yield say("atlas.made", **counts, imagined=f"{sum(report['imagined'].values()):,}", size=size)
    data = found.info["data"]
    part = say.known("split", data["split"])
    yield say("exemplars.images", count=f"{data['images']:,}", split=part, source=data["source"])
