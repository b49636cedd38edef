"""From a file and flags to a spec, with the place where each key was said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.cli.progress import loading
from rnnspect.errors import InputError, Problem, SpecError, listed
from rnnspect.files.checkpoints import stored_in
from rnnspect.files.sources import Generator, parse, parse_file
from rnnspect.files.stored import CHECKPOINTS, KERAS, is_checkpoint, is_keras, is_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rnnspect.cli.output import Output
    from rnnspect.files.stored import Stored
    from rnnspect.network.spec import Spec

    Where = Callable[[tuple[int | str, ...]], str]


@dataclass(frozen=True)
class Described:
    """A spec, and where each of its keys was said: in the file, or by which flag."""

    spec: Spec
    where: Callable[[tuple[int | str, ...]], str]
    notes: tuple[str, ...] = ()
    """What is worth knowing of how the spec came about: what a checkpoint does not say."""
    given: frozenset[str] = frozenset()
    """The keys that flags said."""

    @property
    def engine(self) -> str:
        """Which engine runs it where nobody says: torch, but Keras' own for what a Keras file has and torch has not."""
        weights = self.spec.weights
        if self.spec.beyond_torch and isinstance(weights, str) and is_keras(parse_file(weights).path):
            return "keras"
        return "torch"

    def note(self, output: Output) -> None:
        for note in self.notes:
            output.note(note)


def describe(path: Path | None, module: str | None, flags: dict[str, Any]) -> Described:
    """The spec that a file and flags describe together; `flags` are keys of a spec.

    Raises `SpecError` naming every key that is wrong, or said by a flag against what a checkpoint's shapes say.
    """
    if path is not None and is_checkpoint(path):
        return replace(_describe_checkpoint(path, module, flags), given=frozenset(flags))
    if path is not None and is_onnx(path):
        return replace(_describe_onnx(path, module, flags), given=frozenset(flags))
    if path is not None and is_keras(path):
        return replace(_describe_keras(path, module, flags), given=frozenset(flags))
    if module is not None:
        found = "a module of no checkpoint"
        allowed = f"beside a file in {listed([*CHECKPOINTS, '.onnx', *KERAS])}"
        raise InputError(found, allowed=allowed, where="--module")
    data, in_file = _read(path) if path else ({}, None)
    notes = _left_out(data, flags, str(path))

    def where(keys: tuple[int | str, ...]) -> str:
        return _flag(str(keys[0])) if in_file is None or keys[0] in flags else in_file(keys)

    return Described(_spec(data | flags, where), where, notes, frozenset(flags))


def _describe_checkpoint(path: Path, module: str | None, flags: dict[str, Any]) -> Described:
    from rnnspect.weights.readers import pytorch

    with loading():
        stored = stored_in(path)
    name = str(path)
    modules = pytorch.modules_in(stored)
    if flags.get("layout") != "pytorch":
        modules = {key: one for key, one in modules.items() if not pytorch.has_one_bias(one, stored)}
    if flags.get("layout", "pytorch" if modules else None) != "pytorch":
        return _describe_laid_out(name, module, flags, stored)
    flags = {key: value for key, value in flags.items() if key != "layout"}
    chosen = pytorch.choose(modules, module, name)
    told = pytorch.described(chosen, name, flags.get("dtype"), flags.get("cell"))
    told["weights"] = pytorch.weights_source(chosen, name, stored)
    source = told["weights"].removesuffix(":")
    spec, where = _with_flags(told, flags, source, {"dtype"})
    return Described(spec, where, _notes(spec, flags, source, len(stored) - len(chosen.names)))


def _describe_laid_out(name: str, module: str | None, flags: dict[str, Any], stored: Mapping[str, Stored]) -> Described:
    """What another framework's arrays tell."""
    from rnnspect.weights.readers import any_layout

    stack = any_layout.stack_of(stored, flags.get("layout"), module, name, flags)
    source = f"{name}:{stack.first.prefix}" if stack.first.prefix else name
    alone = len(stored) == len(stack.names) and module is None
    told = stack.described(flags.get("dtype"), source)
    told["weights"] = name if alone else f"{name}:{stack.first.prefix}"
    spec, where = _with_flags(told, flags, source, {"dtype"})
    notes = [] if "layout" in flags else [f"note: {source} {stack.note()}"]
    if unsaid := any_layout.untold(stack, stored, flags):
        notes.append(f"note: {source} does not say {unsaid}")
    return Described(spec, where, (*notes, *_notes(spec, flags, source, len(stored) - len(stack.names))))


