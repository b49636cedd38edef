"""Defines what a reader is: it reads one kind of file with recurrent modules, which every command accepts as source.

The `READERS` of a module of this folder are those of the kinds of files that it reads; `READERS` in `__init__.py` lists
all kinds. Nothing that a file names is imported or run, and `tell` loads no framework: shapes are shown at once.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rnnspect.errors import FileError, RnnspectError, WeightsError, in_one_line, listed, nearest
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.reading import Tensors
from rnnspect.network.parameters import module_repr
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import DTYPES

if TYPE_CHECKING:
    from torch import Tensor


MOST_NOTE = 500
"""Characters of a note."""
MOST_LISTED = 12
"""Modules that a message names before it counts the rest."""
T = TypeVar("T")
USUAL = {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}
"""The functions of each cell in PyTorch, in the order of a spec's `activations`."""


@dataclass(frozen=True)
class Told:
    """What a file tells of one module in it, without its numbers."""

    keys: dict[str, Any]
    """Keys of a spec; `weights` is the file, with the module after a colon where it has to be said."""
    source: str
    """The module as messages call it: FILE or FILE:MODULE."""
    reads_from: str = ""
    """The name of the module whose output it takes as x, where the file or its names and sizes say so."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of how it was read."""
    untold: tuple[str, ...] = ()
    """Keys of a spec that the file cannot tell: a note says which value is taken."""
    others: int = 0
    """How many tensors of the file belong to no recurrent module."""

    def __post_init__(self) -> None:
        """Names of the file are in the source and in the notes: each stays one line of a bounded length."""
        object.__setattr__(self, "source", in_one_line(self.source))
        object.__setattr__(self, "notes", tuple(in_one_line(note, MOST_NOTE) for note in self.notes))


@dataclass(frozen=True)
class StoredParameters:
    """The parameters of one module."""

    parameters: dict[str, Tensor]
    """By PyTorch's name, such as weight_ih_l0_reverse."""
    names: dict[str, str] = field(default_factory=dict)
    """By PyTorch's name what the file calls the array that a parameter comes from, for messages."""


@dataclass(frozen=True)
class Module:
    """One recurrent module of a file. Both functions raise `WeightsError` for shapes that do not fit each other, and
    `FileError` for a module that no spec describes."""

    tell: Callable[[], Told]
    read: Callable[[Spec], StoredParameters]
    """The parameters of the module that the spec describes."""
    in_stack: bool = False
    """Whether another module, a stack, has it as a layer: then it is taken only where it is named."""
    takes: int = 0
    """How many tensors of the file are its own, where several readings of the same tensors are compared."""


@dataclass(frozen=True)
class Reader:
    """One kind of file."""

    what: str
    """What a file of this kind is called: a TorchScript archive."""
    recognises: Callable[[Glimpse], bool]
    """Whether the content is of this kind. Never raises."""
    modules: Callable[[Path, Mapping[str, Any]], Mapping[str, Module]]
    """Every recurrent module in a file by its name, in the order of the file. The second argument holds the keys of a
    spec that are known already (cell, dtype, layout, …), which may decide between several readings.

    Raises `FileError` for a file that is broken or holds no recurrent module.
    """
    ends: tuple[str, ...] = ()
    """How names of such files end: it decides whose message a file gets whose content nobody recognises."""
    engine: str = "torch"
    """The engine for a network that no module of torch.nn computes, where the user names none."""
    noun: str = "module"
    """What messages call a recurrent module of such a file."""
    tensors: Callable[[Path], Tensors] | None = None
    """Every tensor of a file by its name there; None for a format in which names alone say nothing."""


def matching(held: Mapping[str, T], name: str | None, where: str, noun: str, say: Callable[[T], str]) -> dict[str, T]:
    """The one of that name; where none has it, all that match it as a pattern, such as encoder.*; all where `name` is
    None.

    `say` puts one in words. Raises `FileError` that lists every one where none matches.
    """
    if name is None or name in held:
        return {known: one for known, one in held.items() if name in (None, known)}
    if found := {known: one for known, one in held.items() if fnmatch.fnmatchcase(known, name)}:
        return found
    choices = listed((f"{known!r} {say(one)}" for known, one in held.items()), MOST_LISTED)
    raise FileError(f"there is no {noun} {name!r}", allowed=choices, nearest=nearest(name, held), where=where)


