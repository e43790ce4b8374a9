"""What a page looks at: a run at one epoch, or a model without a run. Both have the same pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError, unknown
from cutaway.pages import EPOCH, Crumb, Slider
from cutaway.plain import whole
from cutaway.runs import Run, readable
from cutaway.runs.sealed import SEAL, header
from cutaway.web.here import MAX_NUMBER, Here
from cutaway.web.site import Named, Site

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.lenses.architecture import Row, Summary
    from cutaway.runs.atlas import Atlas, LayerRecord
    from cutaway.scope import Scope

SCALE_EPOCHS = 5  # whose values a scale for all epochs must hold
MAX_EPOCHS = 30  # positions of a slider; more are spread evenly, and the page says so


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to look at.

    Attributes:
        site: where it is kept.
        parts: of its address: ("runs", "faces-1", "e7") or ("models", "torchvision:resnet18").
        name: of the run or the model.
        spec: what `load_model` takes.
        stamp: changes when its weights do.
        run: None for a model without one.
        epoch: of the run.
        named: the model without a run.
    """

    site: Site
    parts: tuple[str, ...]
    name: str
    spec: str
    stamp: object
    run: Run | None = None
    epoch: int | None = None
    named: Named | None = None

    @classmethod
    def of(cls, here: Here) -> Subject:
        """The subject that a request's address names."""
        path = here.request.path_params
        if "run" in path:
            return cls.of_run(here.site, here.site.run(path["run"]), path.get("epoch"))
        return cls.of_model(here.site, path["model"])

    @classmethod
    def of_name(cls, site: Site, name: str) -> Subject:
        """By what stands in the address of a comparison: `faces-1`, `faces-1@7` or a model's name."""
        run, _, epoch = name.rpartition("@") if "@" in name else (name, "", "")
        number = whole(epoch, 0, MAX_NUMBER)
        if site.has_run(run) and (number is not None or not epoch):
            return cls.of_run(site, site.run(run), number)
        if name in site.models or name.startswith("torchvision:"):
            return cls.of_model(site, name)
        return cls.of_run(site, site.run(name))

    @classmethod
    def of_run(cls, site: Site, run: Run, epoch: int | None = None) -> Subject:
        """A run at a saved epoch; None for the best."""
        number = run.epoch(epoch if epoch is not None else "best")
        stamp = run.weights(number).stat().st_mtime_ns
        return cls(site, ("runs", run.name, f"e{number}"), run.name, f"{run.folder.path}@{number}", stamp, run, number)

    @classmethod
    def of_model(cls, site: Site, name: str) -> Subject:
        """A model by the name in its address. Code from files runs only if it was named at the server's start."""
        named = site.models.get(name)
        if named is None:
            if not name.startswith("torchvision:"):
                raise unknown("model", name, [*site.models, "torchvision:resnet18"], "shown here")
            named = Named(name)
        return cls(site, ("models", name), name, named.spec, named.weights, named=named)

    @property
    def short(self) -> str:
        """As it stands in the address of a comparison; the inverse of `of_name`."""
        return self.name if self.epoch is None else f"{self.name}@{self.epoch}"

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same weights."""
        return (self.spec, self.stamp)

    def scope(self) -> Scope:
        """The microscope over it."""
        return self.site.scope(self.spec, self.named.weights if self.named else None, self.stamp)

    @property
    def closed(self) -> str:
        """Why its network is not opened (code that nobody here trusts, damaged weights); "" where it is."""

        def look() -> str:
            try:
                self.scope()
            except InputError as error:
                return str(error)
            return ""

        found: str = self.site.values.get(("closed", *self.key), look)
        return found

    @property
    def sees(self) -> bool:
        """Whether images can be shown to it: it is open, and says how its input is standardised."""
        return not self.closed and self.scope().preprocessing is not None

    def summary(self) -> Summary:
        """Its layers."""
        found: Summary = self.site.values.get(("summary", *self.key), lambda: self.scope().layers())
        return found

    def rows(self) -> list[Row]:
        """The layers that return maps, in the order of the forward pass; of a closed network those that its atlas has.

        Raises:
            InputError: the network is closed, and nothing was made of it ahead of time.
        """
        if self.closed:
            atlas = self.atlas() if self.run is not None else None
            if atlas is None:
                raise InputError(self.closed)
            return [_row(layer) for layer in atlas.layers.values()]
        return [row for row in self.summary().rows if row.called and row.output_shape and len(row.output_shape) == 4]

    def layer(self, name: str) -> Row:
        """One layer that returns maps."""
        rows = {row.name: row for row in self.rows()}
        if name not in rows:
            raise unknown("layer", name, rows, f"with maps in {self.name}")
        return rows[name]

    def neighbours(self, name: str) -> tuple[str | None, str | None]:
        """The layers with maps before and after one."""
        names = [row.name for row in self.rows()]
        place = names.index(name)
        return (names[place - 1] if place else None, names[place + 1] if place + 1 < len(names) else None)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Of its input: channels, height, width."""
        ready = self.run.info["model"]["preprocessing"] if self.run else None
        if ready is None:
            return self.scope().shape
        channels, height, width = ready["shape"]
        return channels, height, width

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what it tells apart; may be empty."""
        return tuple(self.run.info["model"]["classes"] if self.run else self.scope().classes)

    def dataset(self) -> Dataset | None:
        """Its images: of the run, or those named with the model.

        Raises:
            InputError: the images of a run are not here, or are others now.
        """
        if self.run is not None:
            return self.site.data_of(self.run)
        if self.named and self.named.data:
            return self.site.dataset(self.named.data, self._fitting())
        return None

    @property
    def unseen(self) -> str:
        """Why the images of its data cannot be shown; "" where they can, and where it has none."""

        def look() -> str:
            try:
                self.dataset()
            except InputError as error:
                return str(error)
            return ""

        # A reason holds as long as the folder: it may be put there while the server runs.
        stamp = os.path.exists(self.run.info["data"]["source"]) if self.run else None
        found: str = self.site.values.get(("unseen", *self.key, stamp), look)
        return found

    def splits(self) -> dict[str, str]:
        """The fingerprint of each split of its data, also where the images are not here."""
        if self.run is not None:
            return {name: split.get("fingerprint", "") for name, split in self.run.info["data"]["splits"].items()}
        data = self.dataset()
        return {name: split.fingerprint for name, split in data.splits.items()} if data else {}

    def labels(self) -> tuple[str, ...]:
        """The names of the classes of its data."""
        if self.run is not None:
            return tuple(self.run.info["data"]["classes"])
        data = self.dataset()
        return data.classes if data else ()

    def atlas(self) -> Atlas | None:
        """The pages of its units that were made ahead of time; None if none were."""
        from cutaway.runs.atlas import find_atlas, find_model_atlas

        if self.run is not None and self.epoch is not None:
            return find_atlas(self.run, self.epoch)
        return find_model_atlas(self.weights_hash())

    def _fitting(self) -> dict[str, Any]:
        """A folder's images in the size that the network takes."""
        from cutaway.data.sources import BUILT_IN

        channels, height, width = self.scope().shape or (3, 0, 0)
        fits = self.named is not None and self.named.data not in BUILT_IN and height == width
        return {"size": height, "channels": channels} if fits else {}

    @property
    def scale_epochs(self) -> list[int]:
        """The epochs whose values a scale for all epochs holds: the same at every epoch of a run; no damaged ones."""
        return [epoch for epoch, problem in self._sampled() if not problem]

    @property
    def damaged(self) -> list[str]:
        """Why some of the epochs that a scale would hold are left out."""
        return [problem for _, problem in self._sampled() if problem]

    def _sampled(self) -> Iterator[tuple[int, str]]:
        from cutaway.views.film import spread

        if self.run is None:
            return
        for epoch in spread(self.run.epochs, SCALE_EPOCHS):
            problems: list[str] = []
            readable(partial(self.run.weights, epoch), problems)
            yield epoch, "".join(problems)

    def slider(self, here: Here, *rest: object, **query: object) -> Slider | None:
        """The epochs of a run, for a page at `rest` below it; None for a model or a single epoch."""
        if self.run is None or self.epoch is None:
            return None
        from cutaway.views.film import spread

        saved = self.run.epochs
        shown = spread(saved, MAX_EPOCHS, self.epoch)
        note = "" if len(shown) == len(saved) else here.words("epoch.sampled", shown=len(shown), saved=len(saved))
        if len(shown) < 2:
            return None
        address = here.link("runs", self.run.name, f"e{EPOCH}", *rest, **query)
        return Slider(tuple(shown), self.epoch, address, note)

    def crumbs(self, here: Here, *more: tuple[str, tuple[object, ...]]) -> tuple[Crumb, ...]:
        """The way here: the run or model, its epoch, then `more`, each a text and its address below the subject."""
        first = [Crumb(self.name, here.link(*self.parts[:2]))]
        if self.epoch is not None:
            first.append(Crumb(here.words("epoch.at", epoch=self.epoch), here.link(*self.parts)))
        return (*first, *(Crumb(text, here.link(*self.parts, *rest)) for text, rest in more))

    def weights_hash(self) -> str:
        """The fingerprint of its weights, 16 hexadecimal digits: of a run's file, of any other model's tensors."""
        if self.run is not None and self.epoch is not None:
            seal = header(self.run.folder.weights(self.epoch)).get(SEAL)
            if seal:  # runs of schema 1 have none
                return seal[:16]

        def make() -> str:
            found = self.scope().fingerprint()
            if not found:
                raise InputError(f"{self.name} has no weights to tell apart")
            return found

        found: str = self.site.values.get(("hash", *self.key), make)
        return found


def _row(layer: LayerRecord) -> Row:
    """A layer of an atlas as a row of the summary: what it returns, and nothing of its weights."""
    from cutaway.lenses.architecture import Row

    field = layer.field if layer.exact else (None, None)
    shape = (1, layer.channels, *layer.size)
    return Row(layer.name, layer.kind, None, shape, None, 0, False, 0, 0, field, (None, None))
