"""How long `cutaway audit` takes, a process from its start to its page: from an empty cache, and with decoded images.

    python benchmarks/audit.py CIFAR_FOLDER --rounds 1

Prints what it found as well, so that speed is not bought with blindness.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def audit(data: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    """The seconds and the findings of one call."""
    words = [sys.executable, "-m", "cutaway", "audit", str(data), "--out", str(cache / "audit.html"), "--json"]
    start = time.monotonic()
    told = subprocess.check_output(words, text=True, env={**os.environ, "CUTAWAY_CACHE": str(cache)})
    return time.monotonic() - start, dict(json.loads(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of images")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    for number in range(1, arguments.rounds + 1):
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            first, found = audit(arguments.data, Path(folder))
            again, _ = audit(arguments.data, Path(folder))
        print(
            f"round {number} (load {load:.1f} before): {found['images']:,} images, {first:.1f} s from an empty cache, "
            f"{again:.1f} s with the decoded images"
        )
        for leak in found["leaks"]:
            print(f"  {leak['split']}: {leak['near']} of {leak['size']} with a near duplicate in train")
        print(f"  {len(found['near'])} near pairs (at most {found['near_bits']} bits apart)")


if __name__ == "__main__":
    main()
