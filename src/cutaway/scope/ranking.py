"""Which explanation of these images is faithful: every method by every measure, beside maps that know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.errors import InputError, unknown
from cutaway.lenses import faithfulness
from cutaway.lenses.attribution import METHODS, Attribution
from cutaway.lenses.attribution import explain as attribute
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.targets import Target, Targets, parse_target
from cutaway.lenses.weights import logits
from cutaway.pictures import Picture
from cutaway.pictures.explanation import Tile, explanation_sheet
from cutaway.progress import Progress
from cutaway.scope.explanation import kept_after_randomisation
from cutaway.scope.inputs import Images, Inputs
from cutaway.scope.result import Result, unique
from cutaway.scope.subject import Subject
from cutaway.showing import Table

# Each measure, and whether a larger number is better.
MEASURES = {"deletion": False, "insertion": True, "road": True, "sensitivity": True, "randomisation": False}
RULE = "the mean of the places by " + ", ".join(MEASURES)


@dataclass(frozen=True, eq=False)
class Ranked:
    """One method, or one control, on these images.

    Attributes:
        method: its name.
        numbers: by measure, the mean over the images; small is better for `deletion` and `randomisation`.
        place: mean of its places by the measures, from 1; 0 where it could not be applied.
        seconds: that the explanation took.
        heat: float32 (N, H, W), signed, as it was measured; None where it could not be applied.
        shown: float32 (N, H, W), as pictures show it.
        control: whether it is a map that knows nothing of the network.
        reason: why it could not be applied.
    """

    method: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    place: float = 0.0
    seconds: float = 0.0
    heat: Tensor | None = None
    shown: Tensor | None = None
    control: bool = False
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A line of the table: JSON-able."""
        numbers = {name: self.numbers.get(name) for name in MEASURES}
        place, seconds = (self.place, self.seconds) if self.numbers else (None, None)
        return {"method": self.method, "place": place, **numbers, "seconds": seconds, "note": self.note}

    @property
    def note(self) -> str:
        """What must be said of it."""
        return "control: knows nothing of the network" if self.control else self.reason


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Result):
    """Methods by their faithfulness on these images.

    Attributes:
        pixels: uint8 (N, C, H, W), the images.
        names: what each image is called.
        target: whose score was explained.
        rows: best first; methods that could not be applied last, with the reason.
        certificate: how it was made.
    """

    pixels: Tensor
    names: tuple[str, ...]
    target: Target
    rows: tuple[Ranked, ...]
    certificate: Certificate

    @property
    def best(self) -> str:
        """The method in the first place."""
        return next(row.method for row in self.rows if row.heat is not None and not row.control)

    def table(self) -> list[dict[str, Any]]:
        """A line a method: its place (the mean over the measures), its numbers, seconds and note."""
        return [row.as_dict() for row in self.rows]

    def numbers(self) -> Sequence[Table]:
        """The ranking as a table."""
        return (Table.of(self.table()),)

    def pictures(self) -> dict[str, Picture]:
        """A sheet an image: all maps, best first, each with its numbers."""
        several = len(self.names) > 1
        return {
            f"methods {name}" if several else "methods": self._sheet(index)
            for index, name in enumerate(unique(self.names))
        }

    def _sheet(self, index: int) -> Picture:
        tiles = [
            Tile(f"{row.method} (control)" if row.control else row.method, row.shown[index].numpy(), _lines(row))
            for row in self.rows
            if row.shown is not None
        ]
        title = f"{self.target.name(index)}  ·  methods by faithfulness, best first: {RULE}"
        return explanation_sheet(self.pixels[index].numpy(), tiles, title=title, name=self.names[index])

    def arrays(self) -> dict[str, Tensor]:
        """Each method's signed heat, float32 (N, H, W)."""
        return {row.method: row.heat for row in self.rows if row.heat is not None}


