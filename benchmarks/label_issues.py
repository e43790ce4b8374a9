"""How many changed labels `cutaway evaluate` finds in Fashion-MNIST, after training on labels that were changed too.

    python benchmarks/label_issues.py --shares 0 0.03 --epochs 1

Of all splits the same share of labels is replaced by another class at random. The network is trained on them with the
packaged recipe, and judges the test split.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cutaway.data import Dataset, load_data
from cutaway.training import evaluate, train


def changed(data: Dataset, share: float) -> tuple[Dataset, dict[str, set[int]]]:
    """The data set with labels changed, and where."""
    random, splits, places = np.random.default_rng(0), {}, {}
    for name, split in data.splits.items():
        rows = random.choice(len(split), round(share * len(split)), replace=False)
        labels = split.labels.copy()
        labels[rows] = (labels[rows] + random.integers(1, len(data.classes), len(rows))) % len(data.classes)
        splits[name], places[name] = replace(split, labels=labels), set(rows.tolist())
    return replace(data, splits=splits), places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.03])
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    clean = load_data(arguments.data)
    for share in arguments.shares:
        data, places = changed(clean, share)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as runs:
            run = train(data, arguments.model, recipe={"epochs": arguments.epochs}, runs=Path(runs))
            result = evaluate(run.folder.path, "test", data=data)
        found = {int(issue["image"].removeprefix("test:")) for issue in result["label_issues"]}
        print(
            f"{share:.0%} changed: accuracy {result['accuracy']:.2%} against the changed labels of {result['size']} "
            f"images; {len(found)} named, {len(found & places['test'])} of the {len(places['test'])} changed ones "
            f"among them; {time.monotonic() - start:.0f} s"
        )


if __name__ == "__main__":
    main()
