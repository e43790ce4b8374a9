"""Damage every file of a run folder in every way, and ask every verb and page about it.

A small run is trained, measured, diagnosed and given an atlas. Then, again and again, one of its files is truncated,
emptied, deleted, exchanged with another of its kind, filled with zeros, has bits flipped, or, where it is JSON, a
value of another kind (with a seal that fits, as somebody would make it who means harm); a verb or page is asked, and
what it answers is compared with what it answers about the undamaged run:

  equal      the same answer, to the letter
  told       one sentence that names what is wrong, or the same page with such a sentence on it
  without    what was deleted is not shown, and nothing else is different
  traceback  an exception that nobody caught, or a page with status 500
  silent     another answer, and no word

    python benchmarks/damage.py --pairs 3000

The last two must be 0.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
RUN = "RUN"
# The time of day, a folder with a random name and the size of files on the disk are no difference between answers.
_CHANGING = [
    (re.compile(r'"(evaluated|seconds|folder|bytes)": ("[^"]*"|[\d.]+)'), r'"\1": 0'),
    (re.compile(r"\d+(\.\d+)? s\b"), "0 s"),
]


@dataclass(frozen=True)
class Answer:
    """What a verb or page answered: exit code or status, and what it wrote."""

    code: int
    out: str
    err: str = ""


Ask = Callable[[Path], Answer]


def verb(*words: str) -> Ask:
    """A verb of the command line in this process; `RUN` in its words stands for the run's path."""

    def ask(run: Path) -> Answer:
        from cutaway.cli import main

        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([word.replace(RUN, str(run)) for word in words])
            except SystemExit as end:
                code = int(end.code or 0)
        return Answer(code, steady(out.getvalue()), err.getvalue())

    return ask


def page(address: str) -> Ask:
    """A page of the microscope over the run's folder, in this process."""

    def ask(run: Path) -> Answer:
        from starlette.testclient import TestClient

        from cutaway.web.app import create_app
        from cutaway.web.site import Site

        app = create_app(Site(run.parent), 80)
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            client = TestClient(app, base_url="http://127.0.0.1:80", raise_server_exceptions=True)
            found = client.get(address.replace(RUN, run.name), headers={"host": "127.0.0.1:80"})
        return Answer(found.status_code, steady(found.text), err.getvalue())

    return ask


def steady(text: str) -> str:
    """Without what differs from one call to the next."""
    for pattern, same in _CHANGING:
        text = pattern.sub(same, text)
    return text


def asks(pictures: Path) -> dict[str, Ask]:
    """Every verb and page that reads a run."""
    out = str(pictures)
    verbs = {
        "runs": verb("runs", f"{RUN}/..", "--json"),
        "summary": verb("summary", RUN, "--json"),
        "evaluate": verb("evaluate", RUN, "--json"),
        "predict": verb("predict", RUN, "test:0", "--json"),
        "predict@1": verb("predict", f"{RUN}@1", "test:0", "--json"),
        "maps": verb("maps", RUN, "test:0", "--layer", "3", "--json", "--out", out),
        "kernels": verb("kernels", f"{RUN}@last", "--json", "--out", out),
        "gradients": verb("gradients", RUN, "test:0", "--json", "--out", out),
        "explain": verb("explain", RUN, "test:0", "--method", "saliency", "--json", "--out", out),
        "doctor": verb("doctor", RUN, "--json"),
        "curves": verb("curves", RUN, "--out", f"{out}/curves.svg"),
        "compare": verb("compare", f"{RUN}@1", f"{RUN}@2", "--data", f"{RUN}/../../photos", "--json", "--out", out),
        "imagine": verb("imagine", RUN, "--unit", "3:1", "--steps", "2", "--size", "12", "--json", "--out", out),
        "exemplars": verb("exemplars", RUN, f"{RUN}/../../photos", "--layer", "3", "--json", "--out", out),
        "atlas": verb("atlas", RUN, f"{RUN}/../../photos", "--layer", "3", "--steps", "2", "--json"),
        "report": verb("report", RUN, "--out", f"{out}/report.html"),
        "resume": verb("resume", RUN, "--json"),
    }
    addresses = {
        "start page": "/",
        "run page": f"/runs/{RUN}",
        "epoch page": f"/runs/{RUN}/e2",
        "layer page": f"/runs/{RUN}/e2/layers/3",
        "unit page": f"/runs/{RUN}/e2/layers/3/c1",
        "images page": f"/runs/{RUN}/e2/images",
        "image page": f"/runs/{RUN}/e2/images/test:0",
        "walk": f"/runs/{RUN}/e2/walk",
        "comparison": f"/compare?run={RUN}@1&run={RUN}@2",
    }
    return {**verbs, **{name: page(address) for name, address in addresses.items()}}


