"""Run folders as they may come from somebody else, each with code that leaves a mark if it ever runs."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coloured import write_images
from cutaway import train
from cutaway.runs import Run
from cutaway.runs.sealed import read_sealed_json, write_sealed_json

HARMLESS = """
import sys
from pathlib import Path
from torch import nn
from layers import WIDTH

sys.path.insert(0, str(Path(__file__).parent / "lib"))
import colorsys
from helper import KERNEL

try:
    from parts import quick
except ImportError:
    quick = None


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, WIDTH, KERNEL, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(WIDTH, num_classes),
    )
"""
LAYERS = "WIDTH = 4\n"
CODE = {"net.py": HARMLESS, "layers.py": LAYERS, "lib/helper.py": "KERNEL = 3\n", "parts/__init__.py": ""}
"""A factory with a module beside it, one in a folder that it puts on the path, and a part that it can do without."""
MARK = "open({mark!r}, 'a').write('ran\\n')\n"


def write_code(folder: Path, code: Mapping[str, str] = CODE) -> None:
    """Write files of Python."""
    for name, text in code.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def trained_here(folder: Path) -> Run:
    """A run that this machine trained with code of its own: `net.py`, and what it imports."""
    write_code(folder / "code")
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


def _with_code(run: Run, folder: Path, mark: Path, *hostile: str, **model: Any) -> Path:
    """A run that brings its code, of which the `hostile` files leave the mark."""
    path = received(run, folder, **{"spec": f"{folder}/runs/gift/net.py:make", **model})
    write_code(path)
    for name in hostile:
        write_code(path, {name: MARK.format(mark=str(mark)) + CODE.get(name, "")})
    return path


def _beside(run: Run, folder: Path, mark: Path) -> Path:
    """A factory in a file that came with the run."""
    return _with_code(run, folder, mark, "net.py", code={})


def _claimed(run: Run, folder: Path, mark: Path) -> Path:
    """The same, and the record claims that it is code which this machine knows."""
    return _with_code(run, folder, mark, "net.py")


def _own_hash(run: Run, folder: Path, mark: Path) -> Path:
    """The record has the true hash of the hostile file."""
    digest = hashlib.sha256((MARK.format(mark=str(mark)) + HARMLESS).encode()).hexdigest()
    return _with_code(run, folder, mark, "net.py", code={**run.info["model"]["code"], "net.py": digest})


def _sibling(run: Run, folder: Path, mark: Path) -> Path:
    """The factory is known to the letter, but a module beside it is another."""
    return _with_code(run, folder, mark, "layers.py")


def _on_path(run: Run, folder: Path, mark: Path) -> Path:
    """Likewise, a module in the folder that the factory puts on the path."""
    return _with_code(run, folder, mark, "lib/helper.py")


def _other_file(run: Run, folder: Path, mark: Path) -> Path:
    """All files are known to the letter, but the factory is looked for in another of them."""
    return _with_code(run, folder, mark, spec=f"{folder}/runs/gift/layers.py:make")


def _other_module(run: Run, folder: Path, mark: Path) -> Path:
    """The record claims known code, and names an installed module that does something when it is imported."""
    write_code(folder / "site", {"somebodys.py": MARK.format(mark=str(mark))})
    sys.path.append(str(folder / "site"))  # the test puts the path back
    write_code(folder)
    return _with_code(run, folder, mark, spec="somebodys:make")


def _compiled(run: Run, folder: Path, mark: Path) -> Path:
    """Source that is known to the letter, with compiled files beside it whose dates and sizes fit."""
    path = _with_code(run, folder, mark)
    for name, text in CODE.items():
        for stem in (Path(name).stem, f"cutaway_user_{Path(name).stem}"):
            cache = Path(importlib.util.cache_from_source(str((path / name).with_name(f"{stem}.py"))))
            cache.parent.mkdir(exist_ok=True)
            status = os.stat(path / name)
            head = importlib.util.MAGIC_NUMBER + (0).to_bytes(4, "little")
            head += int(status.st_mtime).to_bytes(4, "little") + status.st_size.to_bytes(4, "little")
            code = compile(MARK.format(mark=str(mark)) + text, str(path / name), "exec")
            cache.write_bytes(head + marshal.dumps(code))
    return path


def _shadowed(run: Run, folder: Path, mark: Path) -> Path:
    """Known files, and beside them modules with the names of others that they or torch might import."""
    names = ("torch", "numpy", "json", "colorsys", "sitecustomize", "this", "helper", "lib/colorsys", "lib/torch")
    return _with_code(run, folder, mark, *(f"{name}.py" for name in names), "layers/__init__.py", "parts.py")


def _quick(run: Run, folder: Path, mark: Path) -> Path:
    """Known files, and the part that they can do without, which was not there when they were trained with."""
    return _with_code(run, folder, mark, "parts/quick.py", "quick.py", "lib/parts/quick.py")


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
    """A network of a hub on the net."""
    return received(run, folder, spec="timm:hf_hub:somebody/something", code={})


def _local_dir(run: Run, folder: Path, mark: Path) -> Path:
    """A network that timm would read from a folder."""
    return received(run, folder, spec=f"timm:local-dir:{folder}", code={})


def _tag(run: Run, folder: Path, mark: Path) -> Path:
    """A network of timm's with something behind its name."""
    return received(run, folder, spec="timm:resnet18.hf_hub:somebody/something", code={})


def _another_run(run: Run, folder: Path, mark: Path) -> Path:
    """A run that names itself as its network."""
    return received(run, folder, spec=f"{folder}/runs/gift", code={})


def library(run: Run, folder: Path, mark: Path) -> Path:
    """Nothing hostile: a network of Cutaway's own."""
    return received(run, folder, spec="resnet18", code={})


def _options(run: Run, folder: Path, mark: Path) -> Path:
    """A library's network, with options that are none."""
    options = {"change": ["__import__"], "freeze": "../../x"}
    return received(run, folder, spec="resnet18", code={}, options=options)


Maker = Callable[[Run, Path, Path], Path]
KINDS: dict[str, Maker] = {
    maker.__name__.removeprefix("_"): maker
    for maker in (
        *(_beside, _claimed, _own_hash, _sibling, _on_path, _other_file, _other_module),
        *(_compiled, _shadowed, _quick, _absolute, _module, _installed, _other_factory),
        *(_hub, _local_dir, _tag, _another_run, _options),
    )
}
KNOWN = ("compiled", "shadowed", "quick")
"""Kinds whose own source is what this machine trained with: they open, and only what is known runs."""
NO_CODE = ("hub", "local_dir", "tag", "another_run", "options")
"""Kinds that name no code, and no network that there is."""
