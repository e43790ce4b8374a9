"""The options by which a person lets the code of a run from elsewhere run."""

from __future__ import annotations

from typing import Annotated

import typer

Trust = Annotated[bool, typer.Option("--trust", help="Run the code that a run from elsewhere names.")]
Factory = Annotated[
    str | None, typer.Option("--model", metavar="FILE.py:FACTORY", help="Make the network of a run by this factory.")
]


def trusting(trust: bool, factory: str | None) -> bool | str:
    """Both options as `load_model` takes them."""
    return factory or trust
