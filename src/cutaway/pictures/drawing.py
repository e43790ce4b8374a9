"""A drawing of lines, dots and words on a sheet, and the three files it can become: SVG, PNG and PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image, ImageDraw

from cutaway.errors import InputError
from cutaway.pictures.colours import ACCENT, FAINT, INK, RULE
from cutaway.pictures.stills import png
from cutaway.pictures.text import collection_face, font_for, plain, wide_font, writable

SIZE = 11  # of words, in pixels
_SCALE, _FINER = 3, 2  # a PNG has so many pixels for one of the sheet; its lines are drawn finer still, then averaged
_POINTS = 0.75  # of a PDF for one pixel: 96 pixels are an inch, and so are 72 points
_FONTS = "Helvetica, Arial, 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', sans-serif"
_PALE = {"rule": RULE, "batches": (190, 182, 168)}
_COLOURS = {**_PALE, "training": FAINT, "validation": ACCENT, "title": INK}
_WIDTHS = {"rule": 0.5, "batches": 0.75, "validation": 2.0}


@dataclass(frozen=True)
class Stroke:
    """A line through points (x, y); `kind` says what it stands for, and so its colour."""

    kind: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Dot:
    """A point of a line."""

    kind: str
    x: float
    y: float
    radius: float = 2.5


@dataclass(frozen=True)
class Word:
    """A text on the baseline `y`, which starts, ends or has its middle (`anchor`) at `x`."""

    kind: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = SIZE


Mark = Stroke | Dot | Word


def element(mark: Mark, style: str) -> str:
    """A mark as an element of an SVG with the attributes `style`."""
    if isinstance(mark, Stroke):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
        return f'<polyline {style} points="{points}"/>'
    if isinstance(mark, Dot):
        return f'<circle {style} cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius}"/>'
    anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
    return f'<text {style} x="{mark.x:.1f}" y="{mark.y:.1f}"{anchor}>{escape(mark.text)}</text>'


def _colour(mark: Mark) -> tuple[int, int, int]:
    """Of its kind; words are dark enough to be read, also those that name a pale line."""
    pale = isinstance(mark, Word) and mark.kind in _PALE
    return FAINT if pale else _COLOURS.get(mark.kind, FAINT)


def _width(stroke: Stroke) -> float:
    return _WIDTHS.get(stroke.kind, 1.5)


def _paint(mark: Mark) -> str:
    """The style of an element that no style sheet knows."""
    colour = "#{:02x}{:02x}{:02x}".format(*_colour(mark))
    if isinstance(mark, Stroke):
        return f'fill="none" stroke="{colour}" stroke-width="{_width(mark)}" stroke-linejoin="round"'
    size = f' font-size="{mark.size}"' if isinstance(mark, Word) else ""
    return f'fill="{colour}"{size}'


def to_svg(marks: Sequence[Mark], width: int, height: int, title: str) -> bytes:
    """An SVG file that needs no style sheet; `title` is for those who do not see it."""
    name = escape(title)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    about = f'font-family="{_FONTS}" role="img" aria-label="{name}"><title>{name}</title>'
    sheet = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    inside = "\n".join(element(mark, _paint(mark)) for mark in marks)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} {about}\n{sheet}\n{inside}\n</svg>\n'.encode()


def to_png(marks: Sequence[Mark], width: int, height: int) -> bytes:
    """A PNG file of three pixels for each of the sheet: 288 to the inch."""
    fine = _SCALE * _FINER
    sheet = Image.new("RGB", (width * fine, height * fine), "white")
    draw = ImageDraw.Draw(sheet)
    for mark in marks:
        if isinstance(mark, Stroke):
            points = [(x * fine, y * fine) for x, y in mark.points]
            draw.line(points, _colour(mark), round(_width(mark) * fine), joint="curve")
        elif isinstance(mark, Dot):
            draw.circle((mark.x * fine, mark.y * fine), mark.radius * fine, _colour(mark))
    sheet = sheet.reduce(_FINER)
    draw = ImageDraw.Draw(sheet)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for word in (mark for mark in marks if isinstance(mark, Word)):
        text, size = writable(plain(word.text)), word.size * _SCALE
        place = (word.x * _SCALE, word.y * _SCALE)
        draw.text(place, text, _colour(word), font_for(text, size), anchor=anchors[word.anchor])
    return png(sheet, level=9, dpi=(96 * _SCALE, 96 * _SCALE))


def to_pdf(marks: Sequence[Mark], width: int, height: int, title: str) -> bytes:
    """A PDF file of lines and text; the font is inside it, unless a text is Chinese and the system's font cannot be.

    Raises:
        InputError: the package that writes it is missing.
    """
    try:
        from reportlab.pdfgen.canvas import Canvas
    except ImportError as problem:
        raise InputError(
            "a PDF needs the package reportlab, which is not installed; run: pip install 'cutaway[papers]', "
            "or choose a name that ends in .svg or .png"
        ) from problem
    buffer = io.BytesIO()
    canvas = Canvas(buffer, (width * _POINTS, height * _POINTS), invariant=1)
    canvas.setTitle(title)
    canvas.scale(_POINTS, _POINTS)
    for mark in marks:
        _write(canvas, mark, height)
    canvas.save()
    return buffer.getvalue()


def _write(canvas: Any, mark: Mark, height: int) -> None:
    """One mark onto a canvas whose y rises from its lower edge."""
    colour = [part / 255 for part in _colour(mark)]
    canvas.setFillColorRGB(*colour)
    canvas.setStrokeColorRGB(*colour)
    if isinstance(mark, Dot):
        canvas.circle(mark.x, height - mark.y, mark.radius, stroke=0, fill=1)
    elif isinstance(mark, Stroke):
        canvas.setLineWidth(_width(mark))
        canvas.setLineJoin(1)
        path = canvas.beginPath()
        path.moveTo(mark.points[0][0], height - mark.points[0][1])
        for x, y in mark.points[1:]:
            path.lineTo(x, height - y)
        canvas.drawPath(path)
    else:
        canvas.setFont(_pdf_font(mark.text), mark.size)
        write = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
        write[mark.anchor](mark.x, height - mark.y, mark.text)


def _pdf_font(text: str) -> str:
    """The name of a font for `text`: the one that comes with reportlab, else one with Chinese signs."""
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    own = TTFont("Vera", "Vera.ttf")
    if all(ord(sign) in own.face.charToGlyph for sign in text):
        registerFont(own)
        return "Vera"
    path = wide_font()
    try:
        if path:
            registerFont(TTFont("Wide", str(path), subfontIndex=collection_face(path)))
            return "Wide"
    except TTFError:
        pass  # its outlines are of the kind that reportlab cannot put into a file
    registerFont(UnicodeCIDFont("STSong-Light"))  # every reader of PDF files has signs for it
    return "STSong-Light"
