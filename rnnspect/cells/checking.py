"""Refuses a cell of somebody's own that is not written as it has to be, before anything runs.

Everything that can be wrong is told with the file and the line: what its lines ask for that no arithmetic has, sizes
that do not fit, and results that the cell does not declare.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import traceback
from pathlib import Path
from typing import Any

from rnnspect.cells.interface import Cell
from rnnspect.cells.sizes import counted
from rnnspect.cells.trial import FUNCTIONS, Trial, sizes_on_trial, tried
from rnnspect.cells.trial_values import TrialValue, WrongLineError, in_words
from rnnspect.errors import InputError, in_one_line, listed

STATES = (("h",), ("h", "c"))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_EXAMPLES = {
    "parameters": '("u", ("hidden_size",))',
    "sizes": '("beta", ("heads",))',
    "cell_state": '("c", ("hidden_size",))',
}
_TRIALS = 8
"""So often the lines are tried: with a counter or at random they may do something else each time."""
_TAKEN = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch", "bias")
"""Names of parameters that are not the cell's own."""
_GIVEN = ("x", "input_projection", "hidden_projection")
"""What a trace calls the input of a layer, W_ih x + b_ih and W_hh h + b_hh."""


def check_cell(cell: Cell) -> None:
    """Raises `InputError` where a cell is not written as it has to be, with the file and the line."""
    _check_declared(cell)
    try:
        trial, given = tried(cell)
        uses = {tried(cell)[0].uses for _ in range(_TRIALS)}
    except WrongLineError as error:
        raise InputError(str(error), where=_line(error, cell), **error.said) from None
    except Exception as error:
        said = in_one_line(f"{type(error).__name__}: {error}").replace("Trial.", "a.")
        advice = f"the Cell(…) of {_declared(cell)} has {_unpacked(error, cell)}" if "unpack" in said else None
        found = f"the step of cell {cell.name} failed with {said}"
        raise InputError(found, where=_line(error, cell), advice=advice) from error
    _check_given(cell, given, trial)
    if uses != {trial.uses}:
        found = f"the step of cell {cell.name} does not do the same each time it is called"
        allowed = "the same lines for every step: many steps are computed at once"
        raise InputError(found, allowed=allowed, where=_start(cell))


def _check_declared(cell: Cell) -> None:
    """Raises `InputError` for fields that do not fit together."""

    def refuse(found: str, allowed: str) -> None:
        raise InputError(f"Cell(…) has {found}", allowed=allowed, where=_declared(cell))

    name: object = cell.name  # whatever their file says
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        refuse(f"name={cell.name!r}", "letters, digits and _, such as name='mgu'")
    if cell.torch_name:
        refuse(f"torch_name={cell.torch_name!r}", "torch_name='': no module of torch.nn runs a cell of your own")
    for field in ("gates", "states", "quantities", "functions", "peepholes"):
        names = getattr(cell, field)
        if not isinstance(names, tuple) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
            refuse(f"{field}={names!r}", f'a tuple of names, such as {field}=("{"f" if field != "states" else "h"}",)')
        if len(set(names)) < len(names):
            refuse(f"{field}={names!r}", "each name once")
    if not cell.gates:
        refuse("no gates", 'the blocks of rows of weight_ih and weight_hh, such as gates=("f", "n")')
    if cell.states not in STATES:
        refuse(f"states={cell.states!r}", " or ".join(map(str, STATES)))
    if other := [name for name in cell.gates if name not in cell.quantities]:
        said = f"quantities={(*other, *cell.quantities)!r}"
        refuse(f"no {listed(other)} among its quantities", f"every gate is a quantity, too: {said}")
    if unknown := [name for name in cell.functions if name not in FUNCTIONS]:
        refuse(f"functions with {listed(unknown)}", listed(FUNCTIONS))
    numbers: Any = cell.constants
    if not isinstance(numbers, tuple) or not all(_is_number(one) for one in numbers):
        refuse(f"constants={numbers!r}", 'pairs of a name and a finite number: constants=(("dt", 0.1),)')
    if missing := [name for name in cell.states if name not in cell.quantities]:
        refuse(f"no {listed(missing)} among its quantities", "every state is a quantity, too")
    if taken := [name for name in cell.quantities if name in _GIVEN]:
        refuse(f"{listed(taken)} among its quantities", "another name: that is what a step is given")
    for field, example in _EXAMPLES.items():
        if (wrong := _wrong_shapes(cell, getattr(cell, field))) is not None:
            refuse(f"{field} with {wrong}", f"names with their shapes: {field}=({example},)")
    if others := [name for name, _ in cell.sizes if name not in cell.gates]:
        refuse(f"sizes of {listed(others)}", f"sizes of gates: {listed(cell.gates)}")
    if cell.is_recurrent and not cell.has_projection_of_x:
        refuse("recurrent weights and no projection of x", "is_recurrent=False, where x is what goes into the gates")
    takes, expected = inspect.signature(cell.step), ("a", "wx", *cell.states)
    try:
        takes.bind(*expected)
    except TypeError:
        refuse(f"a step with the parameters {takes}", f"({listed(expected)}), as its states say")
    if not cell.cell_state:
        refuse("no cell_state", 'its blocks with their shapes: cell_state=(("c", ("hidden_size",)),)')


