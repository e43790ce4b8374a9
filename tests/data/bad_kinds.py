"""More than 200 kinds of bad files, made by code: formats times damages, lies and bombs, and what is no file at all.

`KINDS` maps the name of each to what puts it at a path. A bad file is one that cannot become pixels, is not worth the
memory that it would take, or at least looks so: some that are merely odd decode, which `MAY_DECODE` says.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from bad_places import PLACES, Put, written
from odd_files import BAD, chunk, noise, packed, png_of
from PIL import Image

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # ending: format, mode, options
    "jpg": ("JPEG", "RGB", {}),
    "progressive.jpg": ("JPEG", "RGB", {"progressive": True}),
    "cmyk.jpg": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "palette.png": ("PNG", "P", {}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "tif": ("TIFF", "RGB", {}),
    "lzw.tif": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "jpeg.tif": ("TIFF", "RGB", {"compression": "jpeg"}),
    "webp": ("WEBP", "RGB", {}),
    "lossless.webp": ("WEBP", "RGBA", {"lossless": True}),
    "avif": ("AVIF", "RGB", {"speed": 10}),
    "jp2": ("JPEG2000", "RGB", {}),
    "ico": ("ICO", "RGBA", {"sizes": [(64, 64)]}),
    "ppm": ("PPM", "RGB", {}),
    "pcx": ("PCX", "RGB", {}),
    "sgi": ("SGI", "RGB", {}),
    "qoi": ("QOI", "RGB", {}),
}


@cache
def sound(ending: str) -> bytes:
    """An image of 64x64 that is as it should be."""
    kind, mode, options = FORMATS[ending]
    return packed(noise(64, 64).convert(mode), kind, **options)


def zeroed(content: bytes) -> bytes:
    return content[:20] + bytes(len(content) - 20)


def flipped(content: bytes) -> bytes:
    """One byte of every seven inverted, all over it."""
    values = np.frombuffer(content, np.uint8).copy()
    values[11::7] ^= 0xFF
    return values.tobytes()


def speckled(content: bytes) -> bytes:
    """One bit in two hundred bytes flipped, behind the header."""
    values = np.frombuffer(content, np.uint8).copy()
    places = np.random.default_rng(0).integers(min(200, len(values) // 2), len(values), len(values) // 200 + 1)
    values[places] ^= 1 << np.random.default_rng(1).integers(0, 8, len(places)).astype(np.uint8)
    return values.tobytes()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header-only": lambda content: content[:16],
    "eighth": lambda content: content[: len(content) // 8],
    "half": lambda content: content[: len(content) // 2],
    "most": lambda content: content[: len(content) * 9 // 10],
    "zeroed": zeroed,
    "flipped": flipped,
    "speckled": speckled,
    "behind-text": lambda content: b"HTTP/1.1 200 OK\r\n\r\n" + content,
    "no-magic": lambda content: b"\xfe\xfe\xfe\xfe" + content[4:],
}
MAY_DECODE = {"speckled", "flipped", "zeroed", "most", "odd"}
"""Damages after which some decoders still give all pixels."""


def png(
    header: tuple[int, int, int, int, int], pixels: bytes, *chunks: tuple[bytes, bytes], after: bytes = b""
) -> bytes:
    """A PNG: (width, height, bits, colour type, interlaced), what IDAT unpacks to, and chunks before it."""
    width, height, bits, colour, interlaced = header
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    middle = b"".join(chunk(kind, content) for kind, content in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", zlib.compress(pixels, 9)) + after + chunk(b"IEND", b"")


def squeezed(count: int, start: bytes = b"") -> bytes:
    """What unpacks to `start` and then so many zeros, packed without holding them."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(start)]
    block = bytes(2**20)
    parts += [packer.compress(block) for _ in range(count // len(block))]
    return b"".join([*parts, packer.compress(bytes(count % len(block))), packer.flush()])


def png_bomb(width: int, height: int, bits: int, colour: int, interlaced: int = 0) -> bytes:
    """A PNG of nothing but zeros, whole and valid."""
    deep = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    data = chunk(b"IDAT", squeezed(height * (1 + (width * deep + 7) // 8)))
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


ROW = b"\0" + b"\1\2\3" * 4  # a row of four colours
PNGS: dict[str, Callable[[], bytes]] = {
    "bomb-30000.png": lambda: png_of(30_000, 30_000),
    "bomb-2-billion.png": lambda: png_of(2**31 - 1, 2**31 - 1),
    "bomb-wide.png": lambda: png_of(178_956_971, 1),
    "bomb-1bit-20000.png": lambda: png_bomb(20_000, 20_000, 1, 0),
    "bomb-interlaced-20000.png": lambda: png_bomb(20_000, 20_000, 1, 0, 1),
    "odd-1bit-13000.png": lambda: png_bomb(13_000, 13_000, 1, 0),
    "odd-interlaced-12000.png": lambda: png_bomb(12_000, 12_000, 1, 0, 1),
    "odd-rgba-9000.png": lambda: png_bomb(9_000, 9_000, 8, 6),
    "odd-16bit-9000.png": lambda: png_bomb(9_000, 9_000, 16, 0),
    "bomb-text.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, (b"zTXt", b"a\0\0" + squeezed(20_000_000))),
    "bomb-itxt.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, (b"iTXt", b"a\0\1\0\0\0" + squeezed(20_000_000))),
    "odd-profile.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, (b"iCCP", b"a\0\0" + squeezed(20_000_000))),
    "bomb-texts.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, *[(b"zTXt", b"a\0\0" + squeezed(900_000))] * 100),
    "odd-too-much-data.png": lambda: png((4, 4, 8, 2, 0), ROW * 4000),
    "odd-text-of-8-mb.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, (b"tEXt", b"a\0" + b"x" * 8_000_000)),
    "odd-late-text.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, after=chunk(b"zTXt", b"a\0\0" + squeezed(20_000_000))),
    "odd-many-chunks.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, *[(b"prVt", b"")] * 100_000),
    "odd-many-idats.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, *[(b"IDAT", b"")] * 100_000),
    "bits-3.png": lambda: png((4, 4, 3, 2, 0), ROW * 4),
    "colour-9.png": lambda: png((4, 4, 8, 9, 0), ROW * 4),
    "odd-interlaced-2.png": lambda: png((4, 4, 8, 2, 2), ROW * 4),
    "odd-no-palette.png": lambda: png((4, 4, 8, 3, 0), bytes(20)),
    "filter-9.png": lambda: png((4, 4, 8, 2, 0), b"\x09" + ROW[1:] + ROW * 3),
    "no-data.png": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)),
    "wrong-crc.png": lambda: sound("png")[:29] + b"\0\0\0\0" + sound("png")[33:],
    "odd-wrong-data-crc.png": lambda: sound("png")[:-16] + b"\0\0\0\0" + sound("png")[-12:],
    "odd-length-of-4-gb.png": lambda: sound("png")[:33] + b"\xff\xff\xff\xff" + sound("png")[37:],
    "odd-frames-of-4-billion.png": lambda: png((4, 4, 8, 2, 0), ROW * 4, (b"acTL", b"\xff" * 8)),
}


def jpeg_with(place: int, *values: int) -> bytes:
    """A JPEG whose frame header has other bytes from `place` on."""
    content = bytearray(sound("jpg"))
    start = content.index(b"\xff\xc0") + place
    content[start : start + len(values)] = bytes(values)
    return bytes(content)


def without(content: bytes, marker: int) -> bytes:
    """A JPEG without its segments of a kind."""
    return re.sub(b"\xff" + bytes([marker]) + rb"(?s:(..))", lambda found: b"\xff\xfe" + found[1], content, count=8)


def scans(count: int, size: int) -> bytes:
    """A progressive JPEG that goes over all its pixels again and again."""
    content = packed(Image.new("RGB", (size, size)), "JPEG", progressive=True)
    start = content.index(b"\xff\xda")
    scan = content[start : start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")]
    return content[:-2] + scan * count + content[-2:]


JPEGS: dict[str, Callable[[], bytes]] = {
    "bomb-65500.jpg": lambda: jpeg_with(5, 0xFF, 0xDC, 0xFF, 0xDC),
    "odd-huge-12000.jpg": lambda: jpeg_with(5, 0x2E, 0xE0, 0x2E, 0xE0),
    "no-width.jpg": lambda: jpeg_with(7, 0, 0),
    "no-height.jpg": lambda: jpeg_with(5, 0, 0),
    "12-bit.jpg": lambda: jpeg_with(4, 12),
    "9-channels.jpg": lambda: jpeg_with(9, 9),
    "sampled-0.jpg": lambda: jpeg_with(11, 0),
    "sampled-15.jpg": lambda: jpeg_with(11, 0xFF),
    "lossless.jpg": lambda: jpeg_with(1, 0xC3),
    "odd-arithmetic.jpg": lambda: jpeg_with(1, 0xC9),
    "differential.jpg": lambda: jpeg_with(1, 0xC5),
    "odd-no-tables.jpg": lambda: without(sound("jpg"), 0xC4),
    "no-quantization.jpg": lambda: without(sound("jpg"), 0xDB),
    "only-start.jpg": lambda: b"\xff\xd8\xff\xd9",
    "markers.jpg": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 200_000,
    "fill-bytes.jpg": lambda: b"\xff\xd8" + b"\xff" * 500_000,
    "bomb-scans.jpg": lambda: scans(20_000, 1024),
    "bomb-scans-big.jpg": lambda: scans(300, 4096),
    "odd-exif.jpg": lambda: packed(noise(), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 60_000),
    "odd-huge-progressive.jpg": lambda: packed(Image.new("L", (9000, 7000)), "JPEG", progressive=True),
    "odd-huge-progressive-colours.jpg": lambda: packed(Image.new("RGB", (11_000, 10_000)), "JPEG", progressive=True),
}


def tags(entries: dict[int, tuple[int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of these tags, (type, count, value), with `rest` behind them, where its one strip lies."""
    body = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following) + rest


def tiff(rest: bytes = bytes(48), following: int = 0, **changes: tuple[int, int, int] | None) -> bytes:
    """A TIFF of 4 x 4 colours with some of its tags changed or left out (None), each named `t` and its number."""
    plain = {256: (3, 1, 4), 257: (3, 1, 4), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 2), 277: (3, 1, 3)}
    plain |= {273: (4, 1, 8 + 2 + 12 * 9 + 4), 278: (3, 1, 4), 279: (4, 1, 48)}
    asked = {int(name[1:]): value for name, value in changes.items()}
    return tags({tag: value for tag, value in {**plain, **asked}.items() if value is not None}, rest, following)


TIFFS: dict[str, Callable[[], bytes]] = {
    "bomb-65535.tif": lambda: tiff(t256=(3, 1, 65_535), t257=(3, 1, 65_535)),
    "bomb-4-billion.tif": lambda: tiff(t256=(4, 1, 2**32 - 1), t257=(4, 1, 2**32 - 1)),
    "lzw-13000.tif": lambda: tiff(t256=(3, 1, 13_000), t257=(3, 1, 13_000), t259=(3, 1, 5), t278=(3, 1, 13_000)),
    "no-size.tif": lambda: tiff(t256=None),
    "no-strips.tif": lambda: tiff(t273=None),
    "zero-wide.tif": lambda: tiff(t256=(3, 1, 0)),
    "strip-beyond.tif": lambda: tiff(t273=(4, 1, 2**31)),
    "odd-strip-of-4-gb.tif": lambda: tiff(t279=(4, 1, 2**32 - 1)),
    "lzw-strip-of-4-gb.tif": lambda: tiff(t259=(3, 1, 5), t279=(4, 1, 2**32 - 1)),
    "lzw-garbage.tif": lambda: tiff(b"\xff" * 48, t259=(3, 1, 5)),
    "deflate-garbage.tif": lambda: tiff(b"\xff" * 48, t259=(3, 1, 8)),
    "odd-fax-garbage.tif": lambda: tiff(b"\xff" * 48, t259=(3, 1, 4), t258=(3, 1, 1), t277=(3, 1, 1), t262=(3, 1, 1)),
    "compression-99.tif": lambda: tiff(t259=(3, 1, 99)),
    "64-bits.tif": lambda: tiff(t258=(3, 1, 64)),
    "255-channels.tif": lambda: tiff(t277=(3, 1, 255)),
    "meaning-77.tif": lambda: tiff(t262=(3, 1, 77)),
    "odd-planes-9.tif": lambda: tiff(t284=(3, 1, 9)),
    "tile-of-a-billion.tif": lambda: tiff(
        t259=(3, 1, 5), t322=(4, 1, 60_000), t323=(4, 1, 60_000), t324=(4, 1, 122), t325=(4, 1, 48)
    ),
    "strips-4-billion.tif": lambda: tiff(t273=(4, 2**32 - 1, 122)),
    "beyond.tif": lambda: b"II*\0\xff\xff\xff\x7f" + bytes(100),
    "odd-circle.tif": lambda: tiff(following=8),
    "circle-of-nothing.tif": lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(20),
    "many-tags.tif": lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(600),
    "big.tif": lambda: b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
    "odd-deep.tif": lambda: packed(Image.fromarray(np.zeros((6000, 6000), np.float32)), "TIFF", compression="tiff_lzw"),
}


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, offset: int = 54, colours: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 48, 0, 0, offset) + info + bytes(48)


def icon(inner: bytes, count: int = 1, start: int = 22, size: int | None = None) -> bytes:
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner) if size is None else size, start)
    return struct.pack("<HHH", 0, 1, count) + entry + inner


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], bits: int = 2, data: bytes = b"\2\x4c\1\0") -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", *frame, 0) + bytes([bits]) + data + b";"


def declared(ending: str, old: bytes, new: bytes) -> bytes:
    """A sound image that declares another size."""
    content = sound(ending)
    assert old in content, ending
    return content.replace(old, new)


OTHERS: dict[str, Callable[[], bytes]] = {
    "bomb.bmp": lambda: bmp(60_000, 60_000),
    "huge.bmp": lambda: bmp(13_000, 13_000),
    "below-zero.bmp": lambda: bmp(-4, 4),
    "least.bmp": lambda: bmp(4, -(2**31)),
    "3-bits.bmp": lambda: bmp(4, 4, bits=3),
    "compression-9.bmp": lambda: bmp(4, 4, compression=9),
    "runs-12000.bmp": lambda: bmp(12_000, 12_000, bits=8, compression=1, colours=2),
    "odd-offset.bmp": lambda: bmp(4, 4, offset=2**31 - 1),
    "colours-2-billion.bmp": lambda: bmp(4, 4, bits=8, colours=2**31),
    "no-entries.ico": lambda: struct.pack("<HHH", 0, 1, 0) + bytes(40),
    "65535-entries.ico": lambda: icon(sound("png"), count=65_535),
    "beyond.ico": lambda: icon(sound("png"), start=10**9),
    "bomb-inside.ico": lambda: icon(png_of(30_000, 30_000)),
    "huge-inside.ico": lambda: icon(png_bomb(9_000, 9_000, 1, 0)),
    "bitmap-bomb-inside.ico": lambda: icon(struct.pack("<IiiHHIIiiII", 40, 13_000, 26_000, 1, 32, 0, 0, 0, 0, 0, 0)),
    "cut-inside.ico": lambda: icon(sound("png")[:500]),
    "bomb.gif": lambda: gif((65_535, 65_535), (0, 0, 65_535, 65_535)),
    "odd-frame-outside.gif": lambda: gif((4, 4), (9_000, 9_000, 4, 4)),
    "huge.gif": lambda: gif((13_000, 13_000), (0, 0, 13_000, 13_000)),
    "code-of-13-bits.gif": lambda: gif((4, 4), (0, 0, 4, 4), bits=13),
    "no-frame.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6) + b";",
    "bomb.ppm": lambda: b"P6 99999 99999 255\n" + bytes(100),
    "huge.ppm": lambda: b"P6 13000 13000 255\n" + bytes(100),
    "slow.ppm": lambda: b"P3 9000 9000 255\n" + b"1 " * 100,
    "no-top.ppm": lambda: b"P6 4 4 0\n" + bytes(48),
    "top-70000.ppm": lambda: b"P6 4 4 70000\n" + bytes(96),
    "words.ppm": lambda: b"P3 4 4 255\n" + b"one two three " * 16,
    "below-zero.ppm": lambda: b"P6 -4 4 255\n" + bytes(48),
    "comment.ppm": lambda: b"P6 #" + b"x" * 300_000,
    "long-number.ppm": lambda: b"P6 " + b"9" * 100_000 + b" 4 255\n",
    "no-numbers.pfm": lambda: b"Pf 2 2 -1.0\n" + b"\xff" * 16,
    "bomb.qoi": lambda: b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 4, 0) + bytes(50),
    "slow.qoi": lambda: b"qoif" + struct.pack(">IIBB", 9_000, 9_000, 4, 0) + b"\xfd" * 200_000 + bytes(8),
    "9-channels.qoi": lambda: b"qoif" + struct.pack(">IIBB", 4, 4, 9, 0) + bytes(5),
    "bomb.pcx": lambda: sound("pcx")[:8] + struct.pack("<HH", 65_000, 65_000) + sound("pcx")[12:],
    "huge.pcx": lambda: sound("pcx")[:8] + struct.pack("<HH", 13_000, 13_000) + sound("pcx")[12:],
    "bomb.sgi": lambda: sound("sgi")[:6] + struct.pack(">HH", 65_000, 65_000) + sound("sgi")[10:],
    "huge.sgi": lambda: sound("sgi")[:6] + struct.pack(">HH", 13_000, 13_000) + sound("sgi")[10:],
    "bomb.jp2": lambda: declared("jp2", struct.pack(">II", 64, 64), struct.pack(">II", 2**31 - 1, 2**31 - 1)),
    "huge.jp2": lambda: declared("jp2", struct.pack(">II", 64, 64), struct.pack(">II", 13_000, 13_000)),
    "huge.avif": lambda: declared("avif", struct.pack(">II", 64, 64), struct.pack(">II", 13_000, 13_000)),
    "bomb.avif": lambda: declared("avif", struct.pack(">II", 64, 64), struct.pack(">II", 2**31 - 1, 2**31 - 1)),
    "huge.webp": lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x3f\0" * 2 + bytes(20),
    "frames-without-end.webp": lambda: b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\x3f\0\0" * 2 + b"ANMF",
    "big-lossless.webp": lambda: packed(Image.new("RGB", (9000, 6000)), "WEBP", lossless=True, method=0, quality=0),
    "big.avif": lambda: packed(Image.new("L", (9000, 8000)), "AVIF", speed=10),
    "nothing-but-newlines.jpg": lambda: b"\n" * 5000,
    "markup.gif": lambda: b"GIF89a<script>alert(1)</script>",
    "recording.png": lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    "program.jpg": lambda: b"\x7fELF" + bytes(range(256)) * 4,
    "pickle.png": lambda: b"\x80\x04\x95" + bytes(range(3, 200)),
    "mail.png": lambda: b"From: a@b\nContent-Type: image/png\n\niVBORw0KGgoAAAANSUhEUg==",
    "base64.png": lambda: b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==",
    "utf-16.jpg": lambda: "keine Bilddatei".encode("utf-16"),
    "drawing.eps": lambda: b"\xc5\xd0\xd3\xc6" + bytes(100),
    "metafile.wmf": lambda: b"\xd7\xcd\xc6\x9a" + bytes(100),
    "lzma.png": lambda: b"\xfd7zXZ\0" + bytes(100),
}


CONTENTS: dict[str, Callable[[], bytes]] = {
    **{name: make for name, (make, _) in BAD.items()},
    **{
        f"{damage}.{ending}": partial(lambda damage, ending: DAMAGES[damage](sound(ending)), damage, ending)
        for damage in DAMAGES
        for ending in FORMATS
    },
    **PNGS,
    **JPEGS,
    **TIFFS,
    **OTHERS,
}
"""The kinds that are bytes, by name."""

HEAVY = {
    *("bomb-1bit-20000.png", "bomb-interlaced-20000.png", "odd-1bit-13000.png", "odd-interlaced-12000.png"),
    *(
        "odd-rgba-9000.png",
        "odd-16bit-9000.png",
        "odd-huge-progressive.jpg",
        "odd-huge-progressive-colours.jpg",
        "odd-deep.tif",
        "huge-inside.ico",
    ),
    *("big-lossless.webp", "big.avif", "bomb-scans.jpg", "bomb-scans-big.jpg", "odd-many-chunks.png"),
    *("odd-many-idats.png", "sparse-200-mb.jpg", "bomb-texts.png"),
}
"""What takes longer than a test may: to make or to decode."""

KINDS: dict[str, Put] = {**{name: partial(written, make) for name, make in CONTENTS.items()}, **PLACES}
"""All kinds: what puts each at a path."""


def may_decode(name: str) -> bool:
    """Whether this kind may be an image after all."""
    return any(name.startswith(word) for word in MAY_DECODE)


def seen_as(name: str) -> str:
    """The name by which a listing tells of a file of this name."""
    from cutaway.data.folder import printable

    return printable(name)


def put_all(folder: Path, kinds: dict[str, Put] | None = None) -> dict[str, Path]:
    """Put every kind into `folder`, which is made; where each lies."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, put in (KINDS if kinds is None else kinds).items():
        put(folder / name)
        found[name] = folder / name
    return found


__all__ = ["CONTENTS", "HEAVY", "KINDS", "PLACES", "may_decode", "put_all", "seen_as", "sound"]
