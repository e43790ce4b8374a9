"""`--try`: remedies side by side, a fixed number of steps each, then twice as many for the better half, and again.

A trial is a run like any other, interrupted when its budget is spent and resumed for the next round (successive
halving: Jamieson and Talwalkar, 2016), so the winner can be continued exactly. Trials lie in a folder of their own;
the run that is treated is only read.
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from cutaway.data import Dataset, load_recorded
from cutaway.doctor.diagnosis import findings
from cutaway.doctor.finding import Finding
from cutaway.doctor.record import Record, read_record
from cutaway.doctor.remedies import Remedy, remedies
from cutaway.errors import InputError
from cutaway.files import write_json
from cutaway.models.trust import Permit, permit
from cutaway.runs import Run, claim_run_path, open_run
from cutaway.showing import Listed, Shown
from cutaway.training import Diverged, Interrupted, Watcher, resume, train

_STEPS = 60
_ROUNDS = 3
_LAST_LOSSES = 10

Tell = Callable[["Trial"], None]


@dataclass(frozen=True)
class Trial(Shown):
    """What one remedy reached.

    Attributes:
        remedy: its name; "as-it-was" is the run's own recipe.
        loss: mean training loss of its last ten steps, or None where it diverged or could not be tried.
        accuracy: running mean of the training accuracy, likewise.
        steps: how many steps it was given.
        seconds: training time.
        run: the trial's run folder.
        command: continues it.
        problem: why there is no loss; "" otherwise.
    """

    remedy: str
    loss: float | None
    accuracy: float | None
    steps: int
    seconds: float
    run: str
    command: str
    problem: str = ""


class _Budget(Watcher):
    """Stops a training after a number of steps, counted from its beginning."""

    def __init__(self, steps: int) -> None:
        self.budget, self.done = steps, 0

    def begin(self, steps: int, steps_an_epoch: int, total: int, batch_size: int) -> None:
        self.done = steps

    def step(self, loss: float, accuracy: float) -> None:
        self.done += 1

    def enough(self) -> bool:
        """Whether the budget is spent."""
        return self.done >= self.budget


def try_remedies(
    run: Run | str | Path,
    *,
    steps: int = _STEPS,
    rounds: int = _ROUNDS,
    trust: bool | str = False,
    tell: Tell | None = None,
) -> Listed[Trial]:
    """Try remedies for a run and return what each reached, the best first.

    Args:
        run: a run of Cutaway's own; its data and network are loaded as `run.json` says.
        steps: the budget of the first round, in optimizer steps; each round doubles it and keeps the better half.
        rounds: how many rounds there are at most.
        trust: whether code that this machine has not trained with may run; see `load_model`.
        tell: hears of each trial after each of its rounds.

    Raises:
        InputError: a loop that was only watched, or data that changed since.
    """
    record = run if isinstance(run, Run) else open_run(run)
    known = read_record(record)
    clinic = _Clinic(record, known, data_of(known), permitted(known, trust), steps * 2 ** (rounds - 1))
    return Listed(_halving(clinic, findings(known), steps, rounds, tell or (lambda trial: None)))


def data_of(record: Record) -> Dataset:
    """The data set of a run of Cutaway's own; a loop that was only watched has none, and changed data are refused."""
    if record.watched:
        raise InputError(
            f"{record.folder} is the record of a loop that is not Cutaway's, so nothing can be tried for it; "
            "train the same network with `cutaway train`, or change the loop as the findings say"
        )
    return load_recorded(open_run(record.folder))


