"""How faces are to be cut out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cutaway.errors import InputError


@dataclass(frozen=True)
class Settings:
    """How faces are to be cut out of photographs.

    Attributes:
        size: side of a crop in pixels.
        margin: what a crop shows around the tight frame of the face, as a share of its side, on each side.
        every: keep all faces of a photograph, not the largest alone.
        min_face: the smallest side, in pixels of the photograph, that a face's tight frame may have.
        min_sharpness: the least variance of the Laplacian that a crop may have, brought to 112x112 pixels.
    """

    size: int = 224
    margin: float = 0.2
    every: bool = False
    min_face: int = 48
    min_sharpness: float = 20.0

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 2048:
            raise InputError(f"the size of a crop is 16 to 2048 pixels; found {self.size}")
        if not 0 <= self.margin <= 2:
            raise InputError(f"the margin is a share from 0 to 2; found {self.margin:g}")
        if self.min_face < 1 or self.min_sharpness < 0:
            found = f"{self.min_face} pixels and sharpness {self.min_sharpness:g}"
            raise InputError(f"the smallest face is 1 pixel or more, the least sharpness 0 or more; found {found}")

    def as_dict(self) -> dict[str, Any]:
        """All of them, by name."""
        return asdict(self)