def only(
    found: Mapping[str, T], where: str, noun: str, say: Callable[[T], str], how: str = "choose one with --module:"
) -> T:
    """The only one of what a file holds; `how` says in a message how one is named. Raises `FileError` for several."""
    if len(found) == 1:
        return next(iter(found.values()))
    choices = listed((f"{known!r} {say(one)}" for known, one in found.items()), MOST_LISTED)
    raise FileError(f"the file has {len(found)} recurrent {noun}s", advice=f"{how} {choices}", where=where)


def spec_with(keys: Mapping[str, Any], where: str) -> Spec:
    """The spec of a module with these keys, whose x nobody knows. Raises `SpecError` that names `where`."""
    return Spec.from_data({**keys, "input": None}, lambda _keys: where)


def in_words(keys: Callable[[], Mapping[str, Any]]) -> str:
    """The module with these keys of a spec: (LSTM(3, 4)); or why it is none."""
    try:
        return f"({module_repr(Spec(**{'batch_first': False, 'input': None, **keys()}))})"
    except RnnspectError as error:
        return f"(unusable: {error.problems[0].found})"


def dtype_of(dtypes: Iterable[str], asked: str | None, where: str, what: str = "parameters") -> dict[str, str]:
    """The key `dtype` of a spec for parameters stored in these; none where a dtype was asked for.

    Raises `WeightsError` for a dtype that no spec has, and for several where none was asked for.
    """
    names = list(dict.fromkeys(dtypes))
    if unknown := [name for name in names if name not in DTYPES]:
        raise WeightsError(f"{what} of dtype {listed(unknown)}", allowed=listed(DTYPES), where=where)
    if asked is None and len(names) > 1:
        found = f"{what} of several dtypes: {' and '.join(names)}"
        raise WeightsError(found, advice="choose one with --dtype", where=where)
    return {} if asked else {"dtype": names[0]}


def refuse_contradiction(keys: Mapping[str, Any], config: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Raises `WeightsError` where a config says something else than the shapes of the weights do in one of these keys
    of a spec."""
    for key in names:
        if key in config and key in keys and config[key] != keys[key]:
            found = f"the file contradicts itself: {key} is {config[key]} in its config and {keys[key]} in its weights"
            raise WeightsError(found, where=where)


def refuse_other_reset(own: str | None, wanted: str | None, where: str) -> None:
    """Raises `WeightsError` for a GRU whose other form a spec wants: no shape shows the difference."""
    if own != wanted:
        found = f"this GRU applies the reset gate {own} the matrix product"
        raise WeightsError(found, advice=f"use reset: {own}", where=where)


def starts_elsewhere(options: Iterable[str]) -> list[str]:
    """What to say of a module whose file holds initial states that are not zero, by the options that give them: h0,
    c0. It goes on after "note: FILE:NAME "; empty where there are none."""
    flags = " and ".join(f"--{name}" for name in options)
    here = f"here it starts from zeros unless you give {flags}"
    return [f"starts from a state in the file that is not zero; {here}"] if flags else []


def functions_of(cell: str, functions: list[str]) -> dict[str, Any]:
    """The keys of a spec for a cell with these functions, of one direction or of both: none where they are not known,
    or usual, but for the one of a plain RNN, of which a spec has the name."""
    if cell == "rnn" and len(set(functions)) == 1 and functions[0] in ("tanh", "relu"):
        return {"nonlinearity": functions[0]}
    return {} if functions in ([], USUAL[cell], 2 * USUAL[cell]) else {"activations": functions}


def unique(name: str, taken: Container[str]) -> str:
    """The name, or name#2, name#3, … where it is taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}#{count}"
    return found


def whole(groups: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    """The groups of names that are no part of a larger one of these groups."""
    every = set(groups)
    with_name: dict[str, list[frozenset[str]]] = defaultdict(list)
    for group in every:
        for name in group:
            with_name[name].append(group)
    return {group for group in every if not any(group < other for other in with_name[next(iter(group))])}
