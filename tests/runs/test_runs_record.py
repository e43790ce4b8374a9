"""Finding runs, and the epoch that is the best one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import InputError
from cutaway.runs import Run, RunFolder, append_lines, is_run, list_runs, new_run_path, open_run, resolve


def make_run(path: Path, epochs: list[tuple[float, float | None]] = (), started: str = "") -> Run:  # type: ignore[assignment]  # an empty tuple is as good
    """A run whose epochs have these validation accuracies and losses."""
    folder = RunFolder(path)
    folder.create({"status": "training", "started": started})
    folder.checkpoints.mkdir()
    for epoch, (accuracy, loss) in enumerate(epochs, start=1):
        append_lines(folder.metrics, [{"kind": "step", "epoch": epoch, "loss": 1.0}])
        append_lines(folder.metrics, [{"kind": "epoch", "epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}])
        folder.weights(epoch).write_bytes(b"")
    return Run(folder)


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([], None),
        ([(0.5, 1.0)], 1),
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], 2),  # the highest accuracy, whatever the loss
        ([(0.7, 1.0), (0.7, 0.5), (0.7, 0.9)], 2),  # then the lowest loss
        ([(0.7, 0.5), (0.7, 0.5)], 1),  # then the earliest
        ([(0.9, None), (0.7, 0.5)], 2),  # a loss that was not finite cannot be the best
        ([(0.9, None)], None),
    ],
)
def test_the_best_epoch(tmp_path: Path, epochs: list[tuple[float, float | None]], best: int | None) -> None:
    assert make_run(tmp_path / "one", epochs).best_epoch == best


def test_the_best_epoch_against_all_orders(tmp_path: Path) -> None:
    marks = [(0.5, 0.1), (0.8, 0.4), (0.8, 0.3), (0.2, 0.0)]
    for number, order in enumerate(itertools.permutations(marks)):
        assert make_run(tmp_path / str(number), list(order)).best_epoch == order.index((0.8, 0.3)) + 1


def test_metrics_by_kind(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", [(0.5, 1.0), (0.6, 1.0)])
    assert [line["kind"] for line in run.metrics()] == ["step", "epoch", "step", "epoch"]
    assert [line["epoch"] for line in run.metrics("epoch")] == [1, 2]
    assert run.vitals() == []
    assert run.name == "one"


def test_saved_epochs_and_their_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", [(0.5, 1.0), (0.8, 1.0), (0.6, 1.0)])
    (run.folder.checkpoints / "state.safetensors").touch()
    (run.folder.checkpoints / "epoch-x.safetensors").touch()
    assert run.epochs == [1, 2, 3]
    assert [run.epoch(which) for which in ("best", "last", 1)] == [2, 3, 1]
    assert run.weights() == run.folder.weights(2)
    run.folder.weights(1).unlink()
    with pytest.raises(InputError, match=r"epoch 1 of one is not saved; saved are 2, 3"):
        run.weights(1)


def test_many_saved_epochs_are_told_as_a_range(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", [(0.5, 1.0)] * 12)
    with pytest.raises(InputError, match=r"saved are 1 to 12"):
        run.weights(13)


def test_a_run_without_an_epoch_tells_how_to_continue(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no saved epoch yet; `cutaway resume .*one` continues it"):
        make_run(tmp_path / "one").weights("last")


def test_evaluations(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert run.evaluation() is None
    run.folder.evaluation("val").write_text(json.dumps({"accuracy": 0.5}))
    assert run.evaluation("val") == {"accuracy": 0.5}
    assert run.evaluation("test") is None


def test_opening(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert is_run(tmp_path / "one")
    assert is_run(str(tmp_path / "one"))
    assert not is_run(tmp_path)
    assert open_run(str(tmp_path / "one")) == run
    with pytest.raises(InputError, match="there is no run folder"):
        open_run(tmp_path / "two")
    with pytest.raises(InputError, match="is not a run folder"):
        open_run(tmp_path)


@pytest.mark.parametrize(("suffix", "which"), [("", "best"), ("@best", "best"), ("@last", "last"), ("@7", 7)])
@pytest.mark.parametrize("name", ["one", "at@home"])
def test_resolving(tmp_path: Path, name: str, suffix: str, which: Any) -> None:
    run = make_run(tmp_path / name)
    assert resolve(f"{tmp_path / name}{suffix}") == (run, which)


def test_resolving_what_is_no_epoch(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    with pytest.raises(InputError, match=r"after @ comes an epoch's number, best or last, not 'first'"):
        resolve(f"{tmp_path / 'one'}@first")
    with pytest.raises(InputError, match="there is no run folder"):
        resolve(f"{tmp_path / 'two'}@3")


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    for name, started in [("a", "2026-03-01"), ("b", "2026-01-01"), ("d", "2026-02-01"), ("c", "2026-02-01")]:
        make_run(tmp_path / name, started=started)
    (tmp_path / "no-run").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["b", "c", "d", "a"]
    assert list_runs(tmp_path / "nowhere") == []


def test_new_runs_are_numbered_after_the_last(tmp_path: Path) -> None:
    assert new_run_path(tmp_path, "shapes-vgg16").name == "shapes-vgg16-1"
    for name in ("shapes-vgg16-1", "shapes-vgg16-9", "shapes-vgg16-x", "shapes-vgg16_bn-20", "shapes-vgg16-3-7"):
        (tmp_path / name).mkdir()
    assert new_run_path(tmp_path, "shapes-vgg16").name == "shapes-vgg16-10"
    assert new_run_path(tmp_path, "a+b").name == "a+b-1"
