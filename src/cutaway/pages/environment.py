"""From a template, plain data and a catalogue of texts to HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from cutaway.pages.chart import chart_svg, spark_svg
from cutaway.pages.filters import FILTERS
from cutaway.pages.histogram import histogram_svg
from cutaway.pages.scale import scale_png
from cutaway.pictures.colours import number
from cutaway.views.run import percent
from cutaway.words import LANGUAGES, Words


def render(template: str, words: Words, **content: Any) -> str:
    """The HTML of `template` (a file in `templates/`); Jinja escapes every name and every text.

    Args:
        template: its file name, such as `base.html.j2`.
        words: the language's catalogue; templates call it as `words("section.key", value=1)`.
        content: plain data. A picture is PNG bytes, which go inside the page, or its address.
    """
    return _environment().get_template(template).render(words=words, languages=LANGUAGES, **content)


def asset(name: str) -> str:
    """The text of a file in `assets/`: `style.css` or a script, for a page that holds everything inside."""
    return files("cutaway.pages").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cutaway.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number_or_dash,
        "percent": percent,
        "count": count,
        "source": source,
        "said": said,
        "scale_bar": scale_png,
        "level": level,
        "short_count": short_count,
        **FILTERS,
    }
    environment.globals |= {"chart": _chart, "spark": _spark, "asset": lambda name: Markup(asset(name))}
    environment.globals |= {"histogram": _histogram}
    return environment


def source(picture: bytes | str) -> str:
    """What an `<img>` has for its source: an address as it is, PNG bytes as a data URL."""
    return picture if isinstance(picture, str) else f"data:image/png;base64,{base64.b64encode(picture).decode()}"


@pass_context
def said(context: Context, sentence: object) -> str:
    """What a finding, a note or an error says in English, in the language of the page."""
    return str(context["words"].said(sentence))


def number_or_dash(value: float | None) -> str:
    """A value as on a scale; a dash for what was not measured.

    >>> number_or_dash(-0.12345), number_or_dash(None)
    ('−0.123', '–')
    """
    return "–" if value is None else number(value)


def count(value: int | None) -> str:
    """A whole number with its thousands apart.

    >>> count(14777098)
    '14,777,098'
    """
    return "–" if value is None else f"{value:,}"


def short_count(value: int) -> str:
    """A large whole number by its first digits: thousands, millions, billions.

    >>> short_count(864), short_count(10_838_016), short_count(4_100_000_000)
    ('864', '10.8 M', '4.1 G')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return str(value)


def level(share: float) -> int:
    """A share 0..1 as one of the tints 0 to 10 of the style; what is not zero is never 0.

    >>> level(0.0), level(0.001), level(1.0)
    (0, 1, 10)
    """
    return 0 if share <= 0 else max(1, min(10, round(share * 10)))


def _chart(*arguments: Any, **options: Any) -> Markup:
    # Made of numbers and of texts that `chart_svg` escapes.
    return Markup(chart_svg(*arguments, **options))


def _histogram(*arguments: Any) -> Markup:
    # Made of numbers and a text that `histogram_svg` escapes.
    return Markup(histogram_svg(*arguments))


def _spark(values: Sequence[float], label: str) -> Markup:
    # Made of numbers and a text that `spark_svg` escapes.
    return Markup(spark_svg(values, label))
