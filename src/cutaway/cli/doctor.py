"""The verb that says why a training does not learn."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cutaway.cli.app import app
from cutaway.cli.streams import print_json, tell
from cutaway.cli.training import Json, RunPath
from cutaway.cli.trust import Factory, Trust, trusting
from cutaway.numerals import DASH, percent
from cutaway.words import terminal_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cutaway.doctor import Finding, Trial
    from cutaway.runs import Run


@app.command()
def doctor(
    run: RunPath,
    treat: Annotated[
        bool, typer.Option("--try", help="Try remedies side by side and measure what each brings.")
    ] = False,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Say why a run does not learn, and what helps.

    Reads the record alone, so it can be asked while the run is still training.
    """
    from cutaway.cli.results import keep
    from cutaway.doctor import diagnose, try_one_batch, try_remedies
    from cutaway.doctor.diagnosis import keep_findings
    from cutaway.runs import open_run

    record = open_run(run)
    found = diagnose(record, keep=False)
    code = keep(run, lambda: keep_findings(record, found))
    if not as_json:
        _print_findings(found)
    allowed = trusting(trust, factory)
    one_batch = try_one_batch(run, trust=allowed) if treat else None
    if one_batch and not as_json:
        _print_one_batch(one_batch)
    trials = try_remedies(run, trust=allowed, tell=None if as_json else _tell_trial) if treat else []
    if as_json:
        lines = {"findings": [finding.as_dict() for finding in found], "trials": [asdict(trial) for trial in trials]}
        tried = {"one_batch": [finding.as_dict() for finding in diagnose(one_batch)]} if one_batch else {}
        print_json({"run": str(run), **lines, **tried})
    elif treat:
        _print_trials(trials)
    raise typer.Exit(code)


def _print_findings(found: Sequence[Finding]) -> None:
    say = terminal_words()
    if not found:
        print(say("doctor.nothing"))
    for finding in found:
        print(f"{say(f'doctor.{finding.severity}')}: {say.said(finding.title)}  [{finding.rule}]")
        lines = {"begins": finding.evidence.layer, "cause": say.said(finding.cause), "remedy": say.said(finding.remedy)}
        for name, text in {**lines, "also": ", ".join(finding.also)}.items():
            if text:
                print(f"  {say(f'doctor.{name}', text=text)}")


def _print_one_batch(run: Run) -> None:
    """Whether a batch was learnt by heart, and if not, what lies behind it."""
    from cutaway.doctor import diagnose

    say, lines = terminal_words(), run.metrics("step")
    figures = {"loss": f"{lines[-1]['loss']:.3f}" if lines else "nan", "steps": len(lines)}
    failures = {"one-batch-not-learnt", "not-finite"}
    found = [finding for finding in diagnose(run) if failures & {finding.rule, *finding.also}]
    if found:
        print("\n" + say("doctor.one_batch_not", title=say.said(found[0].title), rule=found[0].rule, **figures))
    else:
        print("\n" + say("doctor.one_batch", **figures))


def _tell_trial(trial: Trial) -> None:
    say = terminal_words()
    reached = say.said(trial.problem) or say("doctor.reached", loss=f"{trial.loss:.3f}", steps=trial.steps)
    tell(say("doctor.tried", remedy=trial.remedy, reached=reached))


def _print_trials(trials: Sequence[Trial]) -> None:
    from cutaway.cli.table import table, terminal_width

    say = terminal_words()
    rows = [
        {
            "remedy": trial.remedy,
            "loss": DASH if trial.loss is None else f"{trial.loss:.3f}",
            "accuracy": percent(trial.accuracy),
            "steps": trial.steps,
            "seconds": f"{trial.seconds:.0f}",
        }
        for trial in trials
    ]
    print(f"\n{say('doctor.trials')}")
    print(table(rows, terminal_width(), shrink=("remedy",)))
    if trials and trials[0].loss is not None:
        print(say("terminal.next", command=trials[0].command))
