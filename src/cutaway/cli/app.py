"""The `cutaway` program: its verbs, and what it says of a mistyped command."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from cutaway.cli.streams import complain, plain_stdout

app = typer.Typer(
    name="cutaway",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# What a mistyped command line raises. Some versions of typer carry click inside, some import it; both derive from it.
_USAGE: type[BaseException] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

# In the order of --help.
_VERBS = (
    *("training", "looking", "explaining", "imagining", "exemplars", "atlas", "comparing"),
    *("doctor", "care", "serving", "reporting"),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from cutaway.version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train an image classifier and see inside it."""


def run(words: Sequence[str]) -> int:
    """Run a verb; its exit code."""
    for verbs in _VERBS:
        import_module(f"cutaway.cli.{verbs}")  # importing registers its verbs
    command = typer.main.get_command(app)
    try:
        with plain_stdout(), command.make_context("cutaway", list(words)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except _USAGE as error:
        return complain(_usage(error))
    return 0


def _usage(error: BaseException) -> str:
    message: str = error.format_message()  # type: ignore[attr-defined]  # _USAGE has it, in each version of typer
    place = getattr(getattr(error, "ctx", None), "command_path", "cutaway")
    sentence = message[:1].lower() + message[1:].rstrip(".")
    return sentence if sentence.endswith("?") else f"{sentence}; `{place} --help` shows what is expected"
