"""Verbs that train, continue, measure and list runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds the runs.")]


@app.command()
def demo(
    runs: Runs = Path("runs"),
    data: Annotated[str | None, typer.Option(help="Another data set than Fashion-MNIST.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Train on Fashion-MNIST for about a minute, then open the picture page."""
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.demo import run_demo

    with TerminalWatcher() as watch:
        page, result = run_demo(runs, data=data, epochs=epochs, watch=watch)
    _print_evaluation(result)
    print(f"\nThe pictures are in {page}")
    if show and sys.stdout.isatty():
        typer.launch(page.resolve().as_uri())


@app.command()
def train(
    data: Annotated[str, typer.Argument(help="fashion-mnist, mnist, cifar10, cifar100, shapes, or a folder.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="vgg16, resnet18, torchvision:NAME, FILE.py:FACTORY ...")
    ] = "resnet18",
    recipe: Annotated[Path | None, typer.Option(help="A TOML file with recipe keys.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="One recipe key: --set optimizer=adam")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="The schedule's highest rate.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam, adamw, adagrad, rmsprop, nadam or muon.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order, augmentation and first weights follow from it.")] = None,
    weights: Annotated[str | None, typer.Option(help="FILE or default: begin from trained weights.")] = None,
    freeze: Annotated[bool, typer.Option(help="Train only the classifier.")] = False,
    stem: Annotated[str | None, typer.Option(help="ResNet's first layers: small, half or imagenet.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (colour).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set's files are.")] = None,
    max_bad: Annotated[float | None, typer.Option(help="Share of unreadable images that is still accepted.")] = None,
    device: Device = "auto",
    runs: Runs = Path("runs"),
    name: Annotated[str | None, typer.Option("--run", help="The run's name.")] = None,
    as_json: Json = False,
) -> None:
    """Train a network and leave a run folder."""
    from cutaway.training import train as start

    chosen = _recipe(recipe, settings or [])
    flags = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "seed": seed,
    }
    chosen |= {key: value for key, value in flags.items() if value is not None}
    found = {"size": size, "channels": channels, "data_dir": data_dir, "max_bad": max_bad}
    made = {"weights": weights, "stem": stem, "freeze": freeze or None}
    _guarded(
        lambda watch: start(
            data,
            model,
            recipe=chosen,
            runs=runs,
            name=name,
            device=device,
            data_options={key: value for key, value in found.items() if value is not None},
            model_options={key: value for key, value in made.items() if value is not None},
            watch=watch,
        ),
        as_json,
    )


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="The run folder.")], as_json: Json = False) -> None:
    """Continue a run exactly where it was interrupted."""
    from cutaway.training import resume as go_on

    _guarded(lambda watch: go_on(run, watch=watch), as_json)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="RUN (its best epoch), RUN@7 or RUN@last.")],
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a run on the test split: accuracy, per class, confusion, calibration."""
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.report import write_page
    from cutaway.runs import resolve
    from cutaway.training import evaluate as measure

    with TerminalWatcher(quiet=as_json) as watch:
        result = measure(run, split, device=device, watch=watch)
    write_page(resolve(run)[0].folder)
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _print_evaluation(result)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs: status, data, model, epochs, best accuracy with its split."""
    from cutaway.runs import list_runs
    from cutaway.views.run import run_row

    rows = [run_row(run) for run in list_runs(folder)]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        raise InputError(f"there are no runs in {folder}; `cutaway train shapes --model resnet18` makes one")
    _print_table(rows)


@app.command()
def summary(
    model: Annotated[
        str, typer.Argument(help="A built-in name, torchvision:NAME, timm:NAME, FILE.py:FACTORY or a run.")
    ],
    shape: Annotated[str | None, typer.Option("--input", help="The input's shape, such as 3x32x32.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
    stem: Annotated[str | None, typer.Option(help="ResNet's first layers: small, half or imagenet.")] = None,
    as_json: Json = False,
) -> None:
    """Show a network's layers: shapes, parameters, multiply-adds, memory, receptive field."""
    from cutaway.lenses.architecture import summarize
    from cutaway.models import load_model
    from cutaway.runs import is_run

    path = model.rpartition("@")[0] or model
    own = is_run(model) or is_run(path)
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
    made = load_model(model, **options)
    input_shape = made.preprocessing.shape if own and made.preprocessing else options["shape"]
    found = summarize(made.network, size or input_shape)
    print(json.dumps(found.as_dict(), ensure_ascii=False) if as_json else found.text())


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read `3x32x32` as channels, height, width."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--input is '{text}', expected channels x height x width, such as 3x32x32")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _recipe(path: Path | None, settings: list[str]) -> dict[str, Any]:
    from cutaway.training import make_recipe, read_recipe

    chosen = read_recipe(path) if path else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set '{setting}': expected key=value, such as --set optimizer=adam")
        chosen[key.strip()] = _value(text.strip())
    make_recipe(chosen, place="the command line")
    return chosen


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _guarded(work: Any, as_json: bool) -> None:
    """Train with a bar; after an interruption tell how to go on."""
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.report import write_page
    from cutaway.training import Diverged, Interrupted

    with TerminalWatcher(quiet=as_json) as watch:
        try:
            run = work(watch)
        except Interrupted as stopped:
            print(f"interrupted, nothing is lost; go on with: cutaway resume {stopped}", file=sys.stderr)
            raise typer.Exit(130) from stopped
        except Diverged as error:
            print(f"cutaway: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
    page = write_page(run.folder)
    if as_json:
        print(json.dumps({"run": str(run.folder.path), "best_epoch": run.best_epoch, **run.metrics("epoch")[-1]}))
        return
    best = next(line for line in run.metrics("epoch") if line["epoch"] == run.best_epoch)
    size = run.info["data"]["splits"]["val"]["size"]
    print(f"best epoch {run.best_epoch}: {best['val_accuracy']:.2%} on the validation split ({size:,} images)")
    print(f"pictures: {page}\nnext:     cutaway evaluate {run.folder.path}")


def _print_evaluation(result: dict[str, Any]) -> None:
    low, high = result["accuracy_interval"]
    where = f"on the {result['split']} split ({result['size']:,} images)"
    head = f"{result['accuracy']:.2%} {where}, 95 % interval {low:.2%} to {high:.2%}"
    top5 = f"top-5 {result['top5']:.2%}, " if result["top5"] is not None else ""
    print(f"{result['run']}, epoch {result['epoch']}: {head}")
    print(f"{top5}loss {result['loss']:.4f}, calibration error {result['calibration_error']:.3f}\n")
    _print_table(
        [
            {
                "class": row["class"],
                "images": row["images"],
                "precision": _share(row["precision"]),
                "recall": _share(row["recall"]),
            }
            for row in result["classes"]
        ]
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        number = all(isinstance(row[key], (int, float)) or str(row[key]).endswith("%") for row in rows)
        table.add_column(key, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)
