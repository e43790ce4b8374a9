"""How many labels of a run's test split that were changed at random `label_issues` finds, and how many others it names.

    python benchmarks/label_issues.py runs/fashion-mnist-resnet18-1 --shares 0 0.01 0.03 0.1

The network was trained on labels as they are; of the test split a share is replaced by another class, and judged.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from cutaway.data import load_data
from cutaway.models import load_model
from cutaway.runs import open_run
from cutaway.training.measure import predict_split
from cutaway.training.mislabelled import label_issues
from cutaway.training.precision import Plan, choose_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.01, 0.03, 0.1])
    arguments = parser.parse_args()
    described = open_run(arguments.run).info["data"]
    data = load_data(described["source"], **described["options"])
    split, classes = data.splits["test"], data.classes
    model = load_model(arguments.run)
    plan = Plan(choose_device("cpu"), channels_last=True, matrices=True)
    plan.place(model.network)
    found = predict_split(model, split, plan)
    print(f"{arguments.run}: accuracy {found.accuracy:.2%} on {len(split):,} test images")
    for share in arguments.shares:
        random = np.random.default_rng(0)
        rows = random.choice(len(split), round(share * len(split)), replace=False)
        labels = split.labels.copy()
        labels[rows] = (labels[rows] + random.integers(1, len(classes), len(rows))) % len(classes)
        issues = label_issues(replace(found, labels=torch.from_numpy(labels)), replace(split, labels=labels), classes)
        named = {int(issue["image"].removeprefix("test:")) for issue in issues or ()}
        print(f"{len(rows)} changed: {len(named)} named, {len(named & set(rows.tolist()))} of the changed among them")


if __name__ == "__main__":
    main()