def make_run(folder: Path) -> Path:
    """A run of four epochs with everything that verbs leave in it."""
    from cutaway import evaluate, train
    from cutaway.data import load_data
    from cutaway.doctor import diagnose
    from cutaway.report import write_page
    from cutaway.scope import Scope
    from cutaway.scope.atlas import make_atlas

    random_colours = np.random.default_rng(0)
    for name, colour in {"cat": (190, 90, 90), "狗": (90, 190, 90), "bird": (90, 90, 190)}.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(24):
            pixels = random_colours.normal(colour, 70, (12, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02d}.png")
    (folder / "tiny.py").write_text(NETWORK)
    recipe = {"epochs": 4, "batch_size": 16, "precision": "fp32", "log_every": 1}
    run = train(folder / "photos", f"{folder}/tiny.py:make", recipe=recipe, runs=folder / "runs", name="one")
    path = run.folder.path
    evaluate(path)
    diagnose(run)
    write_page(run)
    for epoch in (2, run.epoch("best")):
        make_atlas(Scope(f"{path}@{epoch}"), load_data(folder / "photos"), steps=2)
    return path


def files_of(run: Path) -> list[str]:
    """The files that something is read from, each with its way below the run."""
    found = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return [name for name in found if name.endswith((".json", ".jsonl", ".safetensors"))]


def damages(content: bytes, name: str, chance: random.Random) -> dict[str, bytes | None]:
    """A damaged file for each kind of damage; None stands for no file."""
    size = len(content)
    place = chance.randrange(size)
    flipped, zeroed = bytearray(content), bytearray(content)
    flipped[place] ^= 1 << chance.randrange(8)
    length = min(size, 1 + chance.randrange(64))
    zeroed[place : place + length] = bytes(len(zeroed[place : place + length]))
    found: dict[str, bytes | None] = {
        "deleted": None,
        "emptied": b"",
        "truncated": content[:place],
        "cut by one": content[:-1],
        "flipped": bytes(flipped),
        "zeroed": bytes(zeroed),
        "longer": content + content[:place] + b"x",
        "text": b"this is no record",
    }
    if name.endswith(".json"):
        found |= {"another kind": other_value(content, chance), "array": b"[]\n", "null": b"null\n"}
    if name.endswith(".jsonl"):
        found |= {"line gone": without_a_line(content, chance), "another line": b"{}\n" + content}
    return {kind: made for kind, made in found.items() if made != content}


OTHERS = (None, True, -1, 0, 2**70, 1.5, "", "²", "\0", "x" * 300, [], [1, "a"], {}, {"a": {"b": []}})


def other_value(content: bytes, chance: random.Random) -> bytes:
    """A JSON record with one value of another kind, and a seal that fits."""
    from cutaway.runs.sealed import SEAL, write_sealed_json

    value = json.loads(content)
    value.pop(SEAL, None)
    places = list(_places(value))
    inner, key = places[chance.randrange(len(places))]
    # One rate of a recipe for another is a claim, not damage: nobody could tell it from the truth.
    claims = inner is value.get("recipe") and type(inner[key]) is float
    inner[key] = chance.choice([other for other in OTHERS if not claims or type(other) not in (int, float)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record.json")
        write_sealed_json(path, value)
        return path.read_bytes()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(items):
        yield value, key
        yield from _places(one)


def without_a_line(content: bytes, chance: random.Random) -> bytes:
    """A log that has lost one line."""
    lines = content.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def sibling(run: Path, name: str, chance: random.Random) -> str | None:
    """Another file of the same kind."""
    same = [other for other in files_of(run) if other != name and Path(other).suffix == Path(name).suffix]
    return chance.choice(same) if same else None


def judged(kind: str, before: Answer, now: Answer) -> str:
    """What became of one damage."""
    if now.code == 500 or "Traceback" in now.err or now.code not in (0, 2, 200, 302, 307, 404, before.code):
        return "traceback"
    if now.code in (2, 404) or _says(now, before):
        return "told"
    if now.out == before.out and now.code == before.code:
        return "equal"
    return "without" if kind == "deleted" else "silent"


def _says(now: Answer, before: Answer) -> bool:
    """Whether there is a sentence about damage that was not there before."""
    words = (
        *("is damaged", "has lost", "lost or damaged", "not a run's record", "no run folder", "not saved", "no saved"),
        *("cannot be read", "holds the", "is about the split", "measured on other", "is another part", "is of epoch"),
        "is of another architecture",
    )
    fresh = [word for word in words if (now.out + now.err).count(word) > (before.out + before.err).count(word)]
    return bool(fresh)


def main() -> None:
    """Damage, ask, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3000, help="damages times verbs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CUTAWAY_CACHE": f"{folder}/cache", "CUTAWAY_HOME": f"{folder}/home"}
        start = time.monotonic()
        counts, worst = fuzz(Path(folder), arguments.pairs, arguments.seed, lambda text: print(text, flush=True))
    for line in worst:
        print(line)
    seconds = time.monotonic() - start
    told = ", ".join(f"{counts[name]} {name}" for name in ("equal", "told", "without", "traceback", "silent"))
    print(f"{sum(counts.values())} damages x verbs: {told}; {seconds:.0f} s")
    sys.exit(1 if counts["traceback"] or counts["silent"] else 0)


def fuzz(folder: Path, pairs: int, seed: int, say: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """So many damages, each with a verb or page; counts by outcome, and a line for each that is wrong."""
    chance = random.Random(seed)
    whole = make_run(folder)
    known = asks(folder / "pictures")
    names, counts, worst = files_of(whole), Counter[str](), list[str]()
    before: dict[str, Answer] = {}
    for name, ask in known.items():
        with fresh(whole, folder) as run:
            before[name] = ask(run)
        if before[name].code not in (0, 200):
            raise SystemExit(f"{name} does not work on the undamaged run: {before[name].err or before[name].out}")
    while sum(counts.values()) < pairs:
        file, name = chance.choice(names), chance.choice(list(known))
        with fresh(whole, folder) as run:
            kind = damage(run, file, chance)
            outcome, told = outcome_of(kind, known[name], before[name], run)
        counts[outcome] += 1
        if outcome in ("traceback", "silent"):
            worst.append(f"{outcome}: {name} after {file} was {kind}: {told}")
            say(worst[-1])
        if sum(counts.values()) % 250 == 0:
            say(f"{sum(counts.values())}: {dict(counts)}")
    return counts, worst


def damage(run: Path, file: str, chance: random.Random) -> str:
    """Damage one file in one way; which way."""
    path = run / file
    found = damages(path.read_bytes(), file, chance)
    other = sibling(run, file, chance)
    kind = chance.choice([*found, *(["exchanged"] if other else [])])
    if kind == "exchanged":
        assert other is not None
        mine, its = path.read_bytes(), (run / other).read_bytes()
        path.unlink()
        (run / other).unlink()
        path.write_bytes(its)
        (run / other).write_bytes(mine)
        return f"exchanged with {other}"
    content = found[kind]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return kind


def outcome_of(kind: str, ask: Ask, before: Answer, run: Path) -> tuple[str, str]:
    """What became of one damage, and the last words of whoever was asked."""
    try:
        now = ask(run)
    except Exception:  # whatever it is, it is what is looked for
        return "traceback", traceback.format_exc().strip().replace("\n", " | ")[-700:]
    outcome = judged(kind, before, now)
    return outcome, f"{now.code} {now.err.strip()[-300:]} {difference(before.out, now.out)}"


def difference(before: str, now: str) -> str:
    """Where two texts part."""
    place = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    return f"...{before[max(0, place - 40) : place + 60]!r} became {now[max(0, place - 40) : place + 60]!r}"


@contextlib.contextmanager
def fresh(whole: Path, folder: Path) -> Iterator[Path]:
    """A copy of the run in the place where it was, so that every path in an answer is the same."""
    aside = folder / "aside"
    if not aside.exists():
        shutil.copytree(whole, aside)
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(aside, whole)
    yield whole


if __name__ == "__main__":
    main()