def _wrong_shapes(cell: Cell, found: Any) -> str | None:
    """What is no name with a shape, in words."""
    if not isinstance(found, tuple):
        return repr(found)
    for at, one in enumerate(found):
        name, shape = one if isinstance(one, tuple) and len(one) == 2 else (None, None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(shape, tuple) or not shape:
            return repr(one)
        if name in _TAKEN or name in dict(found[:at]):
            return f"the name {name!r}, which is taken"
        for size in shape:
            if (wrong := wrong_size(cell, size)) is not None:
                return f"{name} of the shape {shape}: {wrong}"
    return None


def wrong_size(cell: Cell, size: Any) -> str | None:
    """Why something is no size of a cell, in words."""
    if type(size) not in (int, str) or (isinstance(size, int) and size < 1):
        return f"{size!r} is not a size"
    try:
        counted(size, sizes_on_trial(cell))
    except ValueError as error:
        return str(error)
    return None


def _is_number(pair: Any) -> bool:
    """Whether it is a name and a finite number."""
    fits = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
    return fits and type(pair[1]) in (int, float) and math.isfinite(pair[1])


def _check_given(cell: Cell, given: Any, trial: Trial) -> None:
    """Raises `InputError` where the step returns something else than the quantities that the cell declares."""
    name = getattr(cell.step, "__name__", cell.name)

    def refuse(found: str, allowed: str, advice: str | None = None) -> None:
        raise InputError(f"{name} {found}", allowed=allowed, where=_start(cell), advice=advice)

    form = "{" + listed(f'"{one}": {one}' for one in cell.quantities) + "}"
    if not isinstance(given, dict):
        refuse(f"returns {in_words(given)}", form)
    if missing := [one for one in cell.quantities if one not in given]:
        refuse(f"returns no {listed(missing)}", form)
    if more := [one for one in given if one not in cell.quantities]:
        refuse(f"returns {listed(map(str, more))}, which its quantities do not name", listed(cell.quantities))
    for one in cell.quantities:
        size = {"h": trial.h.size, "c": trial.c.size}.get(one, None if cell.has_own_sizes else trial.hidden_size)
        if not isinstance(given[one], TrialValue) or (size and given[one].size != size):
            refuse(f"returns {in_words(given[one])} for {one}", f"a value of {size or trial.hidden_size} units")
    if trial.normalises and not cell.mixes:
        refuse("normalises a value, so that each unit depends on all", "mixes=True in its Cell", "add it")
    if cell.is_recurrent and not trial.is_recurrent:
        allowed = "a.gates(wx, h) or a.hidden(h), or a cell without recurrent weights"
        refuse("never multiplies W_hh with h", allowed, "write is_recurrent=False in its Cell")
    if trial.mixes and not cell.mixes:
        refuse("multiplies W_hh with something else than h", "mixes=True in its Cell", "add it")


def _start(cell: Cell) -> str | None:
    """The file and the line where the step begins."""
    code = getattr(cell.step, "__code__", None)
    return f"{_short(code.co_filename)}:{code.co_firstlineno}" if code else None


def _declared(cell: Cell) -> str | None:
    """The file and the line of its Cell(…); where none in the file of its step has that step, where the step begins."""
    code, name = getattr(cell.step, "__code__", None), getattr(cell.step, "__name__", None)
    if code is None:
        return None
    try:
        tree = ast.parse(Path(code.co_filename).read_bytes())
    except (OSError, SyntaxError, ValueError):  # it is not what was run any more
        return _start(cell)
    calls = (one for one in ast.walk(tree) if isinstance(one, ast.Call))
    for one in calls:
        given = map(ast.unparse, (*one.args, *(keyword.value for keyword in one.keywords)))
        if ast.unparse(one.func).rpartition(".")[2] == "Cell" and str(name) in given:
            return f"{_short(code.co_filename)}:{one.lineno}"
    return _start(cell)


def _unpacked(error: Exception, cell: Cell) -> str:
    """What a line of the step takes apart: the blocks of the cell state, or the gates."""
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    blocks = listed(name for name, _ in cell.cell_state)
    return f"the cell_state blocks {blocks}" if ".blocks(" in line else f"the gates {listed(cell.gates)}"


def _line(error: Exception, cell: Cell) -> str | None:
    """The last line of the cell's file that led to an error."""
    code = getattr(cell.step, "__code__", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if code and frame.filename == code.co_filename:
            return f"{_short(frame.filename)}:{frame.lineno}"
    return _start(cell)


def _short(file: str) -> str:
    """A file's name as it is read best: from here, where it is below."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
