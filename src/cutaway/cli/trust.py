"""The options by which a person lets the code of a run from elsewhere run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import Annotated

import typer

from cutaway.errors import InputError

Trust = Annotated[bool, typer.Option("--trust", help="Run the code that a run from elsewhere names.")]
Factory = Annotated[
    str | None, typer.Option("--model", metavar="FILE.py:FACTORY", help="Make the network of a run by this factory.")
]


def trusting(trust: bool, factory: str | None) -> bool | str:
    """Both options as `load_model` takes them."""
    return factory or trust


def trusting_some(models: Sequence[str], trust: bool, factory: str | None) -> bool | str:
    """Likewise for several models, of which one at least must be a run that a factory makes the network of."""
    from cutaway.models.trust import concerning

    if factory and not any(concerning(model, factory) for model in models):
        raise InputError(f"--model {factory} makes the network of a run with code of its own, which none of these is")
    return trusting(trust, factory)


@contextmanager
def beginning_with(run: str) -> Iterator[None]:
    """Where --model names the run itself, so that it cannot name a factory of its network."""
    from cutaway.models.trust import Untrusted
    from cutaway.runs import resolve

    try:
        yield
    except Untrusted as error:
        record, which = resolve(run)
        begin = f"begin with its weights: --model FILE.py:FACTORY --weights {quote(str(record.weights(which)))}"
        raise error.instead("look at it, then say --trust to run it", begin) from error
