"""What a command is asked about: a spec, from a file and flags, and what somebody's implementation gave for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.cli.progress import loading
from rnnspect.errors import InputError, Problem, SpecError, listed
from rnnspect.files.sources import Generator, parse, parse_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rnnspect.cli.output import Output
    from rnnspect.network.spec import Spec
    from rnnspect.weights.readers.interface import Told

    Where = Callable[[tuple[int | str, ...]], str]


@dataclass(frozen=True)
class Described:
    """A spec, and where each of its keys comes from."""

    spec: Spec
    where: Where
    """For the path of a key in the spec the place in the file, or the flag, that said it."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of how the spec came about, such as what a checkpoint does not say."""
    given: frozenset[str] = frozenset()
    """The keys that flags said."""

    @property
    def engine(self) -> str:
        """The engine that runs it where no other is asked for: torch, but for what torch has no form of that of the
        file's own framework."""
        from rnnspect.weights import readers

        weights = self.spec.weights
        if not self.spec.beyond_torch or not isinstance(weights, str):
            return "torch"
        kind = readers.kind_of(parse_file(weights).path)
        return readers.find(kind).engine if kind else "torch"

    def note(self, output: Output) -> None:
        for note in self.notes:
            output.note(note)


def describe(path: Path | None, module: str | None, flags: dict[str, Any]) -> Described:
    """The spec that a file and flags describe together; `flags` are keys of a spec.

    Raises `SpecError` with every key that is wrong, or that a flag says otherwise than the file's own parameters.
    """
    from rnnspect.weights import readers

    given = frozenset(flags)
    if path is not None and (kind := readers.kind_of(path)):
        with loading():
            told = readers.find(kind).tell(path, module, flags)
        return replace(_with_flags(told, flags), given=given)
    if module is not None:
        allowed = f"beside a file in {listed(readers.SUFFIXES)}"
        raise InputError("a module of no checkpoint", allowed=allowed, where="--module")
    data, in_file = _read(path) if path else ({}, None)
    notes = _left_out(data, flags, str(path))

    def where(keys: tuple[int | str, ...]) -> str:
        return _flag(str(keys[0])) if in_file is None or keys[0] in flags else in_file(keys)

    return Described(_spec(data | flags, where), where, notes, given)


def _with_flags(told: Told, flags: dict[str, Any]) -> Described:
    """The spec of what a file tells and of flags, which may add to it but not contradict it."""
    if flags.get("layout") == "pytorch" and "layout" not in told.keys:
        flags = {key: value for key, value in flags.items() if key != "layout"}  # a spec's own layout, left unsaid
    against = [
        Problem(f"{key} {_said(flags[key])}, which {told.source} contradicts", _said(value), where=_flag(key))
        for key, value in told.keys.items()
        if key in flags and key != "weights" and flags[key] != value
    ]
    against += [
        Problem(f"{key} beside a checkpoint", "the parameters in the file", where=_flag(key))
        for key in ("weights", "head")
        if key in flags
    ]
    if against:
        raise SpecError(against)

    def where(keys: tuple[int | str, ...]) -> str:
        return told.source if keys[0] in told.keys and keys[0] not in flags else _flag(str(keys[0]))

    spec = _spec(told.keys | flags, where)
    return Described(spec, where, (*told.notes, *_notes(told, spec, flags)))


def _spec(data: dict[str, Any], where: Where) -> Spec:
    from rnnspect.network.spec import Spec  # with what validates it; --help needs neither

    return Spec.from_data(data, where)


def _notes(told: Told, spec: Spec, flags: dict[str, Any]) -> list[str]:
    """What was taken for keys that the file cannot tell, as the flags that would say it, and what was passed over."""
    taken = {
        "nonlinearity": spec.nonlinearity and f"--nonlinearity {spec.nonlinearity}",
        "batch_first": "--batch-first",
        "dropout": f"--dropout {spec.dropout:g}" if spec.num_layers > 1 else None,
    }
    notes = []
    if untold := [key for key in told.untold if key not in flags and taken[key]]:
        said = " ".join(str(taken[key]) for key in untold)
        notes.append(f"note: {told.source} does not say {' or '.join(untold)}; taken: {said}")
    if told.others:
        notes.append(f"note: {told.others} other tensor{'s' if told.others > 1 else ''} in the file left alone")
    return notes


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _left_out(data: dict[str, Any], flags: dict[str, Any], name: str) -> tuple[str, ...]:
    """Takes keys out of a file's data that mean nothing beside what flags replace, and gives the note that says so."""
    from rnnspect.network.keys import KEYS

    meaningless = []
    if "input" in flags:
        meaningless += ["lengths"]
        meaningless += [] if isinstance(parse(flags["input"]), Generator) else ["batch"]
    meaningless += ["reverse"] if flags.get("bidirectional") else []
    meaningless += ["bidirectional"] if flags.get("reverse") else []
    meaningless += ["nonlinearity"] if "activations" in flags else []
    cell = CELLS.get(flags.get("cell", ""))
    if cell and flags["cell"] != data.get("cell"):
        meaningless += [] if cell.has_nonlinearity else ["nonlinearity"]
        meaningless += [] if cell.has_projection else ["proj_size"]
        meaningless += [] if cell.has_cell_state else ["c0"]
        meaningless += [name for name, key in KEYS.items() if key.cell not in ("", cell.name)]
        meaningless += ["activations"]
    gone = [key for key in meaningless if key not in flags and data.pop(key, None) is not None]
    return (f"note: {listed(gone)} of {name} left out, for what the flags say",) if gone else ()


def _read(path: Path) -> tuple[dict[str, Any], Where]:
    from rnnspect.files.yaml import read_spec_file  # loads yaml, which most commands do without

    return read_spec_file(path)


def read_recorded(recorded: str) -> tuple[Any, Callable[[str | None], str]]:
    """What the file of --recorded holds of a run, and what a message calls an array of it."""
    from rnnspect.files.arrays import read_recording

    file = parse_file(recorded)
    try:
        given = read_recording(file.path, file.member)
    except InputError as error:
        places = (replace(one, where=f"--recorded {one.where or recorded}") for one in error.problems)
        raise type(error)(places) from None
    named = isinstance(given, dict)
    return given, lambda name: f"--recorded {file.path}" + (f":{name}" if name and named else "")
