"""What a page shows of one run, as plain data; it knows no HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError
from cutaway.numerals import number, percent
from cutaway.pictures.curves import Curves, read_curves
from cutaway.runs import EvaluationRecord, Run, RunInfo, best_line, best_of, readable
from cutaway.views.film import Film, build_film
from cutaway.views.findings import Finding, read_findings
from cutaway.words import Words, words

if TYPE_CHECKING:
    from cutaway.lenses.architecture import Row

# Convolutions and linear layers are the rows of the layer table; these only scale what passes through.
_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm", "RMSNorm")


@dataclass(frozen=True)
class Figure:
    """One number worth a large print: what it is, the number, and what it was measured on."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class LayerRow:
    """One layer with a weight: its shape and, after the last epoch, its health (None: not measured)."""

    name: str
    kind: str
    output: str
    parameters: int | None
    receptive_field: str
    weight_norm: float | None
    gradient_norm: float | None
    update_ratio: float | None
    zero_fraction: float | None
    dead: str


@dataclass(frozen=True, eq=False)
class RunView:
    """All that the page of a run shows.

    Attributes:
        name, data, model, status: words for the head of the page.
        figures: the large numbers.
        facts: name and value of everything that went in.
        notes: sentences that a reader must know (bad files, overlaps, a problem).
        curves: loss and accuracy.
        epochs: the epoch records of `metrics.jsonl`.
        best_epoch: by the validation split.
        evaluation: what `evaluate` measured, on the test split if it was.
        layers: one row for each convolution and linear layer.
        film: the snapshots.
        findings: what the doctor says, or None if it was not asked.
    """

    name: str
    data: str
    model: str
    status: str
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    curves: Curves
    epochs: tuple[Mapping[str, Any], ...]
    best_epoch: int | None
    evaluation: Mapping[str, Any] | None
    layers: tuple[LayerRow, ...]
    film: Film | None
    findings: tuple[Finding, ...] | None


def view_run(run: Run, say: Words | None = None) -> RunView:
    """Read everything that the page of `run` shows; `say` has the texts (English). What the run recorded stays."""
    say = say or words()
    info, epochs, problems = run.info, run.metrics("epoch"), list[str]()
    evaluation, findings = run.first_evaluation(problems), readable(partial(read_findings, run), problems)
    layers, reason = _layers(run)
    shapes = [say("note.shapes", reason=say.said(reason))] if reason else []
    notes = [*problems, *notes_of(info, evaluation, say), *shapes]
    return RunView(
        name=run.name,
        data=info["data"]["name"],
        model=info["model"]["spec"],
        status=run.status,
        figures=tuple(_figures(info, epochs, evaluation, say)),
        facts=tuple(facts_of(info, say)),
        notes=tuple(notes),
        curves=read_curves(run.metrics()),
        epochs=tuple(epochs),
        best_epoch=best_of(epochs),
        evaluation=evaluation,
        layers=layers,
        film=build_film(run, say),
        findings=findings,
    )


def run_row(run: Run) -> dict[str, Any]:
    """One line of the list of runs, for programs too and so in English; of a damaged one its name and `problem`."""
    problems: list[str] = []
    info, epochs = readable(run.folder.info, problems), readable(partial(run.metrics, "epoch"), problems)
    if info is None or epochs is None:
        empty = dict.fromkeys(("data", "model", "epochs", "best", "accuracy", "measured on"))
        return {"run": run.name, "status": "damaged", **empty, "problem": problems[0]}
    best = best_line(epochs)
    return {
        "run": run.name,
        "status": run.status,
        "data": info["data"]["name"],
        "model": info["model"]["spec"],
        "epochs": f"{len(epochs)}/{info['recipe'].get('epochs', '?')}",
        "best": best_of(epochs),
        "accuracy": percent(best["val_accuracy"]) if best else None,
        "measured on": f"val ({_size(info, 'val', words())})" if best else None,
        "problem": info.get("problem") or None,
    }


def split_size(info: RunInfo, split: str) -> int | None:
    """How many images a split had."""
    found = info["data"]["splits"].get(split)
    return found["size"] if found else None


def _size(info: RunInfo, split: str, say: Words) -> str:
    size = split_size(info, split)
    return say("run.images", count=f"{size:,}") if size else say("run.size_unknown")


def _figures(
    info: RunInfo, epochs: list[dict[str, Any]], evaluation: EvaluationRecord | None, say: Words
) -> Iterator[Figure]:
    if evaluation:
        low, high = (percent(end) for end in evaluation["accuracy_interval"])
        images = say("run.images", count=f"{evaluation['size']:,}")
        note = say("run.interval", images=images, low=low, high=high, epoch=evaluation["epoch"])
        yield _accuracy(evaluation["split"], evaluation["accuracy"], note, say)
    if best := best_line(epochs):
        note = say("run.chosen", images=_size(info, "val", say), epoch=best["epoch"])
        yield _accuracy("val", best["val_accuracy"], note, say)
    if epochs:
        last = epochs[-1]
        note = say("run.seen", epochs=len(epochs), count=f"{last.get('samples', 0):,}")
        yield Figure(say("run.trained_for"), duration(last.get("seconds", 0.0), say), note)


