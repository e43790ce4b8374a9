"""Finding runs, and the epoch that is the best one."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from cutaway.errors import InputError
from cutaway.runs import (
    Run,
    RunFolder,
    append_lines,
    is_run,
    list_runs,
    new_run_path,
    open_run,
    resolve,
    write_sealed_json,
)
from cutaway.runs.sealed import seal
from whole_records import epoch_line, step_line, whole_evaluation, whole_info


def make_run(path: Path, epochs: list[tuple[float, float | None]] = (), started: str = "") -> Run:  # type: ignore[assignment]  # an empty tuple is as good
    """A run whose epochs have these validation accuracies and losses."""
    folder = RunFolder(path)
    folder.create(whole_info(started=started))
    folder.checkpoints.mkdir()
    for epoch, (accuracy, loss) in enumerate(epochs, start=1):
        append_lines(folder.metrics, [step_line(epoch, 10 * epoch)])
        append_lines(folder.metrics, [epoch_line(epoch, accuracy, loss)])
        write_epoch(folder, epoch)
    return Run(folder)


def write_epoch(folder: RunFolder, epoch: int) -> str:
    """Weights of an epoch; their seal."""
    marks = {"epoch": str(epoch), "run": folder.info()["id"]}
    content, found = seal(save({"weight": np.full(4, epoch, np.float32)}), marks)
    folder.weights(epoch).write_bytes(content)
    return found


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
    found = whole_evaluation(["cat", "dog"], split="val")
    write_sealed_json(run.folder.evaluation("val"), found)
    assert run.evaluation("val") == found
    assert run.evaluation("test") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"split": "val"},
            r"evaluation-test\.json is about the split 'val'; measure again with `cutaway evaluate .*one`",
        ),
        ({"accuracy": "high"}, r"is damaged: accuracy: expected a number, found 'high'; delete it"),
        ({"accuracy": 1.5}, r"accuracy: expected from 0 to 1, found 1\.5"),
        ({"confusion": [[1]]}, r"its confusion does not fit its classes"),
        ({"accuracy_interval": [0.5]}, r"its confusion does not fit its classes"),
        ({"weights": "0" * 64}, r"was measured on other weights of epoch 2 .* `cutaway evaluate .*one@2`"),
        ({"classes": [{"class": 3, "images": 1, "precision": None, "recall": None}]}, r"classes\[0\]\.class"),
    ],
)
def test_an_evaluation_that_cannot_be_believed(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    run = make_run(tmp_path / "one", [(0.5, 1.0), (0.8, 1.0)])
    write_sealed_json(run.folder.evaluation("test"), whole_evaluation(["cat", "dog"], **changes))
    with pytest.raises(InputError, match=said):
        run.evaluation()
    problems: list[str] = []
    assert run.first_evaluation(problems) is None
    assert len(problems) == 1


def test_an_evaluation_of_the_weights_that_are_saved(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", [(0.5, 1.0), (0.8, 1.0)])
    measured = whole_evaluation(["cat", "dog"], weights=write_epoch(run.folder, 2))
    write_sealed_json(run.folder.evaluation("test"), measured)
    assert run.evaluation() == measured
    run.folder.weights(2).unlink()  # the disk's budget takes weights away, which makes no measurement wrong
    assert run.evaluation() == measured


def test_weights_that_are_not_what_they_are_called(tmp_path: Path) -> None:
    run, other = (make_run(tmp_path / name, [(0.5, 1.0), (0.8, 1.0), (0.7, 1.0)]) for name in ("one", "two"))
    os.replace(run.folder.weights(1), run.folder.weights(2))
    with pytest.raises(InputError, match=r"epoch-0002\.safetensors holds the weights of epoch 1; name another epoch"):
        run.weights(2)
    os.replace(other.folder.weights(2), run.folder.weights(2))
    with pytest.raises(InputError, match=r"epoch-0002\.safetensors holds the weights of another run; .* saved are 3"):
        run.weights("best")
    content = bytearray(run.folder.weights(3).read_bytes())
    content[-1] ^= 1
    run.folder.weights(3).write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"epoch-0003\.safetensors is damaged \(its content does not match its seal\)"):
        run.weights(3)


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


def test_a_damaged_run_is_listed_among_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_run(tmp_path / name, started="2026-03-01")
    (tmp_path / "b" / "run.json").write_text("{")
    os.utime(tmp_path / "b", (0, 0))
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a", "c"]


@pytest.mark.parametrize(("suffix", "which"), [("", "best"), ("@best", "best"), ("@last", "last"), ("@7", 7)])
@pytest.mark.parametrize("name", ["one", "at@home"])
def test_resolving(tmp_path: Path, name: str, suffix: str, which: Any) -> None:
    run = make_run(tmp_path / name)
    assert resolve(f"{tmp_path / name}{suffix}") == (run, which)


def test_resolving_what_is_no_epoch(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    with pytest.raises(InputError, match=r"after @ comes an epoch's number, best or last, not 'first'"):
        resolve(f"{tmp_path / 'one'}@first")
    for hostile in ("²", "٣", "1e3", "9" * 5000, ""):  # digits to Python, no number of an epoch
        with pytest.raises(InputError, match="after @ comes an epoch's number"):
            resolve(f"{tmp_path / 'one'}@{hostile}")
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
