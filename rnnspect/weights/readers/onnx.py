"""ONNX models: their RNN, LSTM and GRU nodes, and the cells that they write out in other operators. Nothing is run."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, InputError, WeightsError, listed
from rnnspect.files import protobuf
from rnnspect.files.onnx_file import Constants, read_model
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import converted, interface
from rnnspect.weights.readers.interface import Module, Reader, StoredParameters, Told
from rnnspect.weights.readers.onnx_rnn_nodes import (
    SCALES,
    WEIGHTS,
    OnnxNode,
    dequantized,
    described,
    nodes_in,
    parameters_of_node,
)
from rnnspect.weights.readers.onnx_written_out import WrittenCell, cells_in, counted, described_cell, parameters_of_cell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onnx import ModelProto

    from rnnspect.files.first_bytes import Glimpse


Part = OnnxNode | WrittenCell
_SHOWN = 8
"""Lengths that a note writes out."""


def parts_in(model: ModelProto, file: str) -> dict[str, Part]:
    """Every recurrent node, and every cell that is written out, by its name. Raises `FileError` where there is none."""
    constants = Constants(model)
    nodes = nodes_in(model, file, constants)
    found: dict[str, Part] = {**nodes, **cells_in(model, file, constants, nodes)}
    if not found:
        seen = counted(model)
        read = f", and its {seen} could not be read as a cell built from single operators" if seen else ""
        raise FileError(f"the model has no RNN, LSTM or GRU node{read}", where=file)
    return found


def chosen(parts: Mapping[str, Part], name: str | None, where: str) -> dict[str, Part]:
    """The part of that name, those that match it as a pattern, or all. Raises `FileError` where there is none."""
    return interface.matching(parts, name, where, "node", _in_words)


def part_in(model: ModelProto, name: str | None, file: str) -> Part:
    """The part of that name in a model, or the only one. Raises as `parts_in` and `chosen`."""
    return interface.only(chosen(parts_in(model, file), name, file), file, "node", _in_words)


def check_is_of_floats(path: Path, name: str | None) -> None:
    """Raises `InputError` where a node of that name, or any without a name, has 8-bit weights: what a runtime gave for
    it follows from how it quantized x and h as well. Otherwise raises as `parts_in` and `chosen`."""
    for part in chosen(parts_in(read_model(path), str(path)), name, str(path)).values():
        if isinstance(part, OnnxNode) and part.quantized:
            found = f"cannot be used with the 8-bit weights of {part.where}: how x and h were quantized is not known"
            advice = f"rnnspect check {path} runs it, and judges its 8-bit products"
            raise InputError(found, advice=advice, where="--recorded")


def _in_words(part: Part) -> str:
    return interface.in_words(lambda: _keys(part))


def _keys(part: Part) -> dict[str, Any]:
    return described(part) if isinstance(part, OnnxNode) else described_cell(part)


def spec_of_part(part: Part) -> Spec:
    """The layer that a part is. Raises what the reader of its keys raises, and `SpecError` for what no spec can be."""
    return interface.spec_with(_keys(part), part.where)


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    model = read_model(path)
    parts = chosen(parts_in(model, str(path)), None, str(path))
    layers = {
        name: Module(functools.partial(_tell, part, flags), functools.partial(_read, part))
        for name, part in parts.items()
    }
    text = next((one.value for one in model.metadata_props if one.key == converted.NAME), None)
    return converted.network_of(layers, text, str(path), with_notes=True)


def _tell(part: Part, flags: Mapping[str, Any]) -> Told:
    """A part is one layer; whether a node's input is (T, B, I) or (B, T, I) is an attribute."""
    notes = [part.note] if isinstance(part, WrittenCell) else [part.warning or ""]
    if isinstance(part, OnnxNode) and part.quantized:
        shown = "here they are shown as floats; check judges the node with its 8-bit products"
        notes.append(f"note: {part.where} has 8-bit weights; {shown}")
    if isinstance(part, OnnxNode) and "=" not in str(flags.get("input")):  # then it starts as it does in its model
        notes += [f"note: {part.where} {said}" for said in _given(part, flags)]
    return Told(_keys(part) | {"weights": part.where}, part.where, notes=tuple(note for note in notes if note))


def _given(node: OnnxNode, flags: Mapping[str, Any]) -> list[str]:
    """What to say of initial states and lengths that the file holds and no option gives."""
    states = {"h0": node.spread("initial_h"), "c0": node.spread("initial_c")}
    said = interface.starts_elsewhere(
        name for name, values in states.items() if values is not None and values.any() and name not in flags
    )
    lengths = node.spread("sequence_lens")
    if lengths is not None and "lengths" not in flags:
        some = ",".join(map(str, lengths.reshape(-1)[:_SHOWN].tolist())) + (",…" if lengths.size > _SHOWN else "")
        here = f"here no sequence ends early unless you give --lengths {some}"
        said.append(f"has the lengths of its sequences in the file; {here}")
    return said


def _read(part: Part, _spec: Spec) -> StoredParameters:
    """Also raises `WeightsError` where the file does not hold the numbers."""
    if isinstance(part, WrittenCell):
        return StoredParameters(parameters_of_cell(part))
    arrays = {name: part.constant(name) for name in (*WEIGHTS, *SCALES) if part.input(name)}
    if missing := [name for name, values in arrays.items() if values is None]:
        found = f"the model computes {listed(missing)} when it runs"
        raise WeightsError(found, advice="use check, which runs the model", where=part.where)
    if part.quantized:
        floats = dequantized(part, {name: arrays[name] for name in WEIGHTS if name in arrays})
        arrays = {name: values.astype("float32") for name, values in floats.items()}
    return StoredParameters(parameters_of_node(part, arrays))


def _recognises(seen: Glimpse) -> bool:
    """By the numbers of its first fields: ir_version (1), then producer_name (2), its version, … graph (7),
    opset_import (8). A model of Core ML has 1 and 2, too, but none of the next."""
    numbers = protobuf.numbers_in(seen.head)
    after = next((number for number in numbers if number > 2), 0)
    return numbers[:1] == [1] and after in range(3, 9) and not seen.is_text


READERS = {"onnx": Reader("an ONNX model", _recognises, _modules, (".onnx",), noun="node")}
