"""What a command is asked about: a spec, from a file and options; and what runs of it."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect import engines
from rnnspect.cells import Cell, named
from rnnspect.cli.onnx_node_input import received
from rnnspect.cli.output import Output, loading
from rnnspect.cli.values import flag, names_in, parsed
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, Problem, SpecError, in_one_line, listed, written
from rnnspect.files.sources import Generator, parse, parse_file

if TYPE_CHECKING:
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec
    from rnnspect.weights.readers.interface import Module, Told

    _Where = Callable[[tuple[int | str, ...]], str]


_OF_FILE = ("module", "names")
"""Options that say what is meant in a file; the others are keys of a spec."""
MOST_LISTED = 6
"""Other modules that a note names before it counts the rest."""


@dataclass(frozen=True)
class Described:
    """A spec, and where each of its keys comes from."""

    spec: Spec
    where: _Where
    """From the path of a key in the spec to where it was given: a place in the file, or a flag."""
    notes: tuple[str, ...] = ()
    """Notes for the user, such as what a checkpoint does not say."""
    notes_of_a_run: tuple[str, ...] = ()
    """The notes for a command that runs the network: without the assumed order of the axes of x, which
    `running.note_axes` tells once x is read."""
    given: frozenset[str] = frozenset()
    """The keys that were given as flags."""
    received: Sequence | None = None
    """What it runs on, where that is not what the spec says."""

    def as_received(self, output: Output) -> Described:
        """With what a node of a model receives in its run, where the input is one of the model."""
        found = received(self.spec)
        for note in found[1] if found else ():
            output.note(note)
        return replace(self, received=found[0]) if found else self

    @property
    def engine(self) -> str:
        """The engine that runs it if none is named: torch; where no module of torch.nn computes the same, the file's
        own framework, or else ONNX Runtime. Raises `EngineError` where none of them is installed and can."""
        from rnnspect.weights import readers

        weights = self.spec.weights
        if not self.spec.beyond_torch or not isinstance(weights, str):
            return "torch"
        kind = readers.kind_of(parse_file(weights).path)
        if kind is None:
            return "torch"
        return engines.first_able((readers.find(kind).engine, "onnxruntime"), self.spec, weights)

    def engine_back(self, output: Output, usual: str | None = None) -> str:
        """The engine that runs it and gives its gradients if none is named, with a note where that is not the `usual`
        one. Raises `EngineError` where none is installed and can."""

        weights = self.spec.weights
        name = engines.first_going_back(self.spec, weights if isinstance(weights, str) else None)
        if usual is None and name != "torch":
            try:
                usual = self.engine
            except EngineError:
                return name
        if usual not in (None, name):
            why = self.spec.beyond_torch if usual == "torch" else f"{usual} has no gradients"
            what = f"the weights of {in_one_line(weights)}" if isinstance(weights, str) else "this network"
            output.note(f"note: {why}, so {name} runs {what}")
        return name


@dataclass(frozen=True)
class Describing:
    """One network that a file describes, not looked at yet."""

    noun: str
    """What messages call it: a module, layer or node."""
    made: Callable[[], Described]
    """Raises `SpecError` with every key that is wrong, or whose flag contradicts the file's parameters, and what the
    file's reader raises for a module that no spec describes."""
    reads_from: str = ""
    """The name of the module of the same file whose output it takes, where that is known."""


