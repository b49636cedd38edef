"""Tries the lines of somebody's own cell before anything runs, on values that have a size and no numbers.

Everything that can be wrong with such lines is found here, and told with the file and the line: what they ask for that
no arithmetic has, sizes that do not fit, and results that the cell does not declare.
"""

from __future__ import annotations

import functools
import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnspect.cells.functions import CHOSEN, FIXED
from rnnspect.cells.interface import Cell
from rnnspect.errors import InputError, in_one_line, listed, nearest

FUNCTIONS = (*CHOSEN, *FIXED)
OPERATIONS = ("hidden", "split", "gates", *FUNCTIONS, "rest", "lerp", "carry", "peepholes", "constant", "project")
"""What every arithmetic has, by its name in `Arithmetic`."""
STATES = (("h",), ("h", "c"))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ADDED = 1 << 20
_ONE_SUM = "of each gate one sum, W_ih x + b_ih and all that is added to it"
_INSTEAD = "a.rest(v) is 1 − v, a.lerp(n, h, z) is n + z ⊙ (h − n), and a.constant(…) * v has a number of the cell"


class _WrongError(Exception):
    """What a line does that it must not."""

    def __init__(self, found: str, allowed: str = "", near: str | None = None, advice: str = "") -> None:
        super().__init__(found)
        self.said: dict[str, Any] = {"allowed": allowed, "nearest": near, "advice": advice}


class _Value:
    """A vector of which only the size is known, in words."""

    def __init__(self, size: str, is_carried: bool = False, gate: str = "", is_share: bool = False) -> None:
        self.size, self.gate = size, gate
        """The gate whose pre-activation it is, or W_ih x + b_ih on the way to that."""
        self.is_carried = is_carried
        """Whether it is the cell state of the step before, which nobody has observed."""
        self.is_share = is_share
        """Whether all its numbers are from 0 to 1."""
        self.uses = 0

    def __add__(self, other: object) -> _Value:
        size, parts = _one_size("+", self, other), [one for one in (self, other) if isinstance(one, _Value)]
        gates = [one for one in parts if one.gate]
        if len(gates) > 1:
            raise _WrongError(f"this adds what goes into {gates[0].gate} to what goes into {gates[1].gate}", _ONE_SUM)
        for one in gates:
            if one.uses > 1:
                raise _WrongError(f"W_ih x of gate {one.gate} is added here and used elsewhere", _ONE_SUM)
            one.uses = _ADDED
        return _Value(size, gate=gates[0].gate if gates else "")

    def __mul__(self, other: object) -> _Value:
        if isinstance(other, _Number):
            raise _WrongError("a number is on the right of a product", "it on the left: a.constant(…) * v")
        return _Value(_one_size("*", self, other))

    def _refuse(self, *_others: object) -> _Value:
        raise _WrongError("this is no operation between values", "v + w or v * w of two values", advice=_INSTEAD)

    __radd__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = __pow__ = __matmul__ = _refuse


class _Number:
    """A number of the cell's own."""

    def __mul__(self, other: object) -> _Value:
        return _Value(_one_size("*", other))

    def _refuse(self, *_others: object) -> _Value:
        raise _WrongError("a number is only multiplied", "a.constant(…) * v")

    __add__ = __radd__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = _refuse


class _Packed:
    """W v + b of all gates, one block after the other."""

    def __init__(self, gates: tuple[str, ...]) -> None:
        self.gates, self.uses = gates, 0
        """Of W_ih x + b_ih the names of the gates."""

    def _refuse(self, *_others: object) -> _Value:
        raise _WrongError("this value holds the blocks of all gates", "a.split(…) of it, a block for each gate")

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _refuse


