"""The values of options: from what was typed to what a spec takes."""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from rnnspect.cells import Cell
from rnnspect.engines.own.loading import CELL_FORM, load_cell, names_code
from rnnspect.errors import InputError


def flag(name: str) -> str:
    """The option of that name: --hidden-size."""
    return "--" + name.replace("_", "-")


def names_in(text: str | None) -> dict[str, str] | None:
    """What --names says: weight_ih_l0=enc_w_ih,weight_hh_l0=enc_w_hh."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if bad := next((name or theirs for name, _, theirs in pairs if not name.strip() or not theirs.strip()), None):
        raise InputError(f"cannot read {bad!r}", allowed="weight_ih_l0=NAME,weight_hh_l0=NAME,…", where="--names")
    return {name.strip(): theirs.strip() for name, _, theirs in pairs}


def types_of(annotation: Any) -> list[Any]:
    """The types that a key may have, but for None: [int] of Annotated[int, …] | None."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return types_of(inner[0])
    if origin in (Union, UnionType):
        return [one for part in inner for one in types_of(part)]
    return [] if annotation is NoneType else [annotation]


def _cell(typed: str) -> str | Cell:
    """The name of a cell, or the cell that mine.py:NAME names."""
    if names_code(typed):
        return load_cell(typed)
    if (file := typed.removesuffix(":")).endswith(".py"):
        advice = f"name it after a colon: --cell {file}:NAME; rnnspect init --cell {file} writes a new file"
        raise InputError(f"{typed!r} names no cell", allowed=CELL_FORM, where="--cell", advice=advice)
    return typed


def parsed(name: str, value: Any) -> Any:
    """The value of a key as a spec has it, from what its option took. A cell in a file of the user's is loaded."""
    if name == "cell":
        return _cell(value)
    from rnnspect.network.spec_keys import Head, Keys

    kind = types_of(Keys.model_fields[name].annotation)[0]
    if kind is Head:
        return {"out_features": value}
    if get_origin(kind) is not list:
        return value
    text = value.strip("[] ")
    if types_of(get_args(kind)[0]) == [str]:
        return [part.strip() for part in re.split(r",(?![^()]*\))", text)]  # not at commas in parentheses
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{value!r} is not a list of whole numbers", allowed="5,3,2", where=flag(name)) from None
