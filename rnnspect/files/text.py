"""Numbers as text: nested lists in JSON or YAML, rows in .csv and .tsv."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import SequenceError
from rnnspect.files import free_memory
from rnnspect.files.reading import decoded, read_bytes, size_of

_Place = Callable[[tuple[int, ...]], str]

MAX_BYTES = 2**31
NUMBERS = "numbers as text"
MAX_AXES = 8
_SEVERAL = re.compile(r"[-+.eE\d]+([;,|\s]+[-+.eE\d]+)+")
_NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE)


def read_text(path: Path, memory_per_byte: int) -> str:
    """The text of a file, if the numbers that it becomes fit in memory."""
    free_memory.require(size_of(path) * memory_per_byte, "reading this file", str(path))
    return decoded(read_bytes(path, MAX_BYTES), str(path), NUMBERS)


def parse_json(text: str, where: str) -> Tensor:
    """Nested lists of numbers in JSON as a float64 tensor. Raises `SequenceError` as `from_lists` and for no JSON."""
    try:
        numbers = json.loads(text, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise SequenceError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}") from None
    except RecursionError:
        raise SequenceError("the lists are nested too deeply", allowed="2 or 3 levels", where=where) from None
    return from_lists(numbers, lambda at: where + "".join(f"[{step}]" for step in at))


def from_lists(numbers: Any, where: _Place) -> Tensor:
    """Nested lists of numbers as a float64 tensor. Raises `SequenceError` for ragged or non-numeric rows."""
    flat: list[float] = []
    shape = _shape(numbers)
    _flatten(numbers, shape, (), flat, where)
    return torch.tensor(flat, dtype=torch.float64).reshape(shape)


def parse_rows(text: str, separator: str, where: str) -> Tensor:
    """Rows of numbers as a float64 tensor (rows, columns). Empty lines and lines that begin with # are skipped.

    Raises `SequenceError` for anything that is not a number, for rows of different lengths, and for a first row
    0, 1, 2, …, as pandas writes above its columns, where all others have decimals.
    """
    rows: list[list[float]] = []
    numbered: int | None = None
    for line_number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not rows and _numbers_columns(line.split(separator)):
            numbered = line_number
        elif rows and numbered and "." not in line:  # it is written as the others are
            numbered = None
        row = _row(line, separator, f"{where}:{line_number}", first=not rows)
        if rows and len(row) != len(rows[0]):
            count = "1 number" if len(row) == 1 else f"{len(row)} numbers"
            found = f"this row has {count}, the first row has {len(rows[0])}"
            raise SequenceError(found, where=f"{where}:{line_number}")
        rows.append(row)
    if not rows:
        raise SequenceError("the file has no rows of numbers", where=where)
    if numbered and len(rows) > 1:
        advice = "leave it out (header=False in pandas) or begin it with #; if it is a step, write 0.0, 1.0, …"
        raise SequenceError("this line numbers the columns", advice=advice, where=f"{where}:{numbered}")
    return torch.tensor(rows, dtype=torch.float64)


def _whole(digits: str) -> float:
    """An integer; infinity for one of thousands of digits, which Python's `int` refuses."""
    return int(digits) if len(digits) < 400 else float(digits)


def _numbers_columns(cells: list[str]) -> bool:
    return len(cells) > 1 and [cell.strip() for cell in cells] == [str(n) for n in range(len(cells))]


def _row(line: str, separator: str, where: str, first: bool) -> list[float]:
    row: list[float] = []
    column = 1
    for cell in line.split(separator):
        try:
            row.append(float(cell.replace("_", "x")))  # Python takes 1_0 for 10, no table does
        except ValueError:
            found = f"{_short(cell.strip())} is not a number" if cell.strip() else "this cell is empty"
            advice = "start a header line with #" if first and not row else None
            if advice and not cell.strip():
                advice = "pandas begins an index and its header so: leave both out (index=False, header=False)"
            if _SEVERAL.fullmatch(cell.strip()):
                advice = f"write {'commas' if separator == ',' else 'tabs'} between numbers, and points in them"
            raise SequenceError(found, advice=advice, where=f"{where}:{column}") from None
        column += len(cell) + 1
    return row


def _shape(numbers: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(numbers, list) and len(shape) < MAX_AXES:
        shape.append(len(numbers))
        if not numbers:
            break
        numbers = numbers[0]
    return shape


def _flatten(numbers: Any, shape: list[int], at: tuple[int, ...], flat: list[float], where: _Place) -> None:
    if len(at) == len(shape):
        if isinstance(numbers, list):
            raise SequenceError("expected a number, got a list", where=where(at))
        flat.append(_number(numbers, where, at))
        return
    if not isinstance(numbers, list):
        raise SequenceError(f"expected a row of numbers, got {_short(numbers)}", where=where(at))
    if len(numbers) != shape[len(at)]:
        found = f"this row has length {len(numbers)}, the first has length {shape[len(at)]}"
        raise SequenceError(found, where=where(at))
    for index, item in enumerate(numbers):
        _flatten(item, shape, (*at, index), flat, where)


def _number(item: Any, where: _Place, at: tuple[int, ...]) -> float:
    if isinstance(item, int | float) and not isinstance(item, bool):
        try:
            return float(item)
        except OverflowError:
            return float("inf") if item > 0 else float("-inf")
    if isinstance(item, str) and _NOT_FINITE.fullmatch(item.strip()):
        return float(item)
    if isinstance(item, dict):
        allowed = "one array of numbers; several, by name, go into a .npz"
        raise SequenceError("a mapping of names is not a number", allowed=allowed, where=where(at))
    raise SequenceError(f"{_short(item)} is not a number", allowed="a number, NaN or Infinity", where=where(at))


def _short(item: Any) -> str:
    text = "null" if item is None else repr(item)
    return text if len(text) <= 60 else text[:57] + "..."
