"""The doctor against planted mistakes: how many are found, named and placed, and how many healthy runs are slandered.

    python benchmarks/seeded_faults.py --cifar CIFAR_FOLDER --out runs/faults

Goes on where it was stopped: a case that was trained is not trained again, and its record is read
with the rules as they are now.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cutaway.doctor import diagnose
from cutaway.doctor.diagnosis import findings
from cutaway.doctor.record import make_record
from cutaway.runs import is_run, open_run

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    options = arguments()
    os.environ.setdefault("CUTAWAY_FAULTS", str(options.out))
    if options.cifar:
        os.environ["CUTAWAY_CIFAR"] = str(options.cifar)
    from faults.catalogue import CASES

    torch.set_num_threads(options.threads)
    chosen = [case for case in CASES if not options.only or any(word in case.name for word in options.only)]
    deadline = time.monotonic() + options.minutes * 60
    rows = []
    for case in chosen:
        folder = options.out / case.name
        if not done(folder) and time.monotonic() < deadline:
            train(case, folder)
        if done(folder):
            rows.append(judged(case, folder))
    print_rows(rows)
    print_summary(rows)
    (options.out / "results.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    parser.add_argument("--cifar", type=Path, help="a folder of CIFAR-10 images, if the built-in set is not to be had")
    parser.add_argument("--only", nargs="*", help="cases whose name holds one of these words")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no new case after so many minutes")
    return parser.parse_args()


def done(folder: Path) -> bool:
    return (folder / "seconds.json").is_file()


def train(case: Any, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    start = time.monotonic()
    case.loop.run(folder)
    assert is_run(folder)
    (folder / "seconds.json").write_text(json.dumps(time.monotonic() - start), encoding="utf-8")


def judged(case: Any, folder: Path) -> dict[str, Any]:
    """What the doctor says of a case, and whether it is right."""
    found = [finding for finding in diagnose(folder) if finding.severity != "note"]
    first = found[0] if found else None
    named = first is not None and first.rule in case.causes
    mine = next((finding for finding in found if finding.rule in case.causes), None)
    return {
        "name": case.name,
        "kind": case.kind,
        "held_out": case.held_out,
        "expected": case.causes,
        "found": [f"{finding.severity}:{finding.rule}" for finding in found],
        "detected": bool(found),
        "named": named,
        "among": mine is not None,
        "layer": None if case.layer is None else mine is not None and mine.evidence.layer == case.layer,
        "said_layer": mine.evidence.layer if mine else None,
        "on_the_way": said_on_the_way(folder) if case.kind == "healthy" else [],
        "false_error": case.kind == "healthy" and any(finding.severity == "error" for finding in found),
        "seconds": round(json.loads((folder / "seconds.json").read_text()), 1),
    }


def said_on_the_way(folder: Path) -> list[str]:
    """What the doctor would have said of a run at each of its check-ups, while it trained."""
    run = open_run(folder)
    info, checkups = {**run.info, "status": "training"}, run.checkups()
    said = {}
    for step in sorted({line["step"] for line in checkups}):
        parts = (
            [line for line in lines if line["step"] <= step] for lines in (run.metrics("step"), run.metrics("epoch"))
        )
        record = make_record(info, *parts, [line for line in checkups if line["step"] <= step], [], {})
        for finding in findings(record):
            if finding.severity != "note":
                said.setdefault(f"{finding.severity}:{finding.rule}", step)
    return [f"{name}@{step}" for name, step in said.items()]


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        healthy = row["kind"] == "healthy"
        mark = ("ALARM" if row["false_error"] else "ok") if healthy else ("ok" if row["named"] else "WRONG")
        place = "" if row["layer"] is None else f" layer {'ok' if row['layer'] else row['said_layer']}"
        print(f"{mark:6}{row['name']:26}{row['seconds']:6.1f} s  {' '.join(row['found']) or '-'}{place}")


def print_summary(rows: list[dict[str, Any]]) -> None:
    for number, title in enumerate(("tuned on", "held out", "held out, second set")):
        part = [row for row in rows if row["held_out"] == number]
        faults = [row for row in part if row["kind"] != "healthy"]
        healthy = [row for row in part if row["kind"] == "healthy"]
        placed = [row for row in faults if row["layer"] is not None]
        warned = sum(bool(row["found"]) and not row["false_error"] for row in healthy)
        print(
            f"{title}: {len(faults)} faults, {share(faults, 'detected')} detected, "
            f"{share(faults, 'named')} named first, "
            f"{share(faults, 'among')} named at all, {share(placed, 'layer')} of those with a place placed; "
            f"{len(healthy)} healthy, {sum(row['false_error'] for row in healthy)} with a false error, {warned} with a "
            f"warning alone, {sum(bool(row['on_the_way']) for row in healthy)} with any on the way"
        )
    print(f"{sum(row['seconds'] for row in rows) / 60:.1f} minutes of training")


def share(rows: list[dict[str, Any]], key: str) -> str:
    return f"{sum(bool(row[key]) for row in rows)}/{len(rows)}"


if __name__ == "__main__":
    main()