def _lines(row: Ranked) -> tuple[str, ...]:
    short = {name: f"{value:.2f}" for name, value in row.numbers.items()}
    return (
        f"place {row.place:.1f}, {row.seconds:.2g} s",
        f"deletion {short['deletion']}  insertion {short['insertion']}",
        f"road {short['road']}  sensitivity {short['sensitivity']}",
        f"randomisation {short['randomisation']}",
    )


def rank(
    subject: Subject,
    images: Images,
    methods: Sequence[str] | None = None,
    target: Targets | None = None,
    layer: str | None = None,
    *,
    seed: int = 0,
    batch: int = 32,
    steps: int = 32,
    progress: Progress | None = None,
) -> Ranking:
    """Explain the images by every method and measure how faithful each map is.

    The measures are those of `cutaway.lenses.faithfulness`: deletion and insertion (area under the probability),
    ROAD (what the coldest pixels leave minus what the hottest leave), sensitivity-n (mean correlation), and model
    randomisation (magnitude of Spearman's correlation with the map of a scrambled copy, for the first image). The
    place of a method is the mean of its places by these five. Four maps that know nothing of the network are ranked
    with them: random pixels, random blobs, the image's edges and its centre.

    Args:
        subject: the model.
        images: files, `test:0`, pixels or tensors; see `read_inputs`.
        methods: names from `METHODS`; None for all of them.
        target: as for `explain`.
        layer: for the methods that read one; None for the last one with maps.
        seed: of all random choices.
        batch: at most so many images go through the network at once.
        steps: of deletion and insertion.
        progress: called as (label, done, total).
    """
    wanted = list(METHODS) if methods is None else list(dict.fromkeys(methods))
    for name in wanted:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    given = subject.inputs(images)
    aim = _target(subject, given.values, target)
    measuring = _Measuring(subject, given, aim, layer, seed, batch, steps, progress)
    rows = measuring.rows(wanted)
    parameters = {
        "images": list(given.names),
        "target": list(aim.names),
        "layer": layer or "each method's own choice",
        "methods": wanted,
        "steps": steps,
        "rule": RULE,
    }
    check = {"best": rows[0].method, "controls": {row.method: row.place for row in rows if row.control}}
    certificate = Certificate("ranking of methods", parameters, seed, check, measuring.notes())
    return Ranking(given.pixels, given.names, aim, tuple(rows), subject.certify(certificate))


def _target(subject: Subject, images: Tensor, target: Targets | None) -> Target:
    if target is None:
        return parse_target(logits(subject.network, images).argmax(1), subject.classes)
    return parse_target(target, subject.classes)


