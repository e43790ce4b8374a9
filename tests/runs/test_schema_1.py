"""A run folder of schema 1, written before files had seals, opens as it did: `schema_1/` is one, left as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from cutaway import InputError, Scope, diagnose, evaluate, open_run, resume
from cutaway.report import write_page
from cutaway.runs import Run
from cutaway.views.film import build_film
from cutaway.views.run import view_run

HERE = Path(__file__).parent
FACTORY = f"{HERE / 'schema_1_network.py'}:make"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(shutil.copytree(HERE / "schema_1", tmp_path / "schema_1"))


def test_its_records_are_read(run: Run) -> None:
    assert run.info["schema_version"] == 1
    assert (run.status, run.epochs, run.best_epoch) == ("finished", [1, 2], 2)
    assert [line["epoch"] for line in run.metrics("epoch")] == [1, 2]
    assert {line["epoch"] for line in run.vitals()} == {1, 2}
    evaluation = run.evaluation("test")
    assert evaluation is not None
    assert evaluation["accuracy"] == 0.1115
    assert [found["rule"] for found in run.findings()] == [found.rule for found in diagnose(run)]


def test_its_pages_are_made(run: Run) -> None:
    view = view_run(run)
    assert view.best_epoch == 2
    assert [note.partition(":")[0] for note in view.notes] == ["layer shapes are not shown"]  # the code is not named
    film = build_film(run)
    assert film is not None
    assert film.epochs == (2,)
    write_page(run.folder)
    assert "schema_1" in run.folder.page.read_text(encoding="utf-8")


def test_its_network_is_made_by_whom_the_user_names(run: Run) -> None:
    path = run.folder.path
    with pytest.raises(InputError, match=r"networks/tiny\.py"):
        Scope(path)
    scope = Scope(path, trust=FACTORY)
    assert torch.equal(scope.network[0].weight.detach(), _weights(run)["0.weight"])
    assert len(scope.predict("test:0")[0]) == 10


def test_it_is_measured_and_resumed_again(run: Run) -> None:
    before = run.evaluation("test")
    assert before is not None
    assert evaluate(run.folder.path, trust=FACTORY)["accuracy"] == before["accuracy"]
    assert resume(run.folder.path, trust=FACTORY).status == "finished"


def _weights(run: Run) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.weights(2))