class _Trial:
    """The arithmetic in which a cell's lines are tried."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.h = _Value("proj_size" if cell.has_projection else "hidden_size")
        self.mixes = False
        """Whether W_hh was multiplied with anything but h."""
        self.by_shares = True
        """Whether no cell state was carried by anything but a share, such as a gate that σ gives."""
        self.wx = _Packed(cell.gates)
        self._peepholes = [_Value("hidden_size") for _ in cell.peepholes]

    def hidden(self, h: object) -> _Packed:
        if not self._cell.is_recurrent:
            raise _WrongError("the cell has no recurrent weights", advice="leave is_recurrent=False out of its Cell")
        _one_size("a.hidden", self.h, h)
        self.mixes |= h is not self.h
        return _Packed(("",) * len(self._cell.gates))

    def split(self, packed: object) -> tuple[_Value, ...]:
        if not isinstance(packed, _Packed):
            raise _WrongError(f"a.split of {_in_words(packed)}", "wx, or a.hidden(h)")
        if packed is self.wx:
            packed.uses += 1
            if packed.uses > 1:
                raise _WrongError("wx is taken apart a second time", "one a.split(wx) or a.gates(wx, h)")
        return tuple(_Value("hidden_size", gate=gate) for gate in packed.gates)

    def gates(self, wx: object, h: object) -> tuple[_Value, ...]:
        self.hidden(h)
        return self.split(wx)

    def peepholes(self) -> tuple[_Value, ...]:
        if not self._cell.peepholes:
            raise _WrongError("the cell has no peepholes", 'peepholes=("u", …), a vector of weights for each')
        return tuple(self._peepholes)

    def constant(self, name: str) -> _Number:
        known = dict(self._cell.constants)
        if name not in known:
            near, allowed = nearest(str(name), known), listed(known) or f"constants=(({str(name)!r}, 0.5),) in its Cell"
            raise _WrongError(f"the cell has no number {name!r}", allowed, near)
        return _Number()

    def rest(self, v: object) -> _Value:
        return _Value(_one_size("a.rest", v), is_share=isinstance(v, _Value) and v.is_share)

    def lerp(self, n: object, h: object, z: object) -> _Value:
        return _Value(_one_size("a.lerp", n, h, z))

    def carry(self, f: object, c: object, v: object) -> _Value:
        if not isinstance(c, _Value) or not c.is_carried:
            raise _WrongError(f"a.carry of {_in_words(c)}", "a.carry(f, c, v), where c is the state of the step before")
        self.by_shares &= isinstance(f, _Value) and f.is_share
        return _Value(_one_size("a.carry", f, v))

    def project(self, m: object) -> _Value:
        _one_size("a.project", _Value("hidden_size"), m)
        return _Value(self.h.size)

    def __getattr__(self, name: str) -> Callable[[object], _Value]:
        if name not in FUNCTIONS:
            raise _WrongError(f"there is no operation a.{name}", listed(OPERATIONS), nearest(name, OPERATIONS))
        if name not in self._cell.functions:
            said = f"functions={(*self._cell.functions, name)!r}"
            raise _WrongError(f"a.{name} is not among the functions of the cell", advice=f"write {said} in its Cell")
        return lambda v: _Value(_one_size(f"a.{name}", v), is_share=name == "sigmoid")


def check_cell(cell: Cell) -> None:
    """Raises `InputError` where a cell is not written as it has to be, with the file and the line."""
    _check_declared(cell)
    try:
        trial, given = _tried(cell)
    except _WrongError as error:
        raise InputError(str(error), where=_line(error, cell), **error.said) from None
    except Exception as error:
        said = in_one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"the step of cell {cell.name} failed with {said}", where=_line(error, cell)) from error
    _check_given(cell, given, trial)


@functools.cache
def carries_by_shares(cell: Cell) -> bool:
    """Whether what carries the cell state on is from 0 to 1, where σ is: then many steps can be bounded together."""
    return _tried(cell)[0].by_shares


def _tried(cell: Cell) -> tuple[_Trial, Any]:
    trial = _Trial(cell)
    states = [trial.h, _Value("hidden_size", is_carried=not cell.peepholes)][: len(cell.states)]
    return trial, cell.step(trial, trial.wx, *states)


def _check_declared(cell: Cell) -> None:
    """Raises `InputError` for fields that do not fit together."""
    where = _start(cell)

    def refuse(found: str, allowed: str) -> None:
        raise InputError(f"Cell(…) has {found}", allowed=allowed, where=where)

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
        refuse(f"no {listed(other)} among its quantities", "every gate is a quantity, too")
    if unknown := [name for name in cell.functions if name not in FUNCTIONS]:
        refuse(f"functions with {listed(unknown)}", listed(FUNCTIONS))
    numbers: Any = cell.constants
    if not isinstance(numbers, tuple) or not all(_is_number(one) for one in numbers):
        refuse(f"constants={numbers!r}", 'pairs of a name and a finite number: constants=(("dt", 0.1),)')
    if missing := [name for name in cell.states if name not in cell.quantities]:
        refuse(f"no {listed(missing)} among its quantities", "every state is a quantity, too")


def _is_number(pair: Any) -> bool:
    """Whether it is a name and a finite number."""
    fits = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
    return fits and type(pair[1]) in (int, float) and math.isfinite(pair[1])


def _check_given(cell: Cell, given: Any, trial: _Trial) -> None:
    """Raises `InputError` where the step returns something else than the quantities that the cell declares."""
    name = getattr(cell.step, "__name__", cell.name)

    def refuse(found: str, allowed: str, advice: str | None = None) -> None:
        raise InputError(f"{name} {found}", allowed=allowed, where=_start(cell), advice=advice)

    form = "{" + listed(f'"{one}": {one}' for one in cell.quantities) + "}"
    if not isinstance(given, dict):
        refuse(f"returns {_in_words(given)}", form)
    if missing := [one for one in cell.quantities if one not in given]:
        refuse(f"returns no {listed(missing)}", form)
    if more := [one for one in given if one not in cell.quantities]:
        refuse(f"returns {listed(map(str, more))}, which its quantities do not name", listed(cell.quantities))
    for one in cell.quantities:
        size = trial.h.size if one == "h" else "hidden_size"
        if not isinstance(given[one], _Value) or given[one].size != size:
            refuse(f"returns {_in_words(given[one])} for {one}", f"a value of {size} units")
    if trial.mixes and not cell.mixes:
        refuse("multiplies W_hh with something else than h", "mixes=True in its Cell", "add it")


def _one_size(operation: str, *values: object) -> str:
    """The size that all of these have. Raises `_WrongError` where one is no value, or has another size."""
    for one in values:
        if isinstance(one, _Packed | _Number):
            one._refuse()
        if not isinstance(one, _Value):
            raise _WrongError(f"{operation} of {_in_words(one)}", "a value, such as a gate or a state")
        if one.is_carried:
            advice = "c of the step before is used in a.carry(f, c, v) alone, unless the cell has peepholes"
            raise _WrongError(f"{operation} of the cell state of the step before", advice=advice)
        one.uses += 1
        if one.uses > _ADDED:
            raise _WrongError(f"W_ih x of gate {one.gate} is added elsewhere and used here", _ONE_SUM)
    sizes = [one.size for one in values if isinstance(one, _Value)]
    if len(set(sizes)) > 1:
        raise _WrongError(f"{operation} of values of {' and '.join(dict.fromkeys(sizes))} units", "values of one size")
    return sizes[0]


def _in_words(found: object) -> str:
    if isinstance(found, _Packed):
        return "the blocks of all gates"
    return f"a value of {found.size} units" if isinstance(found, _Value) else f"a {type(found).__name__}"


def _start(cell: Cell) -> str | None:
    """The file and the line where the step begins."""
    code = getattr(cell.step, "__code__", None)
    return f"{_short(code.co_filename)}:{code.co_firstlineno}" if code else None


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
