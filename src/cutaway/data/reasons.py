"""Why a file gives no pixels, in words."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from cutaway.data.cost import MAX_PIXELS, Undecodable

_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself; run `git lfs pull`"),
    (b"%PDF", "a PDF document, not an image"),
    (b"%!PS", "a PostScript drawing, not an image of pixels"),
    (b"PK\x03\x04", "a ZIP archive, not an image"),
    (b"\x1f\x8b", "a gzip archive, not an image"),
    (b"\x93NUMPY", "a NumPy array, not an image"),
    (b"8BPS", "a Photoshop file, which is not supported; save it as PNG"),
    (b"\x1aE\xdf\xa3", "a video, not an image"),
    (b"\xff\xd8\xff", "a damaged JPEG"),
    (b"\x89PNG", "a damaged PNG"),
    (b"GIF8", "a damaged GIF"),
    (b"II*\0", "a damaged TIFF"),
    (b"MM\0*", "a damaged TIFF"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_VIDEO_BRANDS = {b"iso", b"mp4", b"avc", b"qt ", b"M4V", b"3gp", b"3g2", b"das", b"MSN", b"f4v", b"hvc"}
_MARKUP = (
    (b"<svg", "an SVG drawing, not an image of pixels"),
    (b"<html", "an HTML page"),
    (b"<!doctype html", "an HTML page"),
)
# What a folder's listing puts in the place of what cannot be printed, see `folder.printable`.
_SPELLED_OUT = re.compile(r"\\[nrt]|\\x[0-9a-f]{2}|\\u202[89]")
_LONGEST = 100


def missing(path: Path) -> str:
    """Why there is nothing at `path`."""
    if path.is_symlink():
        return "a link that leads to itself" if _circles(path) else "a broken symbolic link"
    # A name with odd bytes is listed with these spelled out, so that it can be printed and kept as JSON.
    if "\\udc" in str(path):
        return "its name is not valid UTF-8; rename it"
    if _SPELLED_OUT.search(str(path)):
        return "its name holds a line break or another control character; rename it"
    return "the file does not exist"


def _circles(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def reason(content: bytes, error: Exception) -> str:
    """What `error`, raised while `content` was decoded, says of it."""
    if isinstance(error, Undecodable):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels: too big, or a decompression bomb"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = re.sub(r"\s+", " ", str(error)).strip()
    # Of a damaged WebP, the plugin says only that it could not create something.
    if isinstance(error, UnidentifiedImageError) or "decoder object" in text:
        return _kind(content)
    if "MAX_TEXT" in text:
        return "a text in the file unpacks to more than 1 MB; save it without its metadata"
    if "truncated" in text.lower() or "unexpected end" in text.lower() or isinstance(error, EOFError):
        return "the image file is truncated"
    return f"the image data is damaged ({text[:_LONGEST] or type(error).__name__})"


def _kind(content: bytes) -> str:
    """What a file is that no image format claims."""
    head = content[:1024]
    for start, words in _OTHER_FILES:
        if head.startswith(start):
            return words
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(content)
    if head[4:8] == b"ftyp":
        return _container(head[8:12])
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    for tag, words in _MARKUP:
        if tag in head.lower():
            return f"{words}, not an image" if "image" not in words else words
    return "a text file, not an image" if _is_text(head) else "not a known image format"


def _container(brand: bytes) -> str:
    if brand in _HEIF_BRANDS:
        return "HEIC, which is not supported; convert it to JPEG or PNG"
    if brand in (b"avif", b"avis"):
        return "damaged AVIF"
    return "a video, not an image" if brand[:3] in _VIDEO_BRANDS else "not a known image format"


def _webp(content: bytes) -> str:
    promised = 8 + int.from_bytes(content[4:8], "little")
    return "the image file is truncated" if len(content) < promised else "a damaged WebP"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut at the end of the head is no sign of binary data
            return False
    return b"\0" not in head
