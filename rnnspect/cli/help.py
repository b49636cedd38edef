"""The text of --help: a line an option, its heading above, what most runs need first.

typer's own tables take a third of the width for types and frames; this text needs no rich either.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand

NETWORK, INPUT, OUTPUT = "Network", "Input", "Output"
RARE, VARIANTS = "Less common", "Variants of other frameworks"
_LAST = (INPUT, NETWORK, OUTPUT, RARE, VARIANTS)
"""The headings that all commands share, in their order; a command's own come before them."""
_ONLY_NAMED = (RARE, VARIANTS)
"""The headings whose options --help only names; --help-all explains them."""
_ALL = "rnnspect.help_all"
_LEFT, _WIDEST = 26, 100
"""Characters of the column of options; the longest line on any screen."""
_LONGEST_METAVAR = 14
_OF_TYPER = {
    "help": "Show this text",
    "install_completion": "Install completion for this shell",
    "show_completion": "Print the completion script",
}
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "FILE"}


class PlainCommand(TyperCommand):
    """A command whose --help is the text of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(_of_command(self, ctx, ctx.meta.get(_ALL, False))))


def show_all(context: typer.Context, wanted: bool) -> None:
    """The callback of --help-all."""
    if wanted:
        context.meta[_ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


def of_all_commands(about: str, groups: Mapping[str, Mapping[str, str]], options: Sequence[Any], example: str) -> str:
    """The text for `rnnspect --help`: by heading the commands, each with its sentence. All of it fits 24 lines."""
    lines = ["Usage: rnnspect COMMAND [OPTIONS]", *_filled(about), ""]
    for heading, commands in groups.items():
        lines += [bold(heading), *(f"  {name:<9} {said}" for name, said in commands.items())]
    lines += [f"{bold('Options')}  {'  '.join(map(_names, options))}", ""]
    return "\n".join([*lines, "rnnspect COMMAND --help explains a command.", f"Example:  {example}", ""])


def first_sentence(text: str) -> str:
    """What a docstring says in its first line, without the full stop."""
    return text.partition("\n")[0].rstrip(".")


def _of_command(command: Any, ctx: Any, every: bool) -> Iterator[str]:
    options = [one for one in command.get_params(ctx) if one.param_type_name == "option" and one.name != "help_all"]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = "".join(f" {_called(one)}" if one.required else f" [{_called(one)}]" for one in arguments)
    yield f"Usage: {ctx.command_path}{usage} [OPTIONS]"
    yield ""
    for paragraph in (command.help or "").split("\n\n"):
        yield from _filled(" ".join(paragraph.split()))
    yield ""
    for one in arguments:
        yield from _row(_called(one), one.help or "")
    shown = dict(_by_heading(options))
    named = [] if every else [one for heading in _ONLY_NAMED for one in shown.pop(heading, ())]
    for heading, listed in shown.items():
        yield from ("", bold(heading))
        for one in listed:
            yield from _of_option(one)
    if named:
        yield from ("", bold(f"More options ({ctx.command_path} --help-all explains them)"))
        yield from _filled(" ".join(map(_names, named)), "  ")
    yield ""
    yield from _filled(command.epilog or "", "", " " * len("Example:  "))
    yield ""


def _by_heading(options: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The options under each heading. --help itself ends the list of what is written."""
    found: dict[str, list[Any]] = {}
    for one in options:
        found.setdefault(getattr(one, "rich_help_panel", None) or OUTPUT, []).append(one)
    own = [heading for heading in found if heading not in _LAST]
    yield from ((heading, found[heading]) for heading in (*own, *_LAST) if heading in found)


def _of_option(option: Any) -> Iterator[str]:
    metavar = "" if option.is_flag else _called(option)
    said = _OF_TYPER.get(option.name, option.help or "")
    if len(metavar) > _LONGEST_METAVAR:
        said, metavar = f"{said.rstrip('.')}: {metavar.replace('|', ', ')}", "NAME"
    if option.required:
        said = f"{said} (required)"
    elif option.default not in (None, False, "", ()) and not option.is_flag and "default" not in said:
        said = f"{said} (default {option.default})"
    yield from _row(f"{_names(option)} {metavar}", said)


def _names(option: Any) -> str:
    """-o, --output; --[no-]bias."""
    off = {f"--no-{one.removeprefix('--')}" for one in option.opts} & set(option.secondary_opts)
    names = sorted(option.opts, key=len)
    return ", ".join(f"--[no-]{one.removeprefix('--')}" if off and one.startswith("--") else one for one in names)


def _called(parameter: Any) -> str:
    """What stands for the value."""
    if parameter.metavar:
        return str(parameter.metavar).strip("[]")
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper() + ("…" if parameter.nargs == -1 else "")
    return "TEXT"


def metavar_of(annotation: Any) -> str:
    """What stands for the value of an option with this annotation: N for Annotated[int | None, …]."""
    kind = annotation
    while get_origin(kind) is not None:
        kind = get_args(kind)[0]
    return _METAVARS.get(kind, "TEXT")


def _row(left: str, said: str) -> Iterator[str]:
    start = " " * (2 + _LEFT)
    lines = _filled(said, start, start) or [""]
    if len(left) < _LEFT:
        yield f"  {left:<{_LEFT}}{lines[0].lstrip()}".rstrip()
    else:
        yield f"  {left}"
        yield lines[0]
    yield from lines[1:]


def _filled(text: str, first: str = "", rest: str | None = None) -> list[str]:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def bold(heading: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return heading if plain else f"\x1b[1m{heading}\x1b[0m"
