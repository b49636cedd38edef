"""Loads somebody's own cell: `path/to/mine.py:mgu` names a `Cell` of that file. This runs the file, so only an argument
that the user typed may name one."""

from __future__ import annotations

from rnnspect.cells import CELLS, VARIANTS, Cell
from rnnspect.engines.own.loading import importing_from, loaded, place_of, their_errors
from rnnspect.errors import InputError
from rnnspect.files.quiet import printing_to_stderr

FORM = "path/to/mine.py:NAME, where NAME is the name of a Cell"


def load_cell(source: str) -> Cell:
    """The cell of a file whose `name` stands after the colon, or the variable that holds it.

    Raises `InputError` for no such file or cell, and for anything that the file raises, with the line of it.
    """
    path, name = place_of(source, FORM)
    with printing_to_stderr(), importing_from(path), their_errors("loading this file", path):
        module = loaded(path)
    cells = {key: one for key, one in vars(module).items() if isinstance(one, Cell)}
    for key, cell in cells.items():
        if name in (key, cell.name):
            return cell
    own = [str(cell.name) for cell in cells.values() if cell not in (*CELLS.values(), *VARIANTS.values())]
    if not own:
        advice = "write one as in the file that this makes: rnnspect init --cell new.py"
        raise InputError("this file has no Cell", where=str(path), advice=advice)
    raise InputError.unknown(f"this file has no cell {name!r}", name, own, str(path))
