"""Verbs that train, continue, measure and list runs."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.streams import print_json, tell
from cutaway.cli.trust import Factory, Trust, beginning_with, trusting
from cutaway.errors import InputError
from cutaway.numerals import percent
from cutaway.plain import one_line, short, whole
from cutaway.words import of_terminal, terminal_words

if TYPE_CHECKING:
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.runs import Run

_LONGEST_SIDE = 100_000  # pixels
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else anywhere.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="The folder that holds the runs.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
Stem = Annotated[str | None, typer.Option(metavar="NAME", help="ResNet's first layers: small, half or imagenet.")]


@app.command()
def demo(
    runs: Runs = Path("runs"),
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Another data set, or a folder of images.  [default: fashion-mnist]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the data; by default a minute's worth.")
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Train for about a minute, then open the pictures.

    The network is a ResNet-18, the data Fashion-MNIST: found on this machine, or downloaded. Where it cannot be had,
    the built-in shapes take its place.
    """
    from cutaway.demo import run_demo

    with _watched() as watch:
        page, result = run_demo(runs, data=data, epochs=epochs, watch=watch)
    _print_evaluation(result)
    print("\n" + terminal_words()("terminal.pictures", page=page))
    if show and sys.stdout.isatty():
        typer.launch(page.resolve().as_uri())


@app.command()
def train(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="fashion-mnist, mnist, cifar10, cifar100, shapes, or a folder of images."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="vgg16, resnet18, torchvision:NAME, timm:NAME, FILE.py:FACTORY or RUN.",
        ),
    ] = "resnet18",
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file with recipe keys.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One recipe key, such as clip=1; may be repeated."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the training split.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Images a step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", metavar="X", help="The schedule's highest rate.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="sgd, adam, adamw, adagrad, rmsprop, nadam or muon.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Order, augmentation and first weights follow from it.")
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE|default", help="Begin with trained weights.")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train only the class layer.")] = False,
    stem: Stem = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", metavar="NAME", help="Repair the network: batch-norm, no-last-activation."),
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="N", help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="1 (grey) or 3 (colour).")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Look here first for a built-in data set.")
    ] = None,
    max_bad: Annotated[
        float | None,
        typer.Option(metavar="X", help="Share of unreadable images that is still accepted.  [default: 0.05]"),
    ] = None,
    leave_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A list of files to leave out, as `cutaway audit` writes it.")
    ] = None,
    keep_together: Annotated[
        bool, typer.Option("--keep-together", help="Keep near duplicates in one of the splits that are made here.")
    ] = False,
    device: Device = "auto",
    trust: Trust = False,
    runs: Runs = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--run", metavar="NAME", help="The run's name; by default DATA-MODEL-1, -2, ...")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a network and leave a run folder."""
    from cutaway.training import train as start

    flags = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "seed": seed,
        "stem": stem,
    }
    chosen = _recipe(recipe, settings or [], {key: value for key, value in flags.items() if value is not None})
    found = {
        "size": size,
        "channels": channels,
        "data_dir": data_dir,
        "max_bad": max_bad,
        "leave_out": leave_out,
        "keep_together": keep_together or None,
    }
    made = {"weights": weights, "freeze": freeze or None, "change": change or None, "trust": trust or None}
    with _watched(as_json) as watch, beginning_with(model):
        run = start(
            data,
            model,
            recipe=chosen,
            runs=runs,
            name=name,
            device=device,
            data_options={key: value for key, value in found.items() if value is not None},
            model_options={key: value for key, value in made.items() if value is not None},
            watch=watch,
        )
    _finish(run, as_json, watch.notes)


