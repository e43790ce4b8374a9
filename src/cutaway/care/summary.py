"""An audit as one JSON object."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.care.audit import Audit
from cutaway.care.findings import find, remedy
from cutaway.words import words

_QUANTILES = (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)


def summarize(audited: Audit, listed: Path | None = None) -> dict[str, Any]:
    """Everything that the audit found, by name; nothing is cut off. `listed` is the list of what to leave out."""
    names, data, duplicates = audited.names, audited.data, audited.duplicates
    measures = audited.measures
    english = words("en")
    counts = audited.counts()
    majority, share = audited.majority()
    return {
        "source": data.source,
        "images": len(audited),
        "shape": list(data.shape),
        "findings": [
            {
                "rule": one.rule,
                "severity": one.severity,
                **one.values,
                "sentence": one.sentence(english),
                "remedy": remedy(audited, one, listed),
            }
            for one in find(audited)
        ],
        "classes": [
            {"class": name, **dict(zip(audited.splits, row, strict=True))}
            for name, row in zip(data.classes, counts.tolist(), strict=True)
        ],
        "majority": {"class": majority, "accuracy": share, "split": audited.splits[-1]},
        "quarantine": [item._asdict() for item in data.quarantine],
        "files": _files(audited),
        "brightness": _spread(measures.brightness),
        "contrast": _spread(measures.contrast),
        "sharpness": _spread(measures.sharpness),
        "equal": [[names[image] for image in group] for group in duplicates.groups],
        "near_bits": duplicates.most,
        "near": [{"first": names[a], "second": names[b], "bits": bits} for a, b, bits in duplicates.near],
        "leaks": [
            {"split": leak.split, "size": leak.size, "exact": leak.exact, "near": leak.near} for leak in audited.leaks
        ],
        "suggestions": [
            {
                "image": names[one.image],
                "rule": one.rule,
                "instead_of": None if one.instead_of is None else names[one.instead_of],
            }
            for one in audited.suggestions
        ],
    }


def _files(audited: Audit) -> dict[str, Any] | None:
    """Formats, modes, and the spread of sizes; None for a built-in set."""
    if audited.headers is None:
        return None
    return {
        "kinds": dict(Counter(f"{header.format} {header.mode}" for header in audited.headers).most_common()),
        "grey": sum(header.grey for header in audited.headers),
        "turned": sum(header.turned for header in audited.headers),
        "width": _spread(np.array([header.width for header in audited.headers])),
        "height": _spread(np.array([header.height for header in audited.headers])),
        "aspect": _spread(np.array([header.width / header.height for header in audited.headers])),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    """Some quantiles, by their share."""
    found = np.quantile(values, _QUANTILES).tolist()
    return {f"{share:g}": round(value, 3) for share, value in zip(_QUANTILES, found, strict=True)}
