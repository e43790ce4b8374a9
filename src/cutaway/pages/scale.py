"""The strip of colours on a page that tells which value has which colour."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from cutaway.pictures.colours import STEPS, Scale, palette


def scale_png(scale: Scale) -> str:
    """The colours of `scale` from low to high, a pixel each, as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(palette(scale.kind)[None, :STEPS])).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
