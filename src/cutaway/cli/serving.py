"""The verb that serves: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cutaway.cli.app import app


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder that holds the runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0 takes any free port.")] = 8777,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Show a model that is no run as well: FILE.py:FACTORY, torchvision:NAME."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|default", help="Weights of the models without a run.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Images for the models without a run.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code that runs from elsewhere name.")] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Open the microscope in the browser, on this machine alone.

    It listens on 127.0.0.1 alone and stops at Ctrl-C.
    """
    import webbrowser

    from cutaway.web.serve import serve as run_server
    from cutaway.web.site import Named, Site

    models = [Named(spec, weights, data) for spec in model or []]

    def ready(address: str) -> None:
        print(address, flush=True)
        if show:
            webbrowser.open(address)

    run_server(Site(folder, {one.name: one for one in models}, trust), port, ready)
