"""One request: its language, and addresses that keep it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cutaway.errors import InputError
from cutaway.pages import Crumb, Shell, Slider, render
from cutaway.plain import visible, whole
from cutaway.web.jobs import Job, job_id
from cutaway.web.site import Site
from cutaway.words import LANGUAGES, Words, choose, words

MAX_NUMBER = 999_999_999  # in addresses and forms


class _Number(Convertor[int]):
    """`{name:number}` in a route. Starlette's own `int` takes any number of digits, and Python then refuses them."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


@dataclass(frozen=True)
class Here:
    """A request as a page sees it."""

    request: Request
    site: Site
    words: Words

    @classmethod
    def of(cls, request: Request) -> Here:
        """The language by `?lang=`, the browser's wish, then the system's; no cookie."""
        wishes = (request.query_params.get("lang"), request.headers.get("accept-language"), os.environ.get("LANG"))
        return cls(request, request.app.state.site, words(choose(*wishes)))

    def link(self, *parts: object, **query: object) -> str:
        """The address of `parts`, each quoted, with the language if the reader chose one."""
        path = "/" + "/".join(quote(str(part), safe="@:+,=", errors="surrogateescape") for part in parts)
        return self._with(path, query)

    def below(self, parts: Sequence[object], *more: object, **query: object) -> str:
        """The address of `more` below `parts`: templates cannot spread a list in the middle of a call."""
        return self.link(*parts, *more, **query)

    def again(self, **changes: object) -> str:
        """This page's address with some of its query changed; None takes a value away."""
        query = {key: value for key, value in self.request.query_params.items() if key != "lang"}
        # Not `request.url`, which takes a # or ? in a name for the end of the path.
        return self._with(quote(self.request.scope["path"], safe="/@:+,="), {**query, **changes})

    def _with(self, path: str, query: Mapping[str, object]) -> str:
        lang = self.request.query_params.get("lang")
        wanted = {**query, **({"lang": lang} if lang in LANGUAGES and "lang" not in query else {})}
        text = urlencode({key: str(value) for key, value in wanted.items() if value not in (None, "")})
        return f"{path}?{text}" if text else path

    def chosen(self, name: str, known: tuple[str, ...] | list[str]) -> str:
        """The value of a query that must be one of `known`; the first of them otherwise."""
        value = self.request.query_params.get(name, "")
        return value if value in known else known[0]

    def number(self, name: str, most: int = MAX_NUMBER) -> int | None:
        """The value of a query that is a whole number from 0 to `most`; None for any other, and without it."""
        return whole(self.request.query_params.get(name, ""), 0, most)

    def job(self, kind: str, about: Mapping[str, Any]) -> Job | None:
        """The long work that does this, if anybody asked for it."""
        found: Job | None = self.request.app.state.jobs.find(job_id(kind, about))
        return found

    def begin(self, kind: str, about: Mapping[str, Any]) -> Response:
        """Ask for long work, and go back to the page, which shows how far it is."""
        self.request.app.state.jobs.want(kind, about)
        return RedirectResponse(self.again(), 303)

    def page(
        self,
        template: str,
        title: str,
        crumbs: tuple[Crumb, ...] = (),
        slider: Slider | None = None,
        status: int = 200,
        **shown: Any,
    ) -> HTMLResponse:
        """A page in the frame; templates get `here` for their links."""
        shell = Shell(
            title=title,
            crumbs=(Crumb(self.words("runs.title"), self.link("")), *crumbs),
            slider=slider,
            languages={language: self.again(lang=language) for language in LANGUAGES},
        )
        text = render(template, self.words, shell=shell, here=self, **shown)
        # A folder's name may be no text, and must not take the page of all others with it.
        content = text.encode("utf-8", "backslashreplace")
        return HTMLResponse(content, status, {"Cache-Control": "no-cache", "Content-Language": self.words.language})


Handler = Callable[[Here], Response]


def endpoint(handler: Handler) -> Callable[[Request], Response]:
    """A handler as Starlette calls it: in a thread, so that a computation stops nobody else's page.

    A mistake of ours becomes a page that says so, the terminal gets the rest, and the server goes on.
    """

    def answer(request: Request) -> Response:
        here = Here.of(request)
        try:
            return handler(here)
        except (InputError, HTTPException):
            raise
        except Exception as error:  # whatever it is, the next page must still be served
            print(visible("".join(traceback.format_exception(error))), file=sys.stderr)
            return sentence_page(here, 500, f"{type(error).__name__}: {' '.join(str(error).split())}")

    return answer


def sentence_page(here: Here, status: int, sentence: str) -> HTMLResponse:
    """A page that says what is wrong."""
    kind = "error.broken" if status >= 500 else "error.missing" if status == 404 else "error.refused"
    heading = here.words(kind)
    return here.page("error.html.j2", heading, (Crumb(heading),), status=status, sentence=sentence, heading=heading)
