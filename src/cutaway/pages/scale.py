"""The strip of colours on a page that tells which value has which colour."""

from __future__ import annotations

from cutaway.pictures.colours import STEPS, Scale, palette
from cutaway.pictures.stills import data_url, png


def scale_png(scale: Scale) -> str:
    """The colours of `scale` from low to high, a pixel each, as a data URL."""
    return data_url(png(palette(scale.kind)[None, :STEPS]))
