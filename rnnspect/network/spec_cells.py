"""The cell that a spec names, and what is wrong with it in words."""

from __future__ import annotations

import math

from pydantic_core import PydanticCustomError

from rnnspect.cells import CELLS, Cell
from rnnspect.cells.named import CellName
from rnnspect.cells.trial import tried
from rnnspect.cells.trial_values import WrongLineError
from rnnspect.errors import listed, nearest
from rnnspect.files import installed


def wrong(
    found: str, allowed: str | None = None, near: str | None = None, advice: str | None = None, key: str | None = None
) -> PydanticCustomError:
    """`key` is the one to blame, where it was given, in place of that which is looked at."""
    said = {"found": found, "allowed": allowed, "nearest": near, "advice": advice, "key": key}
    return PydanticCustomError("rnnspect", "{found}", said)


def own_cell(cell: Cell) -> CellName:
    """Raises `InputError` for a cell that is not written as it has to be, with the line."""
    if cell.name in CELLS:
        raise wrong(f"a cell of your own is called {cell.name!r}", f"another name than {listed(CELLS)}")
    return CellName(cell)


def cell_of_name(name: str) -> str:
    """One of ours, or the cell that an installed package has under that name. A name in a file runs no file."""
    if name in CELLS:
        return name
    if name.partition(":")[0].endswith(".py"):
        typed = "type it, --cell mine.py:NAME, or in Python give the Cell itself"
        raise wrong(f"cell {name!r} names a Python file, which is run only where you type it", advice=typed)
    found = installed.load(installed.CELLS, name)
    if isinstance(found, Cell):
        return own_cell(found)
    if found is not None:
        raise wrong(f"what a package has as cell {name!r} is a {type(found).__name__}", "a rnnspect.cells.Cell")
    known = [*CELLS, *installed.names(installed.CELLS)]
    raise wrong(f"unknown cell {name!r}", f"{listed(known)}, or your own: --cell mine.py:NAME", nearest(name, known))


def check_sizes(cell: Cell, hidden_size: int, input_size: int) -> None:
    """Raises `PydanticCustomError` where the cell's own sizes leave a rest in a network of these, or where x is not as
    wide as its gates and it has no projection of x."""
    for _, shape in (*cell.parameters, *cell.sizes, *cell.cell_state):
        try:
            cell.shape(shape, hidden_size, input_size)
        except ValueError as error:
            key = "input_size" if str(error).startswith("input_size") else None
            raise wrong(f"cell {cell.name} has no such network: {error}", key=key) from None
    _try_lines(cell, hidden_size, input_size)
    rows = sum(math.prod(cell.shape(cell.gate_shape(gate), hidden_size, input_size)) for gate in cell.gates)
    if not cell.has_projection_of_x and input_size != rows:
        found = f"cell {cell.name} takes what goes into its gates as x, of {rows} features; input_size is {input_size}"
        raise wrong(found, f"input_size {rows} with hidden_size {hidden_size}", key="input_size")


def _try_lines(cell: Cell, hidden_size: int, input_size: int) -> None:
    """Raises `PydanticCustomError` where a line takes values apart, as into heads, and these sizes leave a rest."""
    if cell.torch_name:
        return
    try:
        tried(cell, {**dict(cell.constants), "hidden_size": hidden_size, "input_size": input_size})
    except WrongLineError as error:
        found = f"cell {cell.name} has no such network: {error}, where hidden_size is {hidden_size}"
        raise wrong(found, error.said["allowed"]) from None
