"""After a power cut at any moment, what was promised is there, and the run goes on to the same bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cutaway import InputError, resume, train
from cutaway.runs import Run, list_runs, open_run
from power import Disk, Moment, promised, write_image

RECIPE = {"epochs": 2, "batch_size": 16, "precision": "fp32", "log_every": 1, "save_every": 0.000001, "ema": 0.9}


@pytest.fixture(scope="module")
def cut(
    image_folder: Path, tiny_spec: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, list[Moment]]]:
    """A run that was never interrupted, and every moment of the disk while it was made."""
    runs = tmp_path_factory.mktemp("disk")
    disk = Disk(runs)
    with disk.watching():
        run = train(image_folder, tiny_spec, recipe=RECIPE, runs=runs, name="run", device="cpu")
    disk.close()
    return run, disk.moments


def images(moments: list[Moment]) -> dict[str, tuple[bool, dict[str, bytes]]]:
    """Every different thing that can be found: what it is, whether a run was promised by then, and the files."""
    found: dict[str, tuple[bool, dict[str, bytes]]] = {}
    seen = set()
    for place, moment in enumerate(moments):
        sure = promised(moment)
        for name, files in moment.images():
            digest = hashlib.sha256()
            for path in sorted(files):
                digest.update(f"{path}\0{len(files[path])}\0".encode() + files[path])
            if digest.digest() not in seen:
                seen.add(digest.digest())
                found[f"{place}: {moment.event}: {name}"] = sure, files
    return found


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in run.metrics()]


def check(sure: bool, files: dict[str, bytes], folder: Path, whole: Run) -> None:
    """Go on from what was found, and compare the end with the run that was never interrupted."""
    write_image(files, folder)
    for run in list_runs(folder):  # reading never fails with anything but a sentence
        try:
            run.metrics()
        except InputError:
            continue
    try:
        again = resume(folder / "run")
    except InputError:
        assert not sure
        return
    assert timeless(again) == timeless(whole)
    for epoch in whole.epochs:
        first, second = load_file(again.weights(epoch)), load_file(whole.weights(epoch))
        assert all(torch.equal(first[name], second[name]) for name in second)
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("part", range(12))
def test_a_sample_of_power_cuts(cut: tuple[Run, list[Moment]], part: int, tmp_path: Path) -> None:
    whole, moments = cut
    found = list(images(moments).values())
    check(*found[len(found) * part // 12], tmp_path, whole)


@pytest.mark.slow
def test_every_power_cut(cut: tuple[Run, list[Moment]], tmp_path: Path) -> None:
    whole, moments = cut
    wrong = dict[str, str]()
    every = images(moments)
    for number, (name, (sure, files)) in enumerate(every.items()):
        try:
            check(sure, files, tmp_path / str(number), whole)
        except Exception as error:  # all of them are to be told together
            wrong[name] = repr(error)[:200]
    print(f"{len(moments)} moments, {len(every)} different disks, {len(wrong)} wrong")
    assert not wrong


def test_the_promise_is_kept_from_the_first_state_on(cut: tuple[Run, list[Moment]]) -> None:
    """Once a run with a state is certain to be on the disk, it stays so."""
    sure = [promised(moment) for moment in cut[1]]
    assert sure == sorted(sure)
    assert sure.count(True) > len(sure) / 2


def test_without_a_flush_the_log_is_shorter_than_the_state_says(
    image_folder: Path, tiny_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of this test is as hard as it claims: what is not flushed is lost."""
    unsynced: Callable[[Path], None] = lambda path: None  # noqa: E731  # a stand-in
    monkeypatch.setattr("cutaway.training.state.sync", unsynced)
    disk = Disk(tmp_path / "disk")
    disk.root.mkdir()
    with disk.watching():
        train(image_folder, tiny_spec, recipe=RECIPE, runs=disk.root, name="run", device="cpu")
    disk.close()
    write_image(dict(disk.moments[-1].images())["old names, synced"], tmp_path / "after")
    with pytest.raises(InputError, match="has lost its end"):
        open_run(tmp_path / "after" / "run").metrics()
