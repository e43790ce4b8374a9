"""Held-out accuracy on a folder of faces, honestly split: train, choose the epoch by validation, measure test once.

Prints the command's own figures: the accuracy on the test split with its size and interval, and the seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def cutaway(*words: str) -> dict[str, Any]:
    return dict(json.loads(subprocess.check_output([sys.executable, "-m", "cutaway", *words, "--json"], text=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="one folder a person")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("options", nargs="*", help="passed on to `cutaway train`, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as runs:
        start = time.monotonic()
        words = ["train", str(arguments.data), "--model", arguments.model, "--runs", runs, *arguments.options]
        run = cutaway(*words)
        result = cutaway("evaluate", run["run"])
    low, high = result["accuracy_interval"]
    print(f"{' '.join(words[:4])} {' '.join(arguments.options)}")
    print(f"validation {run['val_accuracy']:.2%} in the last epoch")
    print(
        f"test {result['accuracy']:.2%} ({low:.2%} to {high:.2%}) of {result['size']} images, epoch {result['epoch']}"
    )
    print(f"{time.monotonic() - start:.0f} s; warnings: {result['warnings'] or 'none'}")


if __name__ == "__main__":
    main()
