"""Pages that are what commands print: --help of each, the keys of a spec, the layouts."""

from __future__ import annotations

import inspect
import json
import os
from contextlib import chdir
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rnnspect.cli import COMMANDS, app

ROOT = Path(__file__).resolve().parents[2]
SCREEN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}


def said(*argv: str) -> str:
    """What a command prints, 80 columns wide, in the folder of the checkout."""
    with chdir(ROOT):
        result = CliRunner().invoke(app, argv, env={**os.environ, **SCREEN})
    if result.exit_code:
        raise RuntimeError(f"rnnspect {' '.join(argv)} ended with {result.exit_code}: {result.output}")
    return "".join(f"{line.rstrip()}\n" for line in result.output.splitlines()).strip("\n")


def block(text: str, kind: str = "text") -> str:
    return f"```{kind}\n{text}\n```\n"


def command_line() -> str:
    parts = ["# Commands\n", "The help of each command, with all its options.\n", block(said("--help"))]
    for name, command in COMMANDS.items():
        title = f"rnnspect {name}" if name in said("--help") else "rnnspect FILE"
        purpose = (inspect.getdoc(command.function) or "").partition("\n\n")[0].replace("\n", " ")
        parts += [f"## {title} {{ #{name} }}\n", f"{purpose}\n", block(explained(name))]
    return "\n".join(parts)


def explained(name: str) -> str:
    """The help of a command with all its options."""
    usual = said(name, "--help")
    return said(name, "--help-all") if "--help-all" in usual else usual


def spec_keys() -> str:
    schema = json.loads(said("schema"))
    rows = ["| key | is | left out | what it says |", "|---|---|---|---|"]
    for key, told in schema["properties"].items():
        default = told.get("default")
        meaning = told.get("description", "").replace("|", "\\|")
        rows.append(f"| `{key}` | {_kind(told)} | {'' if default is None else f'`{_plain(default)}`'} | {meaning} |")
    return "\n".join(
        [
            "# Keys of a spec\n",
            "A spec is a YAML file with these keys. Each is an option of the commands as well: `hidden_size` is",
            "`--hidden-size`. `rnnspect schema` prints the JSON Schema that editors check a spec with.\n",
            *rows,
            "\n## A file to start from\n\n`rnnspect init` prints it:\n",
            block(said("init"), "yaml"),
        ]
    )


def _kind(told: dict[str, Any]) -> str:
    """What may stand for a key, of its JSON Schema."""
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(kind for one in told["anyOf"] if (kind := _kind(one))))
    if "enum" in told:
        return ", ".join(f"`{word}`" for word in told["enum"])
    if "$ref" in told:
        return "mapping"
    named = {"null": "", "object": "mapping", "array": "list", "string": "text", "boolean": "`true`, `false`"}
    return named.get(kind, kind) if isinstance(kind := told.get("type", ""), str) else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def layouts() -> str:
    lead = "How each framework packs the parameters of an RNN, LSTM and GRU: `rnnspect layouts`."
    return "\n".join(["# Layouts\n", f"{lead}\n", block(said("layouts"))])
