"""Odd image files, made on the fly: good ones with pixels to check by hand, and bad ones with their reasons."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def packed(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def solid(mode: str, colour: Any, size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new(mode, size, colour)


def noise(height: int = 24, width: int = 24, channels: int = 3, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    return packed(image, "PNG", **({"transparency": 1} if transparent else {}))


def deep_png(values: list[int]) -> bytes:
    return packed(Image.fromarray(np.array([values], dtype=np.uint16)), "PNG")


def deep_pgm(values: list[int]) -> bytes:
    return f"P5 {len(values)} 1 65535\n".encode() + struct.pack(f">{len(values)}H", *values)


def tiff(values: list[float], dtype: type) -> bytes:
    return packed(Image.fromarray(np.array([values], dtype=dtype)), "TIFF")


def rotated(orientation: int) -> bytes:
    """Red beside blue, said to be seen after turning it."""
    image = Image.new("RGB", (2, 1))
    image.putdata([RED, BLUE])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return packed(image, "PNG", exif=exif)


def animated(kind: str, **options: Any) -> bytes:
    return packed(solid("RGB", RED), kind, save_all=True, append_images=[solid("RGB", BLUE)], **options)


def keyed(mode: str, colour: Any) -> bytes:
    """One colour made transparent by the file, not by an alpha channel."""
    return packed(solid(mode, colour), "PNG", transparency=colour)


GOOD: dict[str, tuple[Callable[[], bytes], list[Any]]] = {
    # name: the file, and the first pixels as (r, g, b)
    "grey.png": (lambda: packed(solid("L", 77), "PNG"), [(77, 77, 77)]),
    "one-bit.png": (lambda: packed(solid("1", 1), "PNG"), [WHITE]),
    "palette.png": (lambda: palette(False), [RED, BLUE]),
    "palette-transparent.png": (lambda: palette(True), [RED, WHITE]),
    "palette.gif": (lambda: packed(solid("P", 0), "GIF"), [BLACK]),
    "clear.png": (lambda: packed(solid("RGBA", (9, 9, 9, 0)), "PNG"), [WHITE]),
    "half-clear.png": (lambda: packed(solid("RGBA", (255, 0, 0, 51)), "PNG"), [(255, 204, 204)]),
    "grey-alpha.png": (lambda: packed(solid("LA", (0, 51)), "PNG"), [(204, 204, 204)]),
    "keyed-colour.png": (lambda: keyed("RGB", GREEN), [WHITE]),
    "keyed-grey.png": (lambda: keyed("L", 9), [WHITE]),
    "alpha.webp": (lambda: packed(solid("RGBA", (0, 0, 255, 255)), "WEBP", lossless=True), [BLUE]),
    "deep.png": (lambda: deep_png([0, 128, 129, 257 * 100, 65535]), [BLACK, BLACK, (1, 1, 1), (100,) * 3, WHITE]),
    "deep.pgm": (lambda: deep_pgm([0, 257 * 7, 65535]), [BLACK, (7, 7, 7), WHITE]),
    "int32.tif": (lambda: tiff([-5, 257 * 30, 70000], np.int32), [BLACK, (30, 30, 30), WHITE]),
    "uint16.tif": (lambda: tiff([0, 257 * 200], np.uint16), [BLACK, (200, 200, 200)]),
    "unit-float.tif": (lambda: tiff([-1.0, 0.2, 1.0], np.float32), [BLACK, (51, 51, 51), WHITE]),
    "byte-float.tif": (lambda: tiff([0.0, 99.6, 255.0], np.float32), [BLACK, (100, 100, 100), WHITE]),
    "deep-float.tif": (lambda: tiff([257.0 * 3, 65535.0], np.float32), [(3, 3, 3), WHITE]),
    "cmyk.tif": (lambda: packed(solid("CMYK", (0, 255, 255, 0)), "TIFF"), [RED]),
    "cmyk.jpg": (lambda: packed(solid("CMYK", (0, 0, 0, 255)), "JPEG", quality=100), [BLACK]),
    "ycbcr.tif": (lambda: packed(solid("YCbCr", (255, 128, 128)), "TIFF"), [WHITE]),
    "animated.gif": (lambda: animated("GIF"), [RED]),
    "animated.webp": (lambda: animated("WEBP", lossless=True), [RED]),
    "animated.png": (lambda: animated("PNG"), [RED]),
    "pages.tif": (lambda: animated("TIFF"), [RED]),
    "plain.bmp": (lambda: packed(solid("RGB", GREEN), "BMP"), [GREEN]),
    "plain.ppm": (lambda: packed(solid("RGB", GREEN), "PPM"), [GREEN]),
    "plain.qoi": (
        lambda: b"qoif" + struct.pack(">IIBB", 1, 1, 3, 0) + b"\xfe\x00\xff\x00" + b"\0" * 7 + b"\1",
        [GREEN],
    ),
    "plain.ico": (lambda: packed(solid("RGBA", (*BLUE, 255), (16, 16)), "ICO", sizes=[(16, 16)]), [BLUE]),
    "plain.jp2": (lambda: packed(solid("RGB", GREEN, (32, 32)), "JPEG2000"), [GREEN]),
    "png-called.jpg": (lambda: packed(solid("RGB", BLUE), "PNG"), [BLUE]),
    "no-extension": (lambda: packed(solid("RGB", BLUE), "PNG"), [BLUE]),
    "SHOUTING.PNG": (lambda: packed(solid("RGB", BLUE), "PNG"), [BLUE]),
    "turned-2.png": (lambda: rotated(2), [BLUE, RED]),
    "turned-3.png": (lambda: rotated(3), [BLUE, RED]),
    "turned-6.png": (lambda: rotated(6), [RED]),
    "turned-8.png": (lambda: rotated(8), [BLUE]),
    "one-pixel.png": (lambda: packed(solid("RGB", RED, (1, 1)), "PNG"), [RED]),
    "a-line.png": (lambda: packed(solid("RGB", RED, (300, 1)), "PNG"), [RED]),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is this big and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def damaged_png() -> bytes:
    content = bytearray(packed(noise(), "PNG"))
    middle = content.index(b"IDAT") + 200
    content[middle : middle + 50] = bytes(50)
    return bytes(content)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return buffer.getvalue()


def media(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0" + brand + b"mif1" + bytes(range(200))


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    # name: the file, and words of the reason
    "empty.jpg": (lambda: b"", "empty"),
    "truncated.jpg": (lambda: half(packed(noise(), "JPEG")), "truncated"),
    "last-bytes-missing.jpg": (lambda: packed(noise(), "JPEG")[:-40], "truncated"),
    "header-only.jpg": (lambda: packed(noise(), "JPEG")[:30], "truncated|damaged|not a known"),
    "truncated.png": (lambda: half(packed(noise(), "PNG")), "truncated"),
    "truncated.gif": (lambda: half(packed(noise(), "GIF")), "damaged GIF"),
    "truncated.bmp": (lambda: half(packed(noise(), "BMP")), "truncated"),
    "truncated.tif": (lambda: half(packed(noise(), "TIFF")), "truncated|damaged|not a known"),
    "truncated.webp": (lambda: half(packed(noise(), "WEBP")), "truncated|damaged"),
    "truncated.jp2": (lambda: half(packed(noise(64, 64), "JPEG2000")), "truncated|damaged"),
    "damaged.png": (damaged_png, "damaged"),
    "bomb.png": (lambda: png_of(30_000, 30_000), "more than 178,956,970 pixels"),
    "no-pixels.png": (lambda: png_of(0, 5), "a damaged PNG"),
    "too-little-data.png": (lambda: png_of(50, 50), "truncated|damaged"),
    "text.jpg": (lambda: "nicht gefunden: äöü".encode(), "a text file"),
    "chinese-text.jpg": (lambda: ("没有图片" * 200).encode(), "a text file"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "drawing.png": (lambda: b'<?xml version="1.0"?><svg width="5"></svg>', "SVG"),
    "paper.jpg": (lambda: b"%PDF-1.7 ...", "PDF"),
    "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    "photo.heic": (lambda: media(b"heic"), "HEIC"),
    "film.jpg": (lambda: media(b"isom"), "a video"),
    "broken.avif": (lambda: media(b"avif"), "AVIF"),
    "archive.jpg": (zipped, "ZIP"),
    "packed.jpg": (lambda: gzip.compress(b"hello"), "gzip"),
    "array.png": (lambda: b"\x93NUMPY\x01\x00...", "NumPy"),
    "layers.jpg": (lambda: b"8BPS\x00\x01" + bytes(20), "Photoshop"),
    "pointer.jpg": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "zeros.jpg": (lambda: bytes(5000), "zero bytes"),
    "random.jpg": (lambda: np.random.default_rng(1).bytes(5000), "not a known image format"),
    "not-finite.tif": (lambda: tiff([1.0, float("nan")], np.float32), "not finite"),
}
