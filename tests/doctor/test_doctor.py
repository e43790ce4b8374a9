"""From a training to its findings and its treatment, in seconds: real runs with one mistake each."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import cutaway
from cutaway.cli import main
from cutaway.cli.terminal import TerminalWatcher
from cutaway.doctor import Trial, try_one_batch, try_remedies, watch
from cutaway.errors import InputError
from cutaway.models import load_model
from cutaway.report import write_page
from cutaway.runs import Run, open_run
from cutaway.training import Watcher, resume, train
from cutaway.views.runs import view_record

QUICK = {"epochs": 8, "batch_size": 16, "learning_rate": 0.02, "precision": "fp32", "log_every": 2, "ema": 0.0}


def trained(photos: Path, spec: str, runs: Path, watch: Watcher | None = None, **recipe: Any) -> Run:
    return train(photos, spec, recipe={**QUICK, **recipe}, runs=runs, name="run", device="cpu", watch=watch)


def rules(run: Run) -> list[tuple[str, str, str | None]]:
    found = cutaway.diagnose(run)
    return [(each.severity, each.rule, each.evidence.layer) for each in found if each.severity != "note"]


def test_a_healthy_run_has_no_finding(photos: Path, networks: Path, tmp_path: Path) -> None:
    run = trained(photos, f"{networks}:make", tmp_path)
    assert run.metrics("epoch")[-1]["val_accuracy"] > 0.6
    assert rules(run) == []
    assert json.loads(run.folder.findings.read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("name", "recipe", "expected"),
    [
        ("last_relu", {}, ("error", "activation-on-logits", "7")),
        ("dead", {"schedule": "constant"}, ("error", "dead-units", "2")),
        ("make", {"learning_rate": 30.0, "clip": 0.0}, ("error", "rate-too-high", None)),
        ("make", {"learning_rate": 1e-7}, ("warning", "rate-too-low", None)),
    ],
)
def test_a_planted_mistake_is_the_first_finding(
    name: str,
    recipe: dict[str, Any],
    expected: tuple[str, str, str | None],
    photos: Path,
    networks: Path,
    tmp_path: Path,
) -> None:
    severity, rule, layer = rules(trained(photos, f"{networks}:{name}", tmp_path, **recipe))[0]
    assert (severity, rule) == expected[:2]
    assert expected[2] in (None, layer)


def test_the_finding_is_said_once_while_it_trains(
    photos: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(photos, f"{networks}:last_relu", tmp_path, watch=TerminalWatcher())
    told = capsys.readouterr().err
    assert told.count("[activation-on-logits]") == 1
    assert told.index("[activation-on-logits]") < told.index("epoch 1/8")


def test_the_verb_prints_findings_and_json(
    photos: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(trained(photos, f"{networks}:last_relu", tmp_path, epochs=4).folder.path)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", path])
    told = capsys.readouterr().out
    assert "[activation-on-logits]" in told
    assert "--change no-last-activation" in told
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", path, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["findings"][0]["rule"] == "activation-on-logits"
    assert found["trials"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "told"), [("make", "is learnt"), ("last_relu", "is not learnt")])
def test_the_verb_tries_one_batch_and_then_remedies(
    name: str, told: str, photos: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(trained(photos, f"{networks}:{name}", tmp_path, epochs=1).folder.path)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", path, "--try"])
    said = capsys.readouterr().out
    assert f"one batch, over and over, {told}: loss " in said
    assert said.index(told) < said.index("as-it-was") < said.index("next: cutaway resume")
    assert ("[activation-on-logits]" in said) is (name == "last_relu")


def test_the_page_of_the_run_shows_what_the_doctor_found(photos: Path, networks: Path, tmp_path: Path) -> None:
    run = trained(photos, f"{networks}:last_relu", tmp_path, epochs=4)
    assert view_record(run).findings is None
    (found, *_) = cutaway.diagnose(run)
    (shown, *_) = view_record(run).findings or ()
    assert (shown.rule, shown.severity, shown.title) == (found.rule, found.severity, found.title)
    assert ("layer", "7") in shown.evidence
    assert shown.curve == tuple(found.evidence.chart.y if found.evidence.chart else ())


def test_findings_are_told_in_chinese_and_kept_in_english(
    photos: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    run = trained(photos, f"{networks}:last_relu", tmp_path, epochs=4, watch=TerminalWatcher())
    told = "最后一层之后还有激活函数"
    assert "输出来自" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", str(run.folder.path)])
    assert told in capsys.readouterr().out
    write_page(run, "zh")
    page = (run.folder.path / "index.html").read_text(encoding="utf-8")
    assert told in page
    assert "层 7 · 步 " in page
    assert "an activation after the last layer" not in page
    (kept, *_) = json.loads(run.folder.findings.read_text(encoding="utf-8"))["findings"]
    assert kept["cause"].startswith("an activation after the last layer")


def test_a_measured_run_is_diagnosed_anew(photos: Path, networks: Path, tmp_path: Path) -> None:
    run = trained(photos, f"{networks}:last_relu", tmp_path, epochs=1)
    assert view_record(run).findings is None
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(run.folder.path), "--json"])
    assert "activation-on-logits" in {shown.rule for shown in view_record(run).findings or ()}
    assert "activation-on-logits" in (run.folder.path / "index.html").read_text(encoding="utf-8")


def test_watching_changes_no_bit(tmp_path: Path) -> None:
    def weights(folder: Path | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3)
        )
        optimizer = torch.optim.Adam(network.parameters())
        stethoscope = watch(network, optimizer, folder, 3) if folder else None
        for _ in range(12):
            images, labels = torch.randn(8, 3, 8, 8), torch.randint(3, (8,))
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            if stethoscope:
                stethoscope.step(loss, labels)
        if stethoscope:
            stethoscope.close()
        assert not network._forward_hooks
        return list(network.state_dict().values())

    alone, watched = weights(None), weights(tmp_path / "mine")
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert cutaway.diagnose(tmp_path / "mine") == []


def test_the_first_bad_number_is_placed_though_the_step_spoils_all_weights(tmp_path: Path) -> None:
    class Root(nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps.sqrt()

    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), Root(), nn.Flatten(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 2
    with watch(network, optimizer, tmp_path / "mine", 2) as stethoscope:
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        stethoscope.step(loss, labels)
    found = cutaway.diagnose(tmp_path / "mine")[0]
    assert (found.rule, found.evidence.layer, found.evidence.step) == ("not-finite", "3", 1)


def test_a_step_without_a_pass_is_a_mistake(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    with watch(network, torch.optim.SGD(network.parameters(), 0.1), tmp_path / "mine", 2) as stethoscope:
        with pytest.raises(InputError, match="no forward pass was seen before step"):
            stethoscope.step(1.0, torch.zeros(2))
        with pytest.raises(InputError, match="no step was told of in this epoch"):
            stethoscope.epoch()


def test_remedies_are_measured_side_by_side_and_the_winner_continues(
    photos: Path, networks: Path, tmp_path: Path
) -> None:
    run = trained(photos, f"{networks}:last_relu", tmp_path, epochs=4)
    before = {path: path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file()}
    heard: list[Trial] = []
    trials = try_remedies(run, steps=20, rounds=3, tell=heard.append)
    assert {path: path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file()} == before
    best, control = trials[0], next(trial for trial in trials if trial.remedy == "as-it-was")
    assert best.remedy.startswith("no-last-activation")
    assert best.loss is not None
    assert control.loss is not None
    assert best.loss < control.loss - 0.3
    # Half of those that have a loss go on, with twice the steps.
    by_round = [[trial for trial in heard if trial.steps == 20 * 2**number] for number in range(3)]
    assert [len(part) for part in by_round[1:]] == [len(by_round[0]) // 2, len(by_round[0]) // 4]
    # The loss is what the trial's own record says, and the record says which network it was.
    trial = open_run(best.run)
    lines = [line["loss"] for line in trial.metrics("step")][-10:]
    assert best.loss == pytest.approx(sum(lines) / 10, abs=1e-4)
    assert "no-last-activation" in trial.info["model"]["options"]["change"]
    assert best.command == f"cutaway resume {shlex.quote(best.run)}"
    assert resume(best.run).info["status"] == "finished"
    losers = [trial for trial in trials if trial.steps == 20]
    assert not any((Path(trial.run) / "checkpoints").exists() for trial in losers)


@pytest.mark.parametrize(("name", "learnt"), [("make", True), ("last_relu", False)])
def test_one_batch_over_and_over_tells_whether_a_network_can_learn(
    name: str, learnt: bool, photos: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(photos, f"{networks}:{name}", tmp_path, epochs=1, flip="random", shift=2)
    once = try_one_batch(run)
    assert once.info["data"]["facts"]["distinct"]["train"] == 32
    assert (once.info["recipe"]["shift"], once.info["recipe"]["flip"]) == (0, "none")
    lines = once.metrics("step")
    assert len(lines) == 100
    told = {rule for finding in cutaway.diagnose(once) for rule in (finding.rule, *finding.also)}
    assert ("one-batch-not-learnt" in told) is not learnt
    assert (lines[-1]["loss"] < 0.5 * math.log(4)) is learnt


def test_what_cannot_be_tried_is_one_sentence(photos: Path, networks: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    watch(network, torch.optim.SGD(network.parameters(), 0.1), tmp_path / "mine", 2).close()
    for attempt in (try_remedies, try_one_batch):
        with pytest.raises(InputError, match="a loop that is not Cutaway's"):
            attempt(tmp_path / "mine")
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    run = trained(copy, f"{networks}:make", tmp_path, epochs=1)
    next(copy.rglob("*.png")).unlink()
    with pytest.raises(InputError, match="its content changed"):
        try_remedies(run)


def test_changes_repair_the_structure_and_come_back_with_the_run(photos: Path, networks: Path, tmp_path: Path) -> None:
    spec = f"{networks}:last_relu"
    changed = load_model(spec, classes=4, shape=(3, 12, 12), change=("no-last-activation", "batch-norm")).network
    assert bool((changed(torch.randn(8, 3, 12, 12)) < 0).any())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in changed.modules()) == 2
    run = train(
        photos,
        spec,
        recipe={**QUICK, "epochs": 1},
        runs=tmp_path,
        model_options={"change": ["batch-norm"]},
        device="cpu",
    )
    again = load_model(run.folder.path).network
    assert sum(isinstance(module, nn.BatchNorm2d) for module in again.modules()) == 2
    with pytest.raises(InputError, match="'batch-norms' is not"):
        load_model(spec, classes=4, change=("batch-norms",))
    with pytest.raises(InputError, match="which is no activation"):
        load_model(f"{networks}:make", classes=4, shape=(3, 12, 12), change=("no-last-activation",))
