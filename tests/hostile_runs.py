"""Run folders as they may come from somebody else, each with code that leaves a mark if it ever runs."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coloured import write_images
from cutaway import train
from cutaway.runs import Run
from cutaway.runs.sealed import read_sealed_json, write_sealed_json

HARMLESS = """
from torch import nn
from layers import WIDTH


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, WIDTH, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(WIDTH, num_classes),
    )
"""
LAYERS = "WIDTH = 4\n"
MARK = "open({mark!r}, 'a').write('ran\\n')\n"


def trained_here(folder: Path) -> Run:
    """A run that this machine trained with code of its own: `net.py`, which imports `layers.py` beside it."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "net.py").write_text(HARMLESS)
    (folder / "code" / "layers.py").write_text(LAYERS)
    write_images(folder / "photos", {"red": (190, 80, 80), "blue": (80, 80, 190)}, 12)
    recipe = {"epochs": 1, "batch_size": 8, "precision": "fp32"}
    spec = f"{folder}/code/net.py:make"
    return train(folder / "photos", spec, recipe=recipe, runs=folder / "runs", name="mine")


def received(run: Run, folder: Path, **model: Any) -> Path:
    """A copy of a run in a folder of runs, with other words in its record about the model, and a seal that fits."""
    path = folder / "runs" / "gift"
    shutil.copytree(run.folder.path, path)
    value, _ = read_sealed_json(path / "run.json")
    value["model"].update(model)
    write_sealed_json(path / "run.json", value)
    return path


def _beside(run: Run, folder: Path, mark: Path) -> Path:
    """A factory in a file that came with the run."""
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make", code={})
    (path / "net.py").write_text(MARK.format(mark=str(mark)) + HARMLESS)
    (path / "layers.py").write_text(LAYERS)
    return path


def _claimed(run: Run, folder: Path, mark: Path) -> Path:
    """The same, and the record claims that it is code which this machine knows."""
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make")
    (path / "net.py").write_text(MARK.format(mark=str(mark)) + HARMLESS)
    (path / "layers.py").write_text(LAYERS)
    return path


def _own_hash(run: Run, folder: Path, mark: Path) -> Path:
    """The record has the true hash of the hostile file."""
    import hashlib

    text = MARK.format(mark=str(mark)) + HARMLESS
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make", code={"net.py": digest})
    (path / "net.py").write_text(text)
    return path


def _sibling(run: Run, folder: Path, mark: Path) -> Path:
    """The factory is known to the letter, but a module beside it is another."""
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make")
    (path / "net.py").write_text(HARMLESS)
    (path / "layers.py").write_text(MARK.format(mark=str(mark)) + LAYERS)
    return path


def _compiled(run: Run, folder: Path, mark: Path) -> Path:
    """Source that is known to the letter, with compiled files beside it whose dates and sizes fit."""
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make")
    for name, text in (("net.py", HARMLESS), ("layers.py", LAYERS)):
        (path / name).write_text(text)
        for stem in (name.removesuffix(".py"), f"cutaway_user_{name.removesuffix('.py')}"):
            cache = Path(importlib.util.cache_from_source(str(path / f"{stem}.py")))
            cache.parent.mkdir(exist_ok=True)
            status = os.stat(path / name)
            head = importlib.util.MAGIC_NUMBER + (0).to_bytes(4, "little")
            head += int(status.st_mtime).to_bytes(4, "little") + status.st_size.to_bytes(4, "little")
            code = compile(MARK.format(mark=str(mark)) + text, str(path / name), "exec")
            cache.write_bytes(head + marshal.dumps(code))
    return path


def _shadowed(run: Run, folder: Path, mark: Path) -> Path:
    """Known files, and beside them modules with the names of others that they or torch might import."""
    path = received(run, folder, spec=f"{folder}/runs/gift/net.py:make")
    (path / "net.py").write_text(HARMLESS)
    (path / "layers.py").write_text(LAYERS)
    for name in ("torch", "numpy", "json", "colorsys", "sitecustomize", "this"):
        (path / f"{name}.py").write_text(MARK.format(mark=str(mark)))
    (path / "layers").mkdir()
    (path / "layers" / "__init__.py").write_text(MARK.format(mark=str(mark)) + LAYERS)
    return path


def _absolute(run: Run, folder: Path, mark: Path) -> Path:
    """A path to a file elsewhere on this machine."""
    elsewhere = folder / "elsewhere.py"
    elsewhere.write_text(MARK.format(mark=str(mark)) + HARMLESS)
    return received(run, folder, spec=f"{elsewhere}:make")


def _module(run: Run, folder: Path, mark: Path) -> Path:
    """A module in the folder where somebody stands who opens it."""
    (folder / "gifted.py").write_text(MARK.format(mark=str(mark)) + HARMLESS)
    return received(run, folder, spec="gifted:make")


def _installed(run: Run, folder: Path, mark: Path) -> Path:
    """A function of an installed package that does something else than make networks."""
    return received(run, folder, spec="os:abort", code={"installed:os": "0" * 64})


def _other_factory(run: Run, folder: Path, mark: Path) -> Path:
    """A name in a known file that was never called."""
    return received(run, folder, spec=run.info["model"]["spec"].replace(":make", ":nn"))


def _hub(run: Run, folder: Path, mark: Path) -> Path:
    """A network of a hub on the net, or of a folder."""
    return received(run, folder, spec="timm:hf_hub:somebody/something", code={})


def _options(run: Run, folder: Path, mark: Path) -> Path:
    """A library's network, with options that are none."""
    options = {"change": ["__import__"], "freeze": "../../x"}
    return received(run, folder, spec="resnet18", code={}, options=options)


Maker = Callable[[Run, Path, Path], Path]
KINDS: dict[str, Maker] = {
    maker.__name__.removeprefix("_"): maker
    for maker in (
        *(_beside, _claimed, _own_hash, _sibling, _compiled, _shadowed),
        *(_absolute, _module, _installed, _other_factory, _hub, _options),
    )
}
KNOWN = ("compiled", "shadowed")
"""Kinds whose own source is what this machine trained with: they open, and only what is known runs."""
