"""What is wrong with a command as it was typed, in our words for the parser's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnspect.cli.options import Command
from rnnspect.errors import listed, nearest

_KINDS = {"valid integer": "a whole number", "valid number": "a number", "valid float": "a number"}
"""What the parser says of a value of the wrong kind, and what it should be."""


def message(error: Any, commands: Mapping[str, Command]) -> str | None:
    """The message for an error of the command-line parser, with the --help that tells more; None for any other."""
    if not hasattr(error, "format_message"):
        return None
    context, option = getattr(error, "ctx", None), getattr(error, "param", None)
    said = str(error.format_message())
    name = max(option.opts, key=len) if option else ""
    kind = next((ours for theirs, ours in _KINDS.items() if theirs in said), None)
    if context and hasattr(error, "option_name") and hasattr(error, "possibilities"):
        said = _unknown_option(error.option_name, context.command, commands)
    elif hasattr(error, "option_name") and said.endswith("requires an argument."):
        said = f"{error.option_name} needs a value"
    elif option and said.startswith("Missing option"):
        said = f"{name} is missing: {option.help}"
    elif name and kind:
        said = f"{name}: expected {kind}"
    return f"error: {said}" + (f"\nhelp: {context.command_path} --help" if context else "")


def _unknown_option(option: str, command: Any, commands: Mapping[str, Command]) -> str:
    """What is said of it: the option that is likely meant, or the other commands that have it."""
    said, meant = f"unknown option {option}", nearest(option, _options(command))
    others = [name for name, each in commands.items() if option in _options(each.build())]
    if others and option.strip("-") not in (meant or ""):
        return f"{said} of {command.name}; it is an option of {listed(others, 3)}"
    return said + (f"; did you mean {meant}?" if meant else "")


def _options(command: Any) -> list[str]:
    return [one for each in command.params for one in each.opts]