def _accuracy(split: str, accuracy: float, note: str, say: Words) -> Figure:
    return Figure(say("run.accuracy_on", split=say.known("split", split)), f"{accuracy:.2%}", note)


def duration(seconds: float, say: Words | None = None) -> str:
    """A time as people say it.

    >>> duration(42.4), duration(334), duration(7500), duration(334, words("zh"))
    ('42 s', '5 min 34 s', '2 h 05 min', '5 分 34 秒')
    """
    say = say or words()
    if seconds < 60:
        return say("time.seconds", seconds=f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("time.minutes", minutes=minutes, seconds=rest)
    return say("time.hours", hours=minutes // 60, minutes=minutes % 60)


def facts_of(info: RunInfo, say: Words) -> list[tuple[str, str]]:
    """Name and value of everything that went in."""
    data, model = info["data"], info["model"]
    plan = {**info.get("plan", {}), "reason": say.said(info.get("plan", {}).get("reason", ""))}
    sizes = [f"{say.known('split', name)} {split['size']:,}" for name, split in data.get("splits", {}).items()]
    facts = {
        "data": str(data.get("source", "")),
        "images": f"{', '.join(sizes)} · {'×'.join(map(str, data.get('shape', [])))}",
        "model": f"{model.get('spec', '')} {_options(model.get('options', {}), say)}".strip(),
        "recipe": _options(info.get("recipe", {}), say),
        "machine": _options({**plan, **info.get("environment", {})}, say),
        "started": str(info.get("started", "")),
    }
    return [(say(f"fact.{name}"), value) for name, value in facts.items() if value]


def _options(values: Mapping[str, Any], say: Words) -> str:
    plain = {key: value for key, value in values.items() if isinstance(value, (str, int, float)) and value != ""}
    return " · ".join(
        f"{say.known('machine', key).replace('_', ' ')} {_value(value, say)}" for key, value in plain.items()
    )


def _value(value: str | float, say: Words) -> str:
    if isinstance(value, bool):
        return say("value.yes" if value else "value.no")
    return number(value) if isinstance(value, float) else str(value)


def notes_of(info: RunInfo, evaluation: EvaluationRecord | None, say: Words) -> list[str]:
    """Sentences that a reader must know."""
    notes = [info["problem"]] if info.get("problem") else []
    notes += info.get("notes", [])
    notes += evaluation["warnings"] if evaluation else []
    notes += info["model"].get("warnings", [])
    bad = info["data"]["quarantine"]
    if bad:
        notes.append(say("note.quarantine", count=len(bad), file=bad[0]["file"], reason=say.said(bad[0]["reason"])))
    return [*notes, *info["data"]["notes"]]


def _layers(run: Run) -> tuple[tuple[LayerRow, ...], str]:
    """A row for each layer with a weight, and why the shapes are missing, if they are."""
    problems: list[str] = []
    lines = readable(run.vitals, problems) or []
    vitals = {line["layer"]: line for line in lines if not line["kind"].startswith(_NORMS)}
    if problems:
        return (), problems[0]
    try:
        shapes = _shapes(run)
    except InputError as error:
        return tuple(_row(name, line, None) for name, line in vitals.items()), str(error)
    names = [name for name, shape in shapes.items() if name in vitals or not vitals]
    return tuple(_row(name, vitals.get(name, {}), shapes[name]) for name in names), ""


def _shapes(run: Run) -> dict[str, Row]:
    """Output, parameters and receptive field of each layer with a weight, by building the network again."""
    from cutaway.lenses.architecture import summarize
    from cutaway.models import load_model
    from cutaway.models.trust import Untrusted

    channels, height, width = run.info["data"].get("shape") or (0, 0, 0)
    try:
        network = load_model(f"{run.folder.path}@last").network
    except Untrusted as error:
        command = f"cutaway summary {quote(str(run.folder.path))}"
        named = f"`{command} --model FILE.py:FACTORY` shows its layers"
        raise error.instead(f"look at it, then `{command} --trust` shows its layers", named) from error
    rows = summarize(network, (channels, height, width)).rows
    return {row.name: row for row in rows if row.parameters and not row.kind.startswith(_NORMS)}


def _row(name: str, vitals: Mapping[str, Any], shape: Row | None) -> LayerRow:
    dead = vitals.get("dead_channels")
    output = shape.output_shape if shape else None
    return LayerRow(
        name=name,
        kind=shape.kind if shape else str(vitals.get("kind", "")),
        output="×".join(map(str, output[1:])) if output else "",
        parameters=shape.parameters if shape else None,
        receptive_field=_field(shape),
        weight_norm=vitals.get("weight_norm"),
        gradient_norm=vitals.get("gradient_norm"),
        update_ratio=vitals.get("update_ratio"),
        zero_fraction=vitals.get("zero_fraction"),
        dead="" if dead is None else str(len(dead)),
    )


def _field(shape: Row | None) -> str:
    if shape is None or None in shape.receptive_field:
        return ""
    height, width = shape.receptive_field
    return str(height) if height == width else f"{height}×{width}"