class _Measuring:
    """The measures of any map of the same images."""

    def __init__(
        self,
        subject: Subject,
        given: Inputs,
        target: Target,
        layer: str | None,
        seed: int,
        batch: int,
        steps: int,
        progress: Progress | None,
    ) -> None:
        self.progress = progress
        self.weights = subject.fingerprint()
        self.subject, self.images, self.target, self.layer = subject, given.values, target, layer
        self.seed, self.batch, self.steps = seed, batch, steps
        # The drops of random sets serve every map.
        self.removals = faithfulness.removals(
            subject.network, given.values, target, seed=seed, batch=batch, progress=progress
        )
        self.found_notes: dict[str, None] = dict.fromkeys(self.removals.notes)

    def rows(self, methods: Sequence[str]) -> list[Ranked]:
        """All methods and controls, best first."""
        controls = control_maps(self.images, self.seed)
        total = len(methods) + len(controls)
        rows: list[Ranked] = []
        for name in methods:
            rows.append(self._method(name, _within(self.progress, f"{name}, {len(rows) + 1} of {total}")))
        for name, heat in controls.items():
            numbers = self._numbers(heat, _within(self.progress, f"{name}, {len(rows) + 1} of {total}"))
            numbers["randomisation"] = 1.0  # without weights, nothing changes with them
            rows.append(Ranked(name, numbers, 0.0, 0.0, heat, heat, control=True))
        return placed(rows)

    def notes(self) -> tuple[str, ...]:
        """Sentences for the certificate."""
        return tuple(self.found_notes)

    def _method(self, name: str, progress: Progress | None) -> Ranked:
        start = perf_counter()
        try:
            found = self._explained(name, progress)
        except InputError as error:
            return Ranked(name, reason=str(error))
        seconds = perf_counter() - start
        kept, notes = kept_after_randomisation(
            self.subject, self.weights, self.images, found, self.seed, self.batch, {}
        )
        if kept is None:
            return Ranked(name, reason=notes[0])
        heat = found.heat(signed=True)
        numbers = {**self._numbers(heat, progress), "randomisation": abs(kept)}
        return Ranked(name, numbers, 0.0, seconds, heat, found.heat())

    def _explained(self, name: str, progress: Progress | None) -> Attribution:
        layer = self.layer if METHODS[name].needs_layer else None
        return attribute(
            self.subject.network,
            self.images,
            name,
            self.target,
            layer,
            classes=self.subject.classes,
            seed=self.seed,
            batch=self.batch,
            progress=progress,
        )

    def _numbers(self, heat: Tensor, progress: Progress | None) -> dict[str, float]:
        given = (self.subject.network, self.images, heat, self.target)
        gone = faithfulness.deletion(*given, steps=self.steps, batch=self.batch, progress=progress)
        come = faithfulness.insertion(*given, steps=self.steps, batch=self.batch, progress=progress)
        both = faithfulness.road(*given, seed=self.seed, batch=self.batch, progress=progress)
        self.found_notes |= dict.fromkeys((*gone.notes, *come.notes, *both.notes))
        return {
            "deletion": float(gone.area.mean()),
            "insertion": float(come.area.mean()),
            "road": float(both.score.mean()),
            "sensitivity": float(faithfulness.sensitivity(self.removals, heat).score.mean()),
        }


def _within(progress: Progress | None, where: str) -> Progress | None:
    """`progress` that also says which method it is about."""
    if progress is None:
        return None
    return lambda label, done, total: progress(where if label in where else f"{where}: {label}", done, total)


def placed(rows: Sequence[Ranked]) -> list[Ranked]:
    """The rows in the order of their mean places, equal ones by name; those without numbers last."""
    measured = [row for row in rows if row.numbers]
    # Rounded, so that methods which are one method on this network share their place.
    columns = {name: [round(row.numbers[name], 4) for row in measured] for name in MEASURES}
    places = [_places(columns[name], larger) for name, larger in MEASURES.items()]
    found = [
        replace(row, place=sum(column[index] for column in places) / len(places)) for index, row in enumerate(measured)
    ]
    return [*sorted(found, key=lambda row: (row.place, row.method)), *(row for row in rows if not row.numbers)]


def _places(values: Sequence[float], larger: bool) -> list[float]:
    """Each value's place from 1, the best first; equal values share the mean of their places.

    >>> _places([0.5, 0.9, 0.5], larger=True)
    [2.5, 1.0, 2.5]
    """
    signed = [-value if larger else value for value in values]
    return [sum(one < value for one in signed) + (sum(one == value for one in signed) + 1) / 2 for value in signed]


def control_maps(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Maps (N, H, W) that know nothing of the network: random ones, the image's edges, and its centre."""
    count, _, height, width = images.shape
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.rand((1, height, width), generator=draws)
    blobs = F.interpolate(torch.rand((1, 1, 7, 7), generator=draws), (height, width), mode="bilinear")[0]
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    centre = torch.exp(-2 * (rows**2 + columns**2))[None]
    same = {"random pixels": pixels, "random blobs": blobs, "centre": centre}
    return {"edges": _edges(images), **{name: heat.expand(count, -1, -1).clone() for name, heat in same.items()}}


def _edges(images: Tensor) -> Tensor:
    """The length of the gradient over the image's plane, the colours added up."""
    padded = F.pad(images.detach().float().cpu(), (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (across**2 + down**2).sum(1).sqrt()
