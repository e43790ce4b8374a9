"""What the page about two networks, or two epochs, shows: how alike their layers are, and where they differ."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from cutaway.pictures.stills import Still, small_still

if TYPE_CHECKING:
    from cutaway.scope.comparison import Comparison


@dataclass(frozen=True, eq=False)
class Disagreement:
    """An image to which the two give different answers.

    Attributes:
        image: its place in the split.
        still: what it looks like.
        true: its class; "" where nobody knows.
        said: the class that each says, and how sure it is.
    """

    image: int
    still: Still
    true: str
    said: tuple[tuple[str, float], tuple[str, float]]


@dataclass(frozen=True, eq=False)
class ComparisonView:
    """Two networks on the same images; the first is A, the second B.

    Attributes:
        names: what they are called.
        measured: how many images, of how many, of which split.
        layers: the names of A's and of B's layers.
        cka: for each layer of A its similarity to each of B, 0..1; None where there is none.
        rows: for A and for B one row a layer, as `Comparison.layer_rows`.
        units: of each matched pair of layers the mean correlation and the share of units with the same number.
        agreement: accuracies, agreement and McNemar's counts; None where the classes differ.
        disagreements: the images on which they differ, both sure of it first.
        notes: sentences a reader must know.
    """

    names: tuple[str, str]
    measured: tuple[int, int, str]
    layers: tuple[tuple[str, ...], tuple[str, ...]]
    cka: tuple[tuple[float | None, ...], ...]
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    units: list[dict[str, Any]]
    agreement: Mapping[str, Any] | None
    disagreements: tuple[Disagreement, ...]
    notes: tuple[str, ...]


def view_comparison(found: Comparison) -> ComparisonView:
    """A comparison as a page shows it."""
    about, figures = found.certificate.parameters, found.figures()
    return ComparisonView(
        names=found.names,
        measured=(about["images"], about["of"], about["split"]),
        layers=(found.layers_a, found.layers_b),
        cka=tuple(tuple(value if value == value else None for value in row) for row in found.cka.tolist()),
        rows=(figures["layers"][0], figures["layers"][1]),
        units=figures["units"],
        agreement=figures["agreement"],
        disagreements=tuple(_disagreements(found)),
        notes=found.certificate.notes,
    )


def as_json(view: ComparisonView) -> dict[str, Any]:
    """A comparison as a JSON-able record, to be kept; `from_json` is the inverse."""
    record = {field.name: getattr(view, field.name) for field in fields(view)}
    record["disagreements"] = [
        {**asdict(one), "still": base64.b64encode(one.still.data).decode()} for one in view.disagreements
    ]
    return record


def from_json(record: Mapping[str, Any]) -> ComparisonView:
    """A comparison out of its record.

    Raises:
        KeyError, TypeError, ValueError: the record is of another form.
    """
    found = {name: _tuples(record[name]) for name in ("names", "measured", "layers", "cka", "notes")}
    rows = (record["rows"][0], record["rows"][1])
    differing = tuple(
        Disagreement(**{**one, "still": Still.read(base64.b64decode(one["still"])), "said": _tuples(one["said"])})
        for one in record["disagreements"]
    )
    return ComparisonView(**{**record, **found, "rows": rows, "disagreements": differing})


def _tuples(value: Any) -> Any:
    """Lists as JSON gives them, as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _disagreements(found: Comparison) -> list[Disagreement]:
    both = found.agreement
    if both is None:
        return []
    images, rows = found.views.pixels.numpy(), both.disagreeing[: len(found.views.pixels)].tolist()

    def name(label: int) -> str:
        return found.classes[label] if 0 <= label < len(found.classes) else ""

    return [
        Disagreement(
            image=int(both.positions[row]),
            still=small_still(image),
            true=name(int(both.labels[row])),
            said=(
                (name(int(both.predicted_a[row])), float(both.probability_a[row])),
                (name(int(both.predicted_b[row])), float(both.probability_b[row])),
            ),
        )
        for image, row in zip(images, rows, strict=True)
    ]
