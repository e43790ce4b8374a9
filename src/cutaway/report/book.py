"""The pages of a report by address, and how many of them its size allows."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cutaway.report.album import Album

_LINK = re.compile(r' href="#([^"]*)"')
# What a page's text takes once it is packed with the others: text packs to a tenth, and base64 adds a third.
_PACKED = 0.2


@dataclass
class Book:
    """Pages that the script of a report opens by their hash address.

    Attributes:
        album: their pictures.
        pages: by address, what the script shows: title, crumbs (text and address of each step) and HTML.
    """

    album: Album = field(default_factory=Album)
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, address: str, title: str, html: str, above: Mapping[str, str]) -> None:
        """A page at `address`; `above` gives the addresses of the steps that lead to it, by their text."""
        crumbs = [*([text, f"#{place}"] for text, place in above.items()), [title, ""]]
        self.pages[address] = {"title": title, "crumbs": crumbs, "html": self.album.lift(html)}

    @property
    def size(self) -> int:
        """About how many bytes it adds to a report."""
        return self.album.size + round(_PACKED * sum(len(page["html"]) for page in self.pages.values()))

    def packed(self) -> str:
        """All pages as gzip in base64, as a JSON text; a link to a page that is not in the book is no link."""
        if not self.pages:
            return "null"
        pages = {address: {**page, "html": self._linked(page["html"])} for address, page in self.pages.items()}
        content = json.dumps(pages, ensure_ascii=False, separators=(",", ":")).encode()
        return json.dumps(base64.b64encode(gzip.compress(content, 9, mtime=0)).decode())

    def _linked(self, html: str) -> str:
        def link(found: re.Match[str]) -> str:
            return found[0] if found[1].partition("?")[0] in {"", *self.pages} else ""

        return _LINK.sub(link, html)