@dataclass(frozen=True)
class Given:
    """A file, and the options that describe a network and its sequence, as they were typed."""

    path: Path | None
    options: Mapping[str, Any]
    """`module`, `names` and the keys of a spec by name; None for what was not typed."""
    as_stored: bool = False
    """Whether the numbers of a file are wanted, not the dtype in which its framework computes with them."""

    @property
    def typed(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}

    @property
    def own_cell(self) -> str | None:
        """mine.py:NAME, if --cell names a cell in a file of the user's."""
        typed = self.options.get("cell")
        return typed if typed and names_code(typed) else None

    def describe(self, output: Output, the_only: bool = False, runs: bool = False) -> Described:
        """The spec that the file and the options describe together, with its notes on `output`; of several recurrent
        modules in the file the first, or an error where `the_only` is wanted. With `runs` nothing is said of the axes
        of x, which `running.note_axes` tells when x is there.

        Options win over the file, but not over what a checkpoint's shapes say.

        Raises `SpecError` naming every key that is wrong, and `InputError` for an option that cannot be read.
        """
        if self.path is not None and names_code(str(self.path)):
            allowed = "a spec or a file of weights; shapes, run, trace, derive, report and check take a live model"
            raise InputError("a live model", allowed=allowed, where=str(self.path))
        every = self.describe_every()
        first, *others = every.values()
        if others and the_only:
            from rnnspect.weights.readers.interface import only

            first = only(every, str(self.path), first.noun, _in_words)
        elif others:
            names = listed(map(repr, list(every)[1:]), MOST_LISTED)
            what = f"{len(every)} recurrent {first.noun}s; using the first, {next(iter(every))!r}"
            output.note(f"note: {self.path} has {what}; --module chooses another: {names}")
        described = first.made()
        for note in described.notes_of_a_run if runs else described.notes:
            output.note(note)
        return described.as_received(output)

    def describe_every(self, path: Path | None = None) -> dict[str, Describing]:
        """As `describe`, each recurrent module of the file by its name. Raises what `readers.modules_in` raises."""
        keys = {name: parsed(name, value) for name, value in self.typed.items() if name not in _OF_FILE}
        return describe_every(
            path or self.path, self.options["module"], keys, names_in(self.options.get("names")), self.as_stored
        )

    def as_typed(self, spec: Spec) -> str:
        """The same file and options for a shell."""
        parts = [str(self.path)] if self.path else []
        for name in sorted(self.typed, key=lambda name: (name not in _OF_FILE, name)):
            value = self.options[name] if name in (*_OF_FILE, "cell") else getattr(spec, name)
            value = self.options[name] if value is None else value  # as of what a node received from its model
            if isinstance(value, bool):
                parts.append(flag(name) if value else flag(f"no_{name}"))
            else:
                said = value.out_features if name == "head" else value
                parts += [flag(name), ",".join(map(str, said)) if isinstance(said, list) else str(said)]
        return shlex.join(parts)


def describe_every(
    path: Path | None,
    module: str | None,
    flags: dict[str, Any],
    names: dict[str, str] | None = None,
    as_stored: bool = False,
) -> dict[str, Describing]:
    """By the names of the modules in a file, which may be limited by a pattern, the spec that each describes together
    with flags, which are keys of a spec. A spec in YAML is the one module of its file, and has no name. `names` says by
    PyTorch's names what the file calls its tensors.

    Raises `FileError` for a file that is no spec and holds no such module.
    """
    if path is not None:
        from rnnspect.weights import readers  # which a network without a file does without

        with loading():
            if kind := readers.kind_of(path):
                asked, noun = flags | {"names": names, "as_stored": as_stored}, readers.find(kind).noun
                modules = readers.modules_in(path, asked, module)
                reads_from = readers.reads_from(modules) if len(modules) > 1 else {}
                return {
                    name: Describing(noun, functools.partial(_of_module, one, flags), reads_from.get(name, ""))
                    for name, one in modules.items()
                }
    for where, said in (("--module", module), ("--names", names)):
        if said is not None:
            raise InputError("needs a file of weights", where=where)
    return {"": Describing("network", functools.partial(_of_spec, path, flags))}


def _in_words(describing: Describing) -> str:
    from rnnspect.weights.readers.interface import in_words

    return in_words(lambda: describing.made().spec.model_dump())


def _of_module(module: Module, flags: dict[str, Any]) -> Described:
    with loading():
        return _with_flags(module.tell(), flags)


