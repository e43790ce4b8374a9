"""The verb that says why a training does not learn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cutaway.cli.app import app
from cutaway.cli.training import Json, RunPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cutaway.doctor import Finding


@app.command()
def doctor(run: RunPath, as_json: Json = False) -> None:
    """Say what is wrong with a run, what probably causes it, and what would help.

    Reads the record alone, so it can be asked while the run is still training.
    """
    from cutaway.doctor import diagnose

    found = diagnose(run)
    if as_json:
        print(json.dumps({"run": str(run), "findings": [finding.as_dict() for finding in found]}, ensure_ascii=False))
        return
    _print_findings(found)


def _print_findings(found: Sequence[Finding]) -> None:
    if not found:
        print("nothing found: none of the rules sees anything wrong in this record")
    for finding in found:
        print(f"{finding.severity}: {finding.title}  [{finding.rule}]")
        if finding.evidence.layer:
            print(f"  begins at  {finding.evidence.layer}")
        print(f"  cause      {finding.cause}")
        print(f"  try        {finding.remedy}")
        if finding.also:
            print(f"  explains   {', '.join(finding.also)}")
