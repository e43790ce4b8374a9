"""Words on pictures: Pillow's own font, and one with Chinese signs if the system has it."""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Stands on a picture whose names this system cannot write.
NO_FONT = "? stands for signs that no font here has; install Noto Sans CJK (Debian: fonts-noto-cjk)"
_NAMES = (
    *("NotoSansCJK-Regular", "NotoSansCJKsc-Regular", "NotoSansSC", "SourceHanSans", "wqy-microhei", "wqy-zenhei"),
    *("PingFang", "Hiragino Sans GB", "msyh", "simhei", "simsun", "DroidSansFallback", "Arial Unicode", "NotoSerifCJK"),
)


@lru_cache(maxsize=32)
def font(size: int, wide: bool = False) -> Font:
    """The font for labels, at `size` pixels; `wide` asks for one with Chinese characters."""
    path = wide_font() if wide else None
    return ImageFont.truetype(str(path), size, index=collection_face(path)) if path else ImageFont.load_default(size)


def font_for(text: str, size: int = 10) -> Font | None:
    """A font that can draw `text`, or None.

    >>> font_for("conv1", 11) is not None
    True
    """
    if all(map(_is_narrow, text)):
        return font(size)
    return font(size, wide=True) if wide_font() else None


def writable(text: str) -> str:
    """`text` with `?` for each sign that no font here has."""
    return text if font_for(text) else "".join(letter if _is_narrow(letter) else "?" for letter in text)


@cache
def _is_narrow(letter: str) -> bool:
    """Whether Pillow's font has `letter`: it draws the same box for all that it has not."""
    if letter.isascii():
        return True
    own = ImageFont.load_default(12)
    return bytes(own.getmask(letter)) != bytes(own.getmask("\uffff"))


def text_width(text: str, size: int) -> int:
    """How many pixels `text` takes."""
    text = writable(plain(text))
    drawn_with = font_for(text, size)
    return int(drawn_with.getlength(text) + 0.999) if drawn_with else 0


def shortened(text: str, size: int, width: int) -> str:
    """`text`, its beginning cut off until it fits `width` pixels (the end of a layer's name tells the most)."""
    if text_width(text, size) <= width:
        return text
    cut = next((text[start:] for start in range(1, len(text)) if text_width("…" + text[start:], size) <= width), "")
    return f"…{cut}"


@cache
def wide_font() -> Path | None:
    """A font file with Chinese characters on this system, or None."""
    for name in _NAMES:
        for folder in _folders():
            found = next((path for path in sorted(folder.rglob(f"{name}*")) if path.suffix in _SUFFIXES), None)
            if found:
                return found
    return None


@cache
def collection_face(path: Path) -> int:
    """Which font of a collection has the Chinese forms of signs that Japanese writes differently; else the first."""
    faces = range(5 if path.suffix == ".ttc" else 1)
    for face in faces:
        try:
            family = ImageFont.truetype(str(path), 12, index=face).getname()[0] or ""
        except OSError:
            break
        if family.endswith(("SC", "CN", "GB")):
            return face
    return 0


def plain(text: str) -> str:
    """`text` without the two signs that Pillow's font does not have: the true minus and the multiplication cross."""
    return text.replace("−", "-").replace("×", "x")


_SUFFIXES = {".ttf", ".ttc", ".otf"}


@cache
def _folders() -> tuple[Path, ...]:
    home = Path.home()
    if sys.platform == "darwin":
        places = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif os.name == "nt":
        places = [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    else:
        places = [
            Path("/usr/share/fonts"),
            Path("/usr/local/share/fonts"),
            home / ".local/share/fonts",
            home / ".fonts",
        ]
    return tuple(place for place in places if place.is_dir())