def _of_spec(path: Path | None, flags: dict[str, Any]) -> Described:
    """Raises `SpecError` with every key that is wrong."""
    from rnnspect.network.spec import Spec

    data: dict[str, Any] = {}
    in_file: _Where | None = None
    if path is not None:
        from rnnspect.files.yaml import read_spec_file  # loads yaml, which most commands do without

        data, in_file = read_spec_file(path)
    notes = _left_out(data, flags, str(path))

    def where(keys: tuple[int | str, ...]) -> str:
        return flag(str(keys[0])) if in_file is None or keys[0] in flags else in_file(keys)

    return Described(Spec.from_data(data | flags, where), where, notes, notes, frozenset(flags))


def _with_flags(told: Told, flags: dict[str, Any]) -> Described:
    """The spec of what a file tells and of flags, which may add to the file but not contradict it."""
    from rnnspect.network.spec import Spec

    given = frozenset(flags)
    if flags.get("layout") == "pytorch" and "layout" not in told.keys:
        flags = {key: value for key, value in flags.items() if key != "layout"}  # a spec's own layout, left unsaid
    against = [
        Problem(f"{written(flags[key])}, but {told.source} has {written(value)}", where=flag(key))
        for key, value in told.keys.items()
        if key in flags and key != "weights" and flags[key] != value
    ]
    against += [
        Problem("cannot be combined with a file of weights, which has its own", where=flag(key))
        for key in ("weights", "head")
        if key in flags
    ]
    if against:
        raise SpecError(against)

    def where(keys: tuple[int | str, ...]) -> str:
        return told.source if keys[0] in told.keys and keys[0] not in flags else flag(str(keys[0]))

    spec = Spec.from_data(told.keys | flags, where)
    said, of_a_run = (tuple(_notes(told, spec, flags, runs)) for runs in (False, True))
    return Described(spec, where, (*told.notes, *said), (*told.notes, *of_a_run), given)


def _notes(told: Told, spec: Spec, flags: dict[str, Any], runs: bool) -> list[str]:
    """The values that were assumed for keys that the file does not tell, as flags, and how many tensors are unused."""
    taken = {
        "nonlinearity": spec.nonlinearity and f"--nonlinearity {spec.nonlinearity}",
        "batch_first": None if runs else "--batch-first",
        "dropout": f"--dropout {spec.dropout:g}" if spec.num_layers > 1 else None,
    }
    notes = []
    if untold := [key for key in told.untold if key not in flags and taken[key]]:
        said = " ".join(str(taken[key]) for key in untold)
        notes.append(f"note: {told.source} does not store {', '.join(untold)}; assuming {said}")
    if told.others:
        notes.append(f"note: ignored {told.others} unrelated tensor{'s' if told.others > 1 else ''} in the file")
    return notes


def _left_out(data: dict[str, Any], flags: dict[str, Any], name: str) -> tuple[str, ...]:
    """Removes from `data`, the keys in a file, those that the flags leave without a meaning, such as `lengths` beside
    another input. Returns the note that says so."""
    from rnnspect.network.spec_keys import KEYS

    meaningless = []
    if "input" in flags:
        meaningless += ["lengths"]
        meaningless += [] if isinstance(parse(flags["input"]), Generator) else ["batch"]
    meaningless += ["reverse"] if flags.get("bidirectional") else []
    meaningless += ["bidirectional"] if flags.get("reverse") else []
    meaningless += ["nonlinearity"] if "activations" in flags else []
    given = flags.get("cell", "")
    cell = given if isinstance(given, Cell) else named(given)
    if cell and flags["cell"] != data.get("cell"):
        meaningless += [] if cell.has_nonlinearity else ["nonlinearity"]
        meaningless += [] if cell.has_projection else ["proj_size"]
        meaningless += [] if cell.has_cell_state else ["c0"]
        meaningless += [name for name, key in KEYS.items() if key.cell not in ("", cell.name)]
        meaningless += ["activations"]
    gone = [key for key in meaningless if key not in flags and data.pop(key, None) is not None]
    return (f"note: ignored {listed(gone)} of {name}, which the options replace",) if gone else ()
