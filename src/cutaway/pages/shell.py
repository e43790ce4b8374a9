"""The frame of a page as plain data: where one is, which epoch, which languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EPOCH = "EPOCH"  # stands in a slider's address for the epoch


@dataclass(frozen=True)
class Crumb:
    """One step of the way here; the last one is the page itself."""

    text: str
    address: str = ""


@dataclass(frozen=True)
class Slider:
    """The epochs a page can show.

    Attributes:
        epochs: ascending, all that can be shown.
        epoch: the one that is.
        address: of this page at another epoch, with `EPOCH` in its place.
        note: what was sampled, in words; "" if every epoch is there.
    """

    epochs: tuple[int, ...]
    epoch: int
    address: str
    note: str = ""

    def at(self, epoch: int) -> str:
        """The address of this page at `epoch`."""
        return self.address.replace(EPOCH, str(epoch))


@dataclass(frozen=True)
class Shell:
    """What stands around a page.

    Attributes:
        title: of the window.
        crumbs: the way here.
        slider: the epochs, or None where no epoch rules the page.
        languages: language -> address of this page in it.
        frozen: whether everything has to be inside the page.
    """

    title: str
    crumbs: tuple[Crumb, ...] = ()
    slider: Slider | None = None
    languages: Mapping[str, str] = field(default_factory=dict)
    frozen: bool = False
