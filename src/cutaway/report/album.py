"""The pictures of a report, each kept once: pages refer to them by number."""

from __future__ import annotations

import base64
import io
import json
import re

from PIL import Image

_PICTURE = re.compile(r'\b(src|href)="data:image/(png|jpeg|webp);base64,([^"]+)"')
_QUALITY = 84
_WORTH = 0.8  # a photograph is compressed again where that leaves so much of it or less


class Album:
    """Pictures as `png;base64,...`, in the order in which pages first show them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._pictures: list[str] = []
        self.size = 0

    def lift(self, html: str) -> str:
        """`html` with its pictures taken out: `data-src="7"` where picture 7 was inside.

        >>> Album().lift('<img src="data:image/jpeg;base64,/9j/" alt="">')
        '<img data-src="0" alt="">'
        """
        return _PICTURE.sub(lambda found: f'data-{found[1]}="{self._number(found[2], found[3])}"', html)

    def as_json(self) -> str:
        """All pictures as a JSON list."""
        return json.dumps(self._pictures, separators=(",", ":"))

    def _number(self, media: str, data: str) -> int:
        if data not in self._numbers:
            self._numbers[data] = len(self._pictures)
            picture = _smaller(media, data)
            self._pictures.append(picture)
            self.size += len(picture) + 3
        return self._numbers[data]


def _smaller(media: str, data: str) -> str:
    """A colour photograph compressed with slight loss; anything else, as a map on its scale, as it is."""
    content = base64.b64decode(data) if media == "png" else b""
    if content:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ("RGB", "RGBA"):
                buffer = io.BytesIO()
                image.save(buffer, "WEBP", quality=_QUALITY, method=4)
                if buffer.tell() <= _WORTH * len(content):
                    return f"webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"{media};base64,{data}"
