"""The verb that freezes a run into one file: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cutaway.cli.app import app
from cutaway.cli.trust import Factory, Trust, trusting


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN (its best epoch), RUN@7 or RUN@last.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A .html file.  [default: RUN/report.html]")] = None,
    language: Annotated[
        str | None, typer.Option("--lang", metavar="NAME", help="en or zh.  [default: the terminal's]")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="What it is compared with.  [default: the run's first saved epoch]"),
    ] = None,
    trust: Trust = False,
    factory: Factory = None,
) -> None:
    """Write a run as one file that opens without a network.

    Curves, snapshots, mistakes with their explanations, a comparison and, where an atlas was made, the pages of
    layers and units; under 10 MB, and it says what was left out for that.
    """
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.errors import unknown
    from cutaway.report import write_report
    from cutaway.words import LANGUAGES, of_terminal

    chosen = language or of_terminal()
    if chosen not in LANGUAGES:
        raise unknown("language", chosen, LANGUAGES, f"one of {', '.join(LANGUAGES)}")
    with TerminalWatcher() as watch:
        path = write_report(run, out, chosen, against, trust=trusting(trust, factory), progress=watch.work)
    print(path)