def _describe_onnx(path: Path, module: str | None, flags: dict[str, Any]) -> Described:
    """One node of a model as one layer. A node's input is time-major or batch-major, as it says."""
    from rnnspect.files.onnx_file import read_model
    from rnnspect.weights.readers.onnx import choose, described, nodes_in

    node = choose(nodes_in(read_model(path), str(path)), module, str(path))
    told = described(node) | {"weights": node.where}
    spec, where = _with_flags(told, flags, node.where, set())
    quantized = f"note: {node.where} is of 8-bit numbers; shown as the LSTM that it stands for"
    notes = [note for note in (node.warning, quantized if node.quantized else None) if note]
    return Described(spec, where, tuple(notes))


def _describe_keras(path: Path, module: str | None, flags: dict[str, Any]) -> Described:
    """One layer of a Keras file as one layer."""
    from rnnspect.weights.readers.keras import choose, described, layers_in, notes

    layer = choose(layers_in(path), module, str(path))
    told = described(layer, flags.get("dtype")) | {"weights": layer.where, "layout": "keras"}
    spec, where = _with_flags(told, flags, layer.where, {"dtype"})
    return Described(spec, where, notes(layer))


def _with_flags(told: dict[str, Any], flags: dict[str, Any], source: str, free: set[str]) -> tuple[Spec, Where]:
    """The spec of a file's own keys and the flags, and where each was said; those that are not `free` may not
    contradict."""
    against = [
        Problem(f"{key} {_said(flags[key])}, which {source} contradicts", _said(told[key]), where=_flag(key))
        for key in told
        if key in flags and key not in {*free, "weights"} and flags[key] != told[key]
    ]
    against += [
        Problem(f"{key} beside a checkpoint", "the parameters in the file", where=_flag(key))
        for key in ("weights", "head")
        if key in flags
    ]
    if against:
        raise SpecError(against)

    def where(keys: tuple[int | str, ...]) -> str:
        return source if keys[0] in told and keys[0] not in flags else _flag(str(keys[0]))

    return _spec(told | flags, where), where


def _spec(data: dict[str, Any], where: Where) -> Spec:
    from rnnspect.network.spec import Spec  # with what validates it; --help needs neither

    return Spec.from_data(data, where)


def _notes(spec: Spec, flags: dict[str, Any], source: str, others: int) -> tuple[str, ...]:
    """What was taken because shapes cannot tell it, as the flags that would say it; and what was passed over."""
    taken = {
        "nonlinearity": spec.nonlinearity and f"--nonlinearity {spec.nonlinearity}",
        "batch_first": "--batch-first",
        "dropout": f"--dropout {spec.dropout:g}" if spec.num_layers > 1 else None,
    }
    from rnnspect.weights.readers import pytorch

    untold = [key for key in pytorch.UNTOLD if key not in flags and taken[key]]
    notes = []
    if untold:
        said = " ".join(str(taken[key]) for key in untold)
        notes.append(f"note: {source} does not say {' or '.join(untold)}; taken: {said}")
    if others:
        notes.append(f"note: {others} other tensor{'s' if others > 1 else ''} in the file left alone")
    return tuple(notes)


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _left_out(data: dict[str, Any], flags: dict[str, Any], name: str) -> tuple[str, ...]:
    """Takes out of the file's data what a flag makes meaningless, and says so: flags win over what goes with what
    they replace, too."""
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


def _read(path: Path) -> tuple[dict[str, Any], Callable[[tuple[int | str, ...]], str]]:
    from rnnspect.files.yaml import read_spec_file  # loads yaml, which most commands do without

    return read_spec_file(path)
