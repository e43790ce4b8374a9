"""What long work leaves behind, by content: in the run's folder, or for a model beside the runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cutaway.errors import InputError
from cutaway.files import write_bytes
from cutaway.runs.checked import Wrong, check
from cutaway.runs.sealed import read_sealed_json, seal, unbroken, write_sealed_json
from cutaway.views.comparison import ComparisonView, as_json, from_json
from cutaway.web.images import Chosen
from cutaway.web.site import HIDDEN
from cutaway.web.subject import Subject

# The cheapest first, so that a page fills from its top.
_SLOW = ("occlusion", "ablation-cam", "score-cam", "rise")


def keep_folder(subject: Subject) -> Path:
    """Where results about a subject go."""
    if subject.run is not None:
        return subject.run.folder.path / "microscope"
    return subject.site.folder / HIDDEN / "models" / subject.weights_hash()


def key_of(*about: object) -> str:
    """16 hexadecimal digits that change with anything in `about`."""
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file; None if it is not there or damaged, and then it is made again."""
    if not path.is_file():
        return None
    try:
        unbroken(path, needed=True)
        return load(path.read_bytes())
    except (InputError, SafetensorError):
        return None


def answers_path(subject: Subject, split: str) -> Path:
    """The file with what the network says of every image of a split."""
    fingerprint = subject.splits().get(split, "")
    return keep_folder(subject) / "answers" / f"{key_of(subject.weights_hash(), fingerprint)}-{split}.safetensors"


def read_answers(subject: Subject, split: str) -> dict[str, NDArray[Any]] | None:
    """`labels`, `predicted` and `probability` (N,) of a split, if they were computed."""
    path = answers_path(subject, split)
    key = ("answers", path, path.stat().st_mtime_ns if path.is_file() else 0)
    found: dict[str, NDArray[Any]] | None = subject.site.values.get(key, lambda: _read_arrays(path))
    return found


def write_answers(subject: Subject, split: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep them."""
    whole = {name: np.ascontiguousarray(one) for name, one in arrays.items()}
    write_bytes(answers_path(subject, split), seal(save(whole), {"split": split})[0])


@dataclass(frozen=True, eq=False)
class Heat:
    """One method's maps of one image.

    Attributes:
        method: its name.
        layer: the layer it read; "" for none.
        targets: the classes explained: the predicted one, then the true one if it is another.
        scores: of each target.
        maps: float32 (targets, H, W).
        certificates: of each target.
        error: why there are no maps.
    """

    method: str
    layer: str = ""
    targets: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    maps: NDArray[np.float32] | None = None
    certificates: tuple[Mapping[str, Any], ...] = ()
    error: str = ""


class _About(TypedDict):
    method: str
    layer: str
    targets: list[str]
    scores: list[float]
    certificates: list[dict[str, Any]]
    error: str


def heat_folder(subject: Subject, image: Chosen) -> Path:
    """Where the explanations of an image are."""
    return keep_folder(subject) / "explanations" / key_of(subject.weights_hash(), image.key, image.target)


def method_names() -> list[str]:
    """All methods, the quick ones first."""
    from cutaway.lenses.attribution import METHODS

    return sorted(METHODS, key=lambda name: _SLOW.index(name) + 1 if name in _SLOW else 0)


def read_heats(subject: Subject, image: Chosen) -> list[Heat]:
    """The methods that are done, the quick ones first."""
    folder = heat_folder(subject, image)
    return [found for name in method_names() if (found := read_heat(folder, name))]


def read_heat(folder: Path, method: str) -> Heat | None:
    """One method's maps, if they are there and whole."""
    path = folder / f"{method}.json"
    if not path.is_file():
        return None
    try:
        about, _ = read_sealed_json(path)
        check(about, _About)
    except (InputError, Wrong):
        return None  # damaged: it can be made again
    if about.get("error"):
        return Heat(method, error=str(about["error"]))
    arrays = _read_arrays(folder / f"{method}.safetensors")
    if arrays is None:
        return None
    return Heat(
        method,
        about["layer"],
        tuple(about["targets"]),
        tuple(about["scores"]),
        arrays["maps"],
        tuple(about["certificates"]),
    )


def write_heat(folder: Path, heat: Heat) -> None:
    """Keep one method's maps; the record comes last, so that what has one is whole."""
    if heat.maps is not None:
        content, _ = seal(save({"maps": np.ascontiguousarray(heat.maps)}), {"method": heat.method})
        write_bytes(folder / f"{heat.method}.safetensors", content)
    about = {
        "method": heat.method,
        "layer": heat.layer,
        "targets": list(heat.targets),
        "scores": list(heat.scores),
        "certificates": [dict(one) for one in heat.certificates],
        "error": heat.error,
    }
    write_sealed_json(folder / f"{heat.method}.json", json.loads(json.dumps(about, default=str)))


def comparison_path(a: Subject, b: Subject, split: str) -> Path:
    """The file with the comparison of two networks on a split of the first one's data."""
    fingerprint = a.splits().get(split, "")
    key = key_of(a.weights_hash(), b.weights_hash(), fingerprint, a.name, a.epoch, b.name, b.epoch)
    return a.site.folder / HIDDEN / "comparisons" / f"{key}.json"


def read_comparison(a: Subject, b: Subject, split: str) -> ComparisonView | None:
    """What was measured of two networks; None if nothing was, or what is kept cannot be read."""
    path = comparison_path(a, b, split)
    if not path.is_file():
        return None

    def read() -> ComparisonView | None:
        try:
            return from_json(read_sealed_json(path)[0])
        except (InputError, KeyError, TypeError, ValueError, OSError):
            return None  # damaged: it can be measured again

    found: ComparisonView | None = a.site.values.get(("comparison", path, path.stat().st_mtime_ns), read)
    return found


def write_comparison(a: Subject, b: Subject, split: str, found: ComparisonView) -> None:
    """Keep it."""
    write_sealed_json(comparison_path(a, b, split), as_json(found))