@app.command()
def resume(run: RunPath, trust: Trust = False, factory: Factory = None, as_json: Json = False) -> None:
    """Continue a run exactly where it was interrupted."""
    from cutaway.runs import open_run
    from cutaway.training import resume as go_on

    if open_run(run).info["status"] == "finished" and not as_json:
        tell(terminal_words()("resume.finished", run=run))
    with _watched(as_json) as watch:
        done = go_on(run, trust=trusting(trust, factory), watch=watch)
    _finish(done, as_json, watch.notes)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN (its best epoch), RUN@7 or RUN@last.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="test, val or train.")] = "test",
    device: Device = "auto",
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Measure a run on the test split.

    Prints accuracy with its interval, top-5, loss, calibration, and precision and recall of every class; the run's
    page gets the confusion matrix too.
    """
    from cutaway.cli.results import keep
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.doctor import diagnose
    from cutaway.report import write_page
    from cutaway.runs import resolve
    from cutaway.training import evaluate as measure
    from cutaway.training.evaluation import keep_evaluation

    record = resolve(run)[0]
    with TerminalWatcher(quiet=as_json) as watch:
        result = measure(run, split, device=device, trust=trusting(trust, factory), keep=False, watch=watch)
    code = keep(
        record.folder.path,
        lambda: keep_evaluation(record, result),
        lambda: diagnose(record),
        lambda: write_page(record.folder, of_terminal()),
    )
    if as_json:
        print_json(result)
    else:
        _print_evaluation(result)
    raise typer.Exit(code)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs and how good they are.

    The accuracy is that of the best epoch on the validation split, with the number of images in it.
    """
    from cutaway.cli.table import table, terminal_width
    from cutaway.runs import list_runs
    from cutaway.views.run import run_row

    rows = [run_row(run) for run in list_runs(folder)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        raise InputError(f"there are no runs in {folder}; `cutaway train shapes --model resnet18` makes one")
    say = terminal_words()
    print(table([_run_line(row) for row in rows], terminal_width(), shrink=(say("runs.run"), say("runs.model"))))
    for row in rows:
        if row["status"] == "damaged":
            tell(f"cutaway: {say.said(row['problem'])}")


def _run_line(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the list for people: the file's name of a network, and the size beside the accuracy."""
    images = str(row["measured on"] or "").partition("(")[2].partition(" ")[0]
    say = terminal_words()
    accuracy = say("runs.accuracy", share=row["accuracy"], count=images) if row["accuracy"] else None
    cells = {
        "run": row["run"],
        "status": say.known("status", row["status"]),
        "model": Path(row["model"] or "").name,
        "epochs": row["epochs"],
        "val_accuracy": accuracy,
    }
    return {say(f"runs.{name}"): cell for name, cell in cells.items()}


@app.command()
def summary(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A built-in name, torchvision:NAME, timm:NAME, FILE.py:FACTORY or RUN."),
    ],
    shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="The input's shape, such as 3x32x32.")
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", min=2, help="Number of classes.")] = None,
    stem: Stem = None,
    trust: Trust = False,
    factory: Factory = None,
    as_json: Json = False,
) -> None:
    """Show a network's layers and what they cost.

    A line a layer: shapes, kernel, receptive field, parameters, multiply-adds and memory; below them the totals.
    """
    from cutaway.lenses.architecture import summarize
    from cutaway.models import load_model
    from cutaway.runs import means_run

    own = means_run(model)
    size = parse_shape(shape) if shape else None
    options: dict[str, Any] = (
        {}
        if own
        else {
            "classes": classes or (1000 if ":" in model else 10),
            "shape": size or ((3, 224, 224) if ":" in model else (3, 32, 32)),
            "stem": stem,
        }
    )
    made = load_model(model, trust=trusting(trust, factory), **options)
    input_shape = made.preprocessing.shape if own and made.preprocessing else options["shape"]
    found = summarize(made.network, size or input_shape)
    if as_json:
        print_json(found.as_dict())
    else:
        print(found.text(terminal_words()))


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read `3x32x32` as channels, height, width."""
    sides = [whole(part, 1, _LONGEST_SIDE) for part in text.lower().replace("×", "x").split("x")]
    if len(sides) != 3 or None in sides:
        raise InputError(f"--input is '{short(text)}', expected channels x height x width, such as 3x32x32")
    channels, height, width = (side or 0 for side in sides)
    return channels, height, width


def _recipe(path: Path | None, settings: list[str], flags: dict[str, Any]) -> dict[str, Any]:
    from cutaway.training import make_recipe, read_recipe

    chosen = read_recipe(path) if path else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set '{setting}': expected key=value, such as --set optimizer=adam")
        chosen[key.strip()] = _value(text.strip())
    chosen |= flags
    make_recipe(chosen, place="the command line")
    return chosen


def _value(text: str) -> int | float | str:
    for kind in (int, float) if text.isascii() else ():  # Python takes the digits of every script
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@contextmanager
def _watched(quiet: bool = False) -> Iterator[TerminalWatcher]:
    """A bar while something trains; an interruption tells how to go on, a loss that is no number where it broke."""
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.training import Diverged, Interrupted

    with TerminalWatcher(quiet) as watch:
        try:
            yield watch
        except Interrupted as stopped:
            told = terminal_words()("terminal.interrupted", command=f"cutaway resume {shlex.quote(str(stopped))}")
            tell(told)
            raise typer.Exit(128 + (stopped.number or signal.SIGINT)) from stopped
        except Diverged as error:
            tell(f"cutaway: {terminal_words().said(error)}")
            raise typer.Exit(1) from error


def _finish(run: Run, as_json: bool, notes: list[str]) -> None:
    """Write the run's page, and say how good it is and what comes next."""
    from cutaway.cli.results import keep
    from cutaway.doctor import diagnose
    from cutaway.report import write_page
    from cutaway.runs import best_line, best_of

    code = keep(run.folder.path, lambda: diagnose(run), lambda: write_page(run.folder, of_terminal()))
    ended = run.metrics("epoch")
    if as_json:
        about = {"run": str(run.folder.path), "best_epoch": best_of(ended), "notes": notes}
        print_json({**about, **(ended[-1] if ended else {})})
        raise typer.Exit(code)
    best, say, size = best_line(ended), terminal_words(), run.info["data"]["splits"]["val"]["size"]
    if best:
        print(say("terminal.best", epoch=best["epoch"], accuracy=f"{best['val_accuracy']:.2%}", count=f"{size:,}"))
    if not code:
        print(say("terminal.pictures", page=run.folder.page))
    print(say("terminal.next", command=f"cutaway evaluate {shlex.quote(str(run.folder.path))}"))
    raise typer.Exit(code)


def _print_evaluation(result: dict[str, Any]) -> None:
    from cutaway.cli.table import table, terminal_width

    say = terminal_words()
    low, high = (f"{end:.2%}" for end in result["accuracy_interval"])
    figures = {"accuracy": f"{result['accuracy']:.2%}", "count": f"{result['size']:,}"}
    part = say.known("split", result["split"])
    print(say("evaluate.accuracy", run=one_line(result["run"]), epoch=result["epoch"], split=part, **figures))
    top5 = [] if result["top5"] is None else [say("evaluate.top5", share=f"{result['top5']:.2%}")]
    loss = say("evaluate.loss", loss=f"{result['loss']:.4f}")
    calibration = say("evaluate.calibration", error=f"{result['calibration_error']:.3f}")
    print(", ".join([say("evaluate.interval", low=low, high=high), *top5, loss, calibration]) + "\n")
    rows = [
        {
            say("report.class"): row["class"],
            say("report.images"): row["images"],
            say("report.precision"): percent(row["precision"]),
            say("report.recall"): percent(row["recall"]),
        }
        for row in result["classes"]
    ]
    print(table(rows, terminal_width(), shrink=(say("report.class"),)))
