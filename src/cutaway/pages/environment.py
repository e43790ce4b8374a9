"""From a template, plain data and a catalogue of texts to HTML."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from cutaway.numerals import count, in_words, number, percent, short_count
from cutaway.pages.chart import chart_svg, spark_svg
from cutaway.pages.filters import FILTERS
from cutaway.pages.histogram import histogram_svg
from cutaway.pages.scale import scale_png
from cutaway.pictures.stills import data_url
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
        "number": number,
        "percent": percent,
        "count": count,
        "source": source,
        "said": said,
        "scale_bar": scale_png,
        "in_words": in_words,
        "level": level,
        "short_count": short_count,
        **FILTERS,
    }
    drawings: dict[str, Callable[..., str]] = {
        "chart": chart_svg,
        "histogram": histogram_svg,
        "spark": spark_svg,
        "asset": asset,
    }
    environment.globals |= {name: _safe(draw) for name, draw in drawings.items()}
    return environment


def source(picture: bytes | str) -> str:
    """What an `<img>` has for its source: an address as it is, PNG bytes as a data URL."""
    return picture if isinstance(picture, str) else data_url(picture)


@pass_context
def said(context: Context, sentence: object) -> str:
    """What a finding, a note or an error says in English, in the language of the page."""
    return str(context["words"].said(sentence))


def level(share: float) -> int:
    """A share 0..1 as one of the tints 0 to 10 of the style; what is not zero is never 0.

    >>> level(0.0), level(0.001), level(1.0)
    (0, 1, 10)
    """
    return 0 if share <= 0 else max(1, min(10, round(share * 10)))


def _safe(draw: Callable[..., str]) -> Callable[..., Markup]:
    """What gives files of this package, or drawings of numbers and of texts that they escape."""
    return lambda *arguments, **options: Markup(draw(*arguments, **options))
