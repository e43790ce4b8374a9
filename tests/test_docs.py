"""The pages are a contract: verbs, options and keys are on them, links lead somewhere, and their Python runs.

`docs/data.md` and `docs/models.md` have tests of their own beside those of their rooms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from cutaway.cli.app import _VERBS, app
from cutaway.models import Preprocessing, build
from cutaway.runs import RunFolder, append_lines
from cutaway.training.recipe import FLIPS, INITIALISATIONS, OPTIMIZERS, SCHEDULES, Recipe
from cutaway.training.state import write_weights
from whole_records import epoch_line, whole_info

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTED_ELSEWHERE = ("data.md", "models.md")
# Written after everything else is measured.
FIGURES = ROOT / "docs" / "benchmarks.md"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def verbs() -> dict[str, Any]:
    for module in _VERBS:
        import_module(f"cutaway.cli.{module}")
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a program with verbs is a group


def section(page: str, verb: str) -> str:
    """The part of `docs/commands.md` about one verb."""
    found = re.search(rf"^## `cutaway {verb}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section about {verb}"
    return found[0]


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_has_a_section_with_all_its_options(verb: str) -> None:
    text = section(read("docs/commands.md"), verb)
    for parameter in verbs()[verb].params:
        if parameter.param_type_name == "argument":
            assert str(parameter.metavar).rstrip(".") in text.splitlines()[0]
            continue
        for name in [*parameter.opts, *parameter.secondary_opts]:
            assert name == "--help" or re.search(rf"`{name}\b", text), f"{name} is missing in the section about {verb}"


@pytest.mark.parametrize("verb", verbs())
def test_no_section_has_an_option_too_many(verb: str) -> None:
    named = set(re.findall(r"(?<=[`\s])(--?[a-z][\w-]*)", section(read("docs/commands.md"), verb)))
    known = {name for item in verbs()[verb].params for name in [*item.opts, *item.secondary_opts]}
    assert named <= known


def test_no_section_is_about_a_verb_that_is_none() -> None:
    assert set(re.findall(r"^## `cutaway (\w+)", read("docs/commands.md"), re.MULTILINE)) == set(verbs())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_use_verbs_and_options_that_exist(page: Path) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        verb = re.match(r"cutaway ([a-z]\w*)", line)
        if verb:
            assert verb[1] in verbs(), line
            known = {name for item in verbs()[verb[1]].params for name in [*item.opts, *item.secondary_opts]}
            assert set(re.findall(r"\s(--[\w-]+)", line.partition("#")[0])) <= {*known, "--help"}, line


@pytest.mark.parametrize("key", [item.name for item in fields(Recipe)])
def test_each_recipe_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in read("docs/training.md")
    default = getattr(Recipe(), key)
    row = next(line for line in read("docs/training.md").splitlines() if line.startswith("|") and f"`{key}`" in line)
    assert (f'"{default}"' if isinstance(default, str) else f"{default:g}") in row


@pytest.mark.parametrize("name", [*OPTIMIZERS, *SCHEDULES, *INITIALISATIONS])
def test_each_choice_of_a_recipe_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in read("docs/training.md")


def test_each_flip_is_on_the_page_about_data() -> None:
    assert all(f"`{name}`" in read("docs/data.md") for name in FLIPS)


def test_each_page_is_in_the_index() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        index = f"docs/{page.parent.name}.md" if page.parent.name in ("lenses", "doctor") else "docs/index.md"
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in read(index)


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http://", "https://")):
                yield page, target


@pytest.mark.parametrize(("page", "target"), list(links()), ids=str)
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    place = (page.parent / name).resolve() if name else page
    assert place.is_file() or place == FIGURES
    if anchor:
        assert anchor in {slug(head) for head in re.findall(r"^#+ (.*)$", place.read_text("utf-8"), re.MULTILINE)}


def slug(head: str) -> str:
    """The anchor that a forge makes of a headline."""
    return re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "README.zh-CN.md"], ids=lambda page: page.name)
def test_the_pictures_are_small(page: Path) -> None:
    pictures = re.findall(r"!\[.+?\]\((\S+)\)", page.read_text(encoding="utf-8"))
    assert pictures
    assert all((ROOT / picture).stat().st_size < 300_000 for picture in pictures)


def test_both_readmes_say_the_same() -> None:
    for pattern in (r"^```\n(.*?)^```", r"\((docs/\S+?)\)", r"^(#+) "):
        found = [re.findall(pattern, read(name), re.MULTILINE | re.DOTALL) for name in ("README.md", "README.zh-CN.md")]
        # A picture may speak the page's language.
        found[1] = [text.replace("-zh.png", ".png") for text in found[1]]
        words = [[re.sub(r"#.*", "", text).split() if "\n" in text else text for text in texts] for texts in found]
        assert words[0] == words[1]


def blocks() -> Iterator[tuple[str, str, str]]:
    """Page, what stands beside ```python, and the code."""
    for page in PAGES:
        if page.name not in TESTED_ELSEWHERE:
            for note, code in re.findall(
                r"^```python(.*?)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
            ):
                yield page.name, note.strip(), code


def surroundings(folder: Path) -> dict[str, Any]:
    """What the examples take for granted: a network with images, and a run folder's name."""
    import cutaway

    torch.manual_seed(0)
    network = build("resnet18", classes=10, shape=(3, 16, 16)).eval()
    images, targets = torch.rand(2, 3, 16, 16), torch.tensor([3, 5])
    run = RunFolder(folder / "runs" / "fashion-mnist-resnet18-1")
    run.create(whole_info())
    append_lines(run.metrics, [epoch_line(1)])
    write_weights(run.weights(1), network.state_dict(), {"epoch": "1"})
    preprocessing = Preprocessing((3, 16, 16), (0.5,) * 3, (0.25,) * 3)
    scope = cutaway.Scope(network, preprocessing=preprocessing)
    names = {"network": network, "images": images, "targets": targets, "batches": [images, images], "scope": scope}
    return {**names, "cutaway": cutaway, "np": np, "torch": torch}


NETWORK = """
from torch import nn


def make(num_classes, in_channels):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, num_classes))
"""


def make_training_tiny(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """What an example trains becomes a tiny network on a few small shapes."""
    import cutaway
    from cutaway.data import shapes
    from cutaway.training import train

    (folder / "tiny.py").write_text(NETWORK)

    def tiny(data: str, model: str, **options: Any) -> Any:
        recipe = {**options.pop("recipe", {}), "precision": "fp32", "epochs": 1}
        return train(data, str(folder / "tiny.py:make"), recipe=recipe, data_options={"size": 12}, **options)

    patch.setenv("CUTAWAY_CACHE", str(folder / "cache"))
    patch.setattr(shapes, "SIZES", {"train": 40, "val": 20, "test": 20})
    patch.setattr(cutaway, "train", tiny, raising=False)


@pytest.mark.parametrize(("page", "note", "code"), list(blocks()))
def test_python_on_a_page_runs(
    page: str, note: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile(code, page, "exec")
    if note.startswith("skip: "):
        pytest.skip(note)
    monkeypatch.chdir(tmp_path)
    make_training_tiny(tmp_path, monkeypatch)
    exec(compile(code, page, "exec"), surroundings(tmp_path))
