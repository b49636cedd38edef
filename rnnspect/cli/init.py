from __future__ import annotations

import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from rnnspect.cli.options import command, formats
from rnnspect.cli.output import Output
from rnnspect.errors import InputError, written
from rnnspect.files.writing import write_text

_INTRODUCTION = """\
# yaml-language-server: $schema=rnnspect.schema.json
# For completion and checks in an editor, write that file once:
#   rnnspect schema -o rnnspect.schema.json
#
# A key that is left out takes the value shown here. Try it:
#   rnnspect trace THIS_FILE
"""
_LAST = ("batch", "lengths", "h0", "c0", "weights", "layout", "head")
"""The keys that most specs leave out, after the others."""
_COMMENTS_AT, _WIDTH = 22, 80


@command("rnnspect init -o net.yaml && rnnspect trace net.yaml")
def init(
    output: Annotated[Output, formats("yaml")],
    cell: Annotated[Path | None, typer.Option(help="New file with a cell to start from", metavar="FILE.py")] = None,
) -> None:
    """A commented spec file to start from.

    With --cell a Python file with a cell of your own."""
    if cell is not None:
        _start_cell(cell, output)
        return
    if output.path is not None:
        _refuse_to_write_over(output.path)
    output.emit(yaml=starter)
    if output.path is not None:
        output.note(f"change what is in it, then: rnnspect trace {shlex.quote(str(output.path))}")
    elif sys.stdout.isatty():
        output.note("rnnspect init -o net.yaml writes this into a file")


def _start_cell(path: Path, output: Output) -> None:
    """Writes a file with a cell and an implementation of it. Raises `InputError` for a file that is there already."""
    if output.path is not None or output.format is not None:
        given = "--output" if output.path is not None else "--format"
        raise InputError("cannot be combined with --cell, which names the file", advice="leave it out", where=given)
    if path.suffix != ".py":
        raise InputError(f"{str(path)!r} is not a Python file", allowed="a new file such as mine.py", where="--cell")
    _refuse_to_write_over(path)
    write_text(path, (Path(__file__).parent / "starting" / "cell.py").read_text("utf-8"))
    named = shlex.quote(str(path))
    output.note(f"wrote {path}")
    output.note(f"put your equations in it, then: rnnspect check --cell {named}:mgu --engine {named}:step")


def _refuse_to_write_over(path: Path) -> None:
    if path.exists() and not path.is_dir():
        advice = "name a new file: nothing is written over"
        raise InputError("this file is there already", advice=advice, where=str(path))


def starter() -> str:
    """A spec file with every key: its default, or an example in a comment where that is another network."""
    from rnnspect.network.spec_keys import KEYS

    first = [name for name in KEYS if name not in ("input", *_LAST)]
    return "\n".join([_INTRODUCTION, *("".join(map(_line, names)) for names in (first, ["input"], _LAST))])


def _line(name: str) -> str:
    from rnnspect.network.spec_keys import KEYS, Keys

    key, field = KEYS[name], Keys.model_fields[name]
    hidden = "# " if key.example or field.default is None else ""
    value = [f"{hidden}{line.rstrip()}" for line in f"{name}: {key.example or written(field.default)}".split("\n")]
    sentences = (field.description or "").rstrip(".").split(". ")
    comment = key.comment or "; ".join(sentence[:1].lower() + sentence[1:] for sentence in sentences)
    start = max(_COMMENTS_AT, len(value[-1]) + 2)
    lines = [
        part
        for line in comment.split("\n")
        for part in textwrap.wrap(line, _WIDTH - start - len("# "), break_on_hyphens=False)
    ]
    said = ("\n" + " " * start + "# ").join(lines)
    return "\n".join([*value[:-1], f"{value[-1]:<{start}}# {said}\n"])
