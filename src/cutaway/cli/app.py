"""The `cutaway` program: its verbs and its way of telling mistakes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from cutaway.errors import InputError
from cutaway.words import terminal_words

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
        from cutaway import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train an image classifier and see inside it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and exit; a mistake in the input is one line on stderr and exit code 2.

    Args:
        arguments: the words after `cutaway`; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words or ["--help"])
        # Here and not at the end of the process, where a closed pipe could only be complained about.
        sys.stdout.flush()
    except InputError as error:
        code = _tell(str(error))
    except BrokenPipeError:
        # The reader (`| head`) has closed; point stdout elsewhere so that Python's exit does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        if error.filename is None:
            raise
        code = _tell(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        print(f"cutaway: {terminal_words()('terminal.stopped')}", file=sys.stderr)
        code = 130
    sys.exit(code)


def _run(words: list[str]) -> int:
    for verbs in _VERBS:
        import_module(f"cutaway.cli.{verbs}")  # importing registers its verbs
    command = typer.main.get_command(app)
    try:
        with command.make_context("cutaway", words) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except _USAGE as error:
        return _tell(_usage(error))
    return 0


def _usage(error: BaseException) -> str:
    message: str = error.format_message()  # type: ignore[attr-defined]  # _USAGE has it, in each version of typer
    place = getattr(getattr(error, "ctx", None), "command_path", "cutaway")
    sentence = message[:1].lower() + message[1:].rstrip(".")
    return sentence if sentence.endswith("?") else f"{sentence}; `{place} --help` shows what is expected"


def _tell(sentence: str) -> int:
    print(f"cutaway: {' '.join(sentence.split())}", file=sys.stderr)
    return 2
