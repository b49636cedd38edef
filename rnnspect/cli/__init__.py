"""The command line: parse, call, hand to a view. Loads no framework until a command needs one.

A file here that holds a `Command` is a command; nothing else registers it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from rnnspect.cli import help as text
from rnnspect.cli import process, signals
from rnnspect.cli.options import Command
from rnnspect.cli.output import COMMAND, discard, say
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import RnnspectError, listed, nearest
from rnnspect.files.sources import is_there
from rnnspect.version import version

_KINDS = {"valid integer": "a whole number", "valid number": "a number", "valid float": "a number"}
"""What the parser says of a value of the wrong kind, and what it should be."""


def _message(error: Any) -> str | None:
    """The message for an error of the command-line parser, with the --help that tells more; None for any other."""
    if not hasattr(error, "format_message"):
        return None
    context, option = getattr(error, "ctx", None), getattr(error, "param", None)
    said = str(error.format_message())
    name = max(option.opts, key=len) if option else ""
    kind = next((ours for theirs, ours in _KINDS.items() if theirs in said), None)
    if context and hasattr(error, "option_name") and hasattr(error, "possibilities"):
        said = _unknown_option(error.option_name, context.command)
    elif hasattr(error, "option_name") and said.endswith("requires an argument."):
        said = f"{error.option_name} needs a value"
    elif option and said.startswith("Missing option"):
        said = f"{name} is missing: {option.help}"
    elif option and said.startswith("Missing argument"):
        said = f"{name.upper()} is missing: {option.help}"
    elif name and kind:
        said = f"{name}: expected {kind}"
    return f"error: {said}" + (f"\nhelp: {context.command_path} --help" if context else "")


def _unknown_option(option: str, command: Any) -> str:
    """What is said of it: the option that is likely meant, or the other commands that have it."""
    said, meant = f"unknown option {option}", nearest(option, _options(command))
    others = [name for name, each in COMMANDS.items() if option in _options(each.build())]
    if others and option.strip("-") not in (meant or ""):
        return f"{said} of {command.name}; it is an option of {listed(others, 3)}"
    return said + (f"; did you mean {meant}?" if meant else "")


def _options(command: Any) -> list[str]:
    return [one for each in command.params for one in each.opts]


OK, BAD_INPUT, FAULT, INTERRUPTED = 0, 2, 4, 130
REPORT_TO = "please report it, with the command that you typed, in the project's issue tracker"

ABOUT = "about"
"""The command that is meant where a file stands in the place of one."""
GROUPS: dict[str, tuple[str, ...]] = {
    "See": ("shapes", "run", "trace", "derive", "report"),
    "Prove": ("check", "probe"),
    "Carry over": ("layouts", "convert"),
    "Describe": ("about", "init", "schema"),
}
"""The commands by what a person wants, as --help lists them; those that are not named here end the last group."""


def _found() -> dict[str, Command]:
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Command)}
    named = [name for group in GROUPS.values() for name in group]
    return {name: found[name] for name in dict.fromkeys((*named, *sorted(found)))}


COMMANDS = _found()


def _sentences() -> dict[str, dict[str, str]]:
    """By group, each command with the first sentence of its help."""
    groups = {heading: list(names) for heading, names in GROUPS.items()}
    groups["Describe"] += [name for name in COMMANDS if not any(name in group for group in GROUPS.values())]
    return {
        heading: {name: text.first_sentence(inspect.getdoc(COMMANDS[name].function) or "") for name in names}
        for heading, names in groups.items()
    }


def _is_a_file(word: str) -> bool:
    """Whether a word in the place of a command is a file: it is there, or it is written as a file's name is."""
    return is_there(Path(word)) or names_code(word) or "/" in word or bool(Path(word).suffix)


_ABOUT = "See inside an RNN, LSTM or GRU, and prove that it computes its equations."
_EXAMPLE = "rnnspect trace --cell lstm --hidden-size 3 --input ramp:4"


class _Commands(TyperGroup):
    """Makes the options of a command when it is called: --help of all commands shows only a sentence of each."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and _is_a_file(args[0]):
            args = [ABOUT, *args]
        name, command, rest = super().resolve_command(ctx, args)
        return name, COMMANDS[command.name].build() if command and command.name else None, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(text.of_all_commands(_ABOUT, _sentences(), self.get_params(ctx), _EXAMPLE))


app = typer.Typer(
    name="rnnspect",
    cls=_Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS.values():
    app.command(_command.name, help=inspect.getdoc(_command.function))(lambda: None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rnnspect {version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    show_version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version"),
) -> None:
    del show_version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; every error is printed here and nowhere else.

    0 done or agrees · 1 differs · 2 bad input or usage · 3 cannot tell · 4 a fault of rnnspect · 130 interrupted
    (143 by SIGTERM, 129 by SIGHUP).
    """
    _prepare_streams()
    COMMAND.set(tuple(sys.argv[1:] if argv is None else argv))
    try:
        status = app(args=None if argv is None else list(argv), prog_name="rnnspect", standalone_mode=False)
        sys.stdout.flush()
    except RnnspectError as error:
        if not signals.received:
            for problem in error.problems:
                say(f"error: {problem}")
            return error.exit_status
        status = INTERRUPTED  # a library that was interrupted while it was loaded has made an error of its own of it
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return OK
    except OSError as error:
        say(f"error: cannot write the result: {error.strerror or error}")
        discard(sys.stdout)
        return BAD_INPUT
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # which typer answers so as it shows --help
            raise
        discard(sys.stdout)
        return OK
    except Exception as error:  # noqa: BLE001 - the one place where a fault of ours becomes a message
        if said := _message(error):
            say(said)
            return BAD_INPUT
        if _is_out_of_memory(error):
            say(f"error: out of memory: {str(error).partition(chr(10))[0] or 'Python got none'}")
            return BAD_INPUT
        return _fault(error)
    if status == INTERRUPTED:
        say("interrupted")
        return signals.status_when_stopped()
    return status if isinstance(status, int) else OK


def entry_point() -> None:
    sys.exit(process.run_safely(main, sys.argv[1:]))


def _is_out_of_memory(error: Exception) -> bool:
    """By the message too: torch has no exception of its own for it, and other words for each device; the last are those
    of the system that has no room for a library."""
    said = ("allocate memory", "out of memory", "failed to map segment")
    return isinstance(error, MemoryError) or any(one in str(error) for one in said)


def _fault(error: Exception) -> int:
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    say(f"error: a fault of rnnspect {version()} ({type(error).__name__}: {error}, at {where}); {REPORT_TO}")
    return FAULT


def _prepare_streams() -> None:
    """Replaces a stream that is closed by one that discards; writes what a stream cannot encode as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open for as long as the process runs
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
