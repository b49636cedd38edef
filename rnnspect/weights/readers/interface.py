"""What a reader is: one kind of file with recurrent modules in it, which every command takes as its source.

A module of this folder that defines `READER` reads one kind; `READERS` in `__init__.py` lists them by the ends of file
names. Nothing that a file names is imported or run, and `tell` loads no framework, so that shapes are shown at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from rnnspect.errors import FileError, RnnspectError, WeightsError, listed, nearest
from rnnspect.network.keys import DTYPES
from rnnspect.network.parameters import module_repr
from rnnspect.network.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path

    from torch import Tensor

T = TypeVar("T")
_USUAL = {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}
"""The functions of each cell in PyTorch, in the order of a spec's `activations`."""


@dataclass(frozen=True)
class Told:
    """What a file tells of one module in it, without its numbers."""

    keys: dict[str, Any]
    """Keys of a spec; `weights` is the file, with the module after a colon where it has to be said."""
    source: str
    """The module as messages call it: FILE or FILE:MODULE."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of how it was read."""
    untold: tuple[str, ...] = ()
    """Keys of a spec that the file cannot tell: a note says which value is taken."""
    others: int = 0
    """How many tensors of the file are not the module's."""


@dataclass(frozen=True)
class StoredParameters:
    """The parameters of one module."""

    parameters: dict[str, Tensor]
    """By PyTorch's name, such as weight_ih_l0_reverse."""
    names: dict[str, str] = field(default_factory=dict)
    """By PyTorch's name what the file calls the array that a parameter comes from, for messages."""


@dataclass(frozen=True)
class Reader:
    """One kind of file. Both functions take the file and the module's name, None for the only one in it.

    Both raise `FileError` for a file that is broken, holds no such module, or several where none is named, and
    `WeightsError` for shapes that do not fit each other.
    """

    tell: Callable[[Path, str | None, Mapping[str, Any]], Told]
    """The third argument holds the keys of a spec that flags say, which may decide between several readings."""
    read: Callable[[Path, str | None, Spec], StoredParameters]
    """The parameters of the module that the spec describes."""
    engine: str = "torch"
    """The engine for a network that no module of torch.nn computes, where the user names none."""


def choose(
    held: Mapping[str, T],
    name: str | None,
    where: str,
    kind: str,
    keys: Callable[[T], dict[str, Any]],
    how: str = "--module with",
) -> T:
    """The one of that name, or the only one, of what a file holds.

    `kind` is what they are called in a message (module, layer, node), `keys` gives the spec of one, and `how` says how
    a name is given. Raises `FileError` that lists every one.
    """
    if name is not None and name in held:
        return held[name]
    if name is None and len(held) == 1:
        return next(iter(held.values()))
    choices = listed(f"{known!r} {_in_words(one, keys)}" for known, one in held.items())
    if name is None:
        raise FileError(f"it holds {len(held)} recurrent {kind}s", allowed=f"{how} one of {choices}", where=where)
    raise FileError(f"no {kind} {name!r} is in it", allowed=choices, nearest=nearest(name, held), where=where)


def _in_words(one: T, keys: Callable[[T], dict[str, Any]]) -> str:
    try:
        return f"({module_repr(Spec(**{'batch_first': False, 'input': None, **keys(one)}))})"
    except RnnspectError as error:
        return f"(unusable: {error.problems[0].found})"


def dtype_of(dtypes: Iterable[str], asked: str | None, where: str, what: str = "parameters") -> dict[str, str]:
    """The key `dtype` of a spec for parameters stored in these; none where a dtype was asked for.

    Raises `WeightsError` for a dtype that no spec has, and for several where none was asked for.
    """
    names = list(dict.fromkeys(dtypes))
    if unknown := [name for name in names if name not in DTYPES]:
        raise WeightsError(f"{what} stored as {listed(unknown)}", allowed=listed(DTYPES), where=where)
    if asked is None and len(names) > 1:
        raise WeightsError(f"{what} in {' and '.join(names)}", allowed="one dtype, or --dtype", where=where)
    return {} if asked else {"dtype": names[0]}


def functions_of(cell: str, functions: list[str]) -> dict[str, Any]:
    """The keys of a spec for a cell with these functions, of one direction or of both; none where they are usual."""
    if functions in ([], _USUAL[cell], 2 * _USUAL[cell]):
        return {}
    return {"nonlinearity": "relu"} if cell == "rnn" and set(functions) == {"relu"} else {"activations": functions}


def unique(name: str, taken: Container[str]) -> str:
    """The name, or name#2, name#3, … where it is taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}#{count}"
    return found
