"""The verb that says why a training does not learn."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.app import app
from cutaway.cli.training import Json, RunPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cutaway.doctor import Finding, Trial


@app.command()
def doctor(
    run: RunPath,
    treat: Annotated[
        bool, typer.Option("--try", help="Try remedies side by side and measure what each brings.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a run, what probably causes it, and what would help.

    Reads the record alone, so it can be asked while the run is still training.
    """
    from cutaway.doctor import diagnose, try_remedies

    found = diagnose(run)
    if not as_json:
        _print_findings(found)
    trials = try_remedies(run, tell=None if as_json else _tell_trial) if treat else []
    if as_json:
        lines = {"findings": [finding.as_dict() for finding in found], "trials": [asdict(trial) for trial in trials]}
        print(json.dumps({"run": str(run), **lines}, ensure_ascii=False))
    elif treat:
        _print_trials(trials)


def _tell_trial(trial: Trial) -> None:
    reached = trial.problem or f"loss {trial.loss:.3f} after {trial.steps} steps"
    print(f"tried {trial.remedy}: {reached}", file=sys.stderr)


def _print_trials(trials: Sequence[Trial]) -> None:
    from cutaway.cli.table import table, terminal_width

    rows = [
        {
            "remedy": trial.remedy,
            "loss": "-" if trial.loss is None else f"{trial.loss:.3f}",
            "accuracy": "-" if trial.accuracy is None else f"{trial.accuracy:.1%}",
            "steps": trial.steps,
            "seconds": f"{trial.seconds:.0f}",
        }
        for trial in trials
    ]
    print("\ntraining loss of the last ten steps, and running accuracy of the epoch:")
    print(table(rows, terminal_width(), shrink=("remedy",)))
    if trials and trials[0].loss is not None:
        print(f"next: {trials[0].command}")


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