def _halving(clinic: _Clinic, found: Sequence[Finding], steps: int, rounds: int, tell: Tell) -> list[Trial]:
    alive, done = remedies(clinic.record, found), {}
    for number in range(rounds):
        for remedy in alive:
            done[remedy.name] = clinic.attempt(remedy, steps * 2**number)
            tell(done[remedy.name])
        ranked = sorted((r for r in alive if done[r.name].loss is not None), key=lambda r: done[r.name].loss or 0.0)
        kept = ranked[: max(1, len(ranked) // 2)]
        for loser in alive:
            if loser not in kept:
                clinic.discard(loser)
        alive = kept
        if len(alive) < 2 and number > 0:
            break
    # Losses after different numbers of steps do not compare: who came further is better.
    results = sorted(done.values(), key=lambda t: (t.loss is None, -t.steps, t.loss or 0.0))
    write_json(clinic.folder / "trials.json", [asdict(trial) for trial in results])
    return results


class _Clinic:
    """Where the trials of one run lie, and how one is made."""

    def __init__(self, run: Run, record: Record, data: Dataset, allowed: Permit, longest: int) -> None:
        self.record, self.data, self.allowed, self.longest = record, data, allowed, longest
        self.folder = claim_run_path(run.folder.path.parent, f"{run.name}-trials")

    def attempt(self, remedy: Remedy, budget: int) -> Trial:
        """Train until `budget` steps are done, from the beginning or from where the last round stopped."""
        path = self.folder / _file_name(remedy.name)
        return self._measured(remedy, path, self._trained(remedy, path, budget))

    def _trained(self, remedy: Remedy, path: Path, budget: int) -> str:
        """Train for the budget; why that went wrong, or ""."""
        try:
            if path.exists():
                resume(path, data=self.data, watch=_Budget(budget))
            else:
                self._begin(remedy, path.name, budget)
        except Interrupted:
            return ""  # the budget is spent, which is how a trial ends; its state is saved for the next round
        except (Diverged, InputError) as error:
            return str(error)
        return ""

    def _begin(self, remedy: Remedy, name: str, budget: int) -> None:
        own = {**self.record.recipe, **remedy.recipe}
        steps_an_epoch = max(1, len(self.data.splits["train"]) // own["batch_size"])
        own["epochs"] = max(own["epochs"], math.ceil(self.longest / steps_an_epoch))
        train_like(self.record, self.data, self.allowed, self.folder / name, own, remedy.change, _Budget(budget))

    def _measured(self, remedy: Remedy, path: Path, problem: str) -> Trial:
        lines = open_run(path).metrics("step") if path.exists() else []
        losses = [line["loss"] for line in lines[-_LAST_LOSSES:]]
        good = bool(losses) and not problem
        size = int({**self.record.recipe, **remedy.recipe}["batch_size"])
        return Trial(
            remedy.name,
            round(mean(losses), 4) if good else None,
            lines[-1]["accuracy"] if good else None,
            lines[-1]["step"] if lines else 0,
            round(sum(size / line["images_per_second"] for line in lines if line["images_per_second"]), 1),
            str(path),
            f"cutaway resume {shlex.quote(str(path))}",
            problem,
        )

    def discard(self, remedy: Remedy) -> None:
        """A trial that lost keeps its record and gives its weights back to the disk."""
        shutil.rmtree(self.folder / _file_name(remedy.name) / "checkpoints", ignore_errors=True)


def permitted(record: Record, trust: bool | str) -> Permit:
    """The network of a record, if it may be built."""
    model = record.info["model"]
    return permit(model["spec"], model.get("code", {}), trust, record.folder)


def train_like(
    record: Record,
    data: Dataset,
    allowed: Permit,
    path: Path,
    recipe: dict[str, Any],
    change: Sequence[str],
    watch: Watcher | None,
) -> Run:
    """Train the network of a record once more, on its device and in its precision, with every step logged."""
    info = record.info
    options = dict(info["model"]["options"])
    options["code"] = allowed.code
    if change:
        options["change"] = [*options.get("change", []), *change]
    precision = "bf16" if info["plan"].get("bf16") else "fp32"
    return train(
        data,
        allowed.spec,
        recipe={**recipe, "precision": precision, "log_every": 1, "save_every": 0.0},
        runs=path.parent,
        name=path.name,
        device=info["plan"]["device"],
        model_options=options,
        watch=watch,
    )


def _file_name(remedy: str) -> str:
    return remedy.replace("/", "-by-").replace("*", "-times-")
