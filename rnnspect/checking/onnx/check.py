"""A check of an ONNX model: the whole graph runs once, and each recurrent node is judged on what it received then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnspect.checking.check import check_observation
from rnnspect.checking.onnx import quantized
from rnnspect.checking.onnx.exposed import Taps, loops_around, tapped
from rnnspect.checking.onnx.inputs import drawn, feeds_of
from rnnspect.engines.shared.onnx_model import NodeEngine, Ran, recording_of_node, run_model
from rnnspect.errors import FileError, InputError, RnnspectError
from rnnspect.files.onnx_file import read_model
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS, Declared
from rnnspect.judging.observation import Observation
from rnnspect.judging.verdict import Verdict
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import (
    SCALES,
    WEIGHTS,
    OnnxNode,
    chosen,
    nodes_in,
    parameters_of_node,
    spec_of,
    tensor_of,
)

if TYPE_CHECKING:
    from onnx import ModelProto

    Array = Any

PROBE = (8, 4)
"""Steps and batch of the sequence drawn for a node of which the model's own input does not tell enough."""


@dataclass(frozen=True)
class NodeVerdict:
    """The verdict of one call of one node, or why there is none."""

    node: str
    index: int | None
    found: Verdict | str


@dataclass(frozen=True)
class ModelVerdict:
    calls: tuple[NodeVerdict, ...]
    never_ran: tuple[str, ...]
    warnings: tuple[str, ...]


def check_model(
    path: Path,
    given: Any,
    module: str | None,
    batch: int | None,
    seed: int,
    held_to: Declared | None,
    explain: float | None,
) -> ModelVerdict:
    """Runs the model once on `given`: its inputs by name, one array, or a generator. `module` names the only node to
    judge; `batch` and `seed` are for a generator; `explain` is as `check_observation` has it.

    Raises `FileError` for a file that is no such model, or none of whose nodes can be read, `InputError` for inputs
    that do not fit it or a graph that no runtime runs.
    """
    file = str(path)
    model = read_model(path)
    nodes = chosen(nodes_in(model, file), module, file)
    layers, calls = _layers(nodes)
    warnings = tuple(warning for node in nodes.values() if (warning := node.warning))
    never: list[str] = []
    if layers:
        for feed in feeds_of(model, given, nodes, batch, seed):
            try:
                taps, ran, refused = _run_with_loops(model, feed, layers, file)
                break
            except InputError as error:
                last = error
        else:
            raise last
        calls += refused
        if given is None and feed:
            warnings = (*warnings, f"note: {drawn(feed)}")
        for tap in taps:
            found = list(_Node(tap, ran, held_to, explain).verdicts())
            calls += found
            never += [] if found else [tap.node.name]
    return ModelVerdict(tuple(calls), tuple(never), warnings)


def _layers(nodes: Mapping[str, OnnxNode]) -> tuple[list[tuple[OnnxNode, Spec]], list[NodeVerdict]]:
    """The nodes that have a spec, with it, and why the others have none. Raises where no node can be read."""
    layers: list[tuple[OnnxNode, Spec]] = []
    calls: list[NodeVerdict] = []
    unusable: list[RnnspectError] = []
    for name, node in nodes.items():
        if node.quantized and (unknown := [one for one in ("W", "R", *SCALES) if not node.is_fixed(one)]):
            why = f"cannot tell: its {unknown[0]} is no constant of the file, and its integers are not known"
            calls.append(NodeVerdict(name, None, why))
            continue
        try:
            layers.append((node, spec_of(node)))
        except RnnspectError as error:
            calls.append(NodeVerdict(name, None, _why(error)))
            unusable.append(error)
    if unusable and len(unusable) == len(nodes):
        raise FileError([problem for error in unusable for problem in error.problems])
    return layers, calls


def _run_with_loops(
    model: ModelProto, feed: Mapping[str, Array], layers: list[tuple[OnnxNode, Spec]], file: str
) -> tuple[list[Taps], Ran, list[NodeVerdict]]:
    """As `_run`. Where what nodes in loops receive cannot be led out, they are left out, with the reason."""
    try:
        return *_run(model, feed, layers, file), []
    except InputError as error:
        inside = [node.name for node, _ in layers if loops_around(node)]
        if not inside:
            raise
        ran = _run(model, feed, [layer for layer in layers if layer[0].name not in inside], file)
        why = _why(error, "cannot tell: what it receives in a loop cannot be led out: ")
        return *ran, [NodeVerdict(name, None, why) for name in inside]


def _run(
    model: ModelProto, feed: Mapping[str, Array], layers: list[tuple[OnnxNode, Spec]], file: str
) -> tuple[list[Taps], Ran]:
    """What these nodes receive and give in a run of the model."""
    copy, taps = tapped(model, layers)
    dtype = next((spec.dtype for _, spec in layers), "float32")
    shown = [output for tap in taps for output in tap.outputs.values()]
    wanted = shown or [output.name for output in model.graph.output]  # without a node, whether the rest runs
    return taps, run_model(copy, feed, [tap.node for tap in taps], dtype, file, wanted)


def _why(error: RnnspectError, before: str = "cannot tell: ") -> str:
    """Without the place, which the row names."""
    return f"{before}{replace(error.problems[0], where=None)}"


@dataclass(frozen=True)
class _Node:
    """A node in a run of the model, as the layer that it is, and how its calls are judged."""

    tap: Taps
    ran: Ran
    held_to: Declared | None
    explain: float | None

    @property
    def widened(self) -> bool:
        """Whether onnxruntime casts float16 to float32 around it: what it gives is rounded, what it goes on with is
        not."""
        return self.ran.engine.name == "onnxruntime" and self.tap.spec.dtype == "float16"

    def verdicts(self) -> Iterator[NodeVerdict]:
        """One for each call; none of a branch that was not taken."""
        name, loops = self.tap.node.name, loops_around(self.tap.node)
        shown = {tensor: self.ran.outputs[output] for tensor, output in self.tap.outputs.items()}
        if shown["X"].ndim != 3 + loops:
            return
        flat = {tensor: values.reshape(-1, *values.shape[loops:]) for tensor, values in shown.items()}
        for index in range(len(flat["X"])):
            arrays = {tensor: values[index] for tensor, values in flat.items()}
            if not arrays["X"].size:
                continue
            try:
                yield NodeVerdict(name, index, self._checked(arrays))
            except RnnspectError as error:
                yield NodeVerdict(name, index, _why(error))

    def _checked(self, arrays: Mapping[str, Array]) -> Verdict:
        """The verdict on one call, of which these are X, W, …, Y."""
        node, spec, runtime = self.tap.node, self.tap.spec, self.ran.engine.name
        weights: dict[str, Array] = {
            name: arrays[name] if name in arrays else node.constant(name) for name in WEIGHTS if node.input(name)
        }
        tensors = {name: tensor_of(values) for name, values in arrays.items() if name not in WEIGHTS}
        x = tensors["X"]
        steps, batch = x.shape[:2]
        zeros = torch.zeros(spec.num_directions, batch, spec.hidden_size, dtype=x.dtype)
        c0 = tensors.get("initial_c", zeros) if spec.cell_type.has_cell_state else None
        sequence = Sequence(x, tensors.get("initial_h", zeros), c0, None, batched=True)
        lengths = tensors.get("sequence_lens", torch.full((batch,), steps)).long().clamp(max=steps)
        given = recording_of_node(spec, sequence, self.ran.engine, arrays)
        verdict = self._probed(self._judged(weights, sequence, lengths, given), weights)
        notes = ["run with its axes exchanged: onnxruntime refuses layout=1"] if node.attributes.get("layout") else []
        if left_out := int((lengths <= 0).sum()):
            notes.append(f"{left_out} batch item{'s' if left_out > 1 else ''} without any step left out")
        if runtime != "onnxruntime":
            notes.append("run by onnx.reference: onnxruntime does not run this graph")
        if self.widened:
            notes.append("onnxruntime casts float16 to float32 around the node")
        if node.quantized:
            notes += [quantized.NOTE, *(quantized.cut_off(weights) if verdict.verdict == "differ" else ())]
        return replace(verdict, notes=(*verdict.notes, *notes))

    def _judged(self, weights: Mapping[str, Array], sequence: Sequence, lengths: Tensor, given: Recording) -> Verdict:
        """The verdict on a run of the whole batch with these W, R, B and P. Items of length 0, which have no output,
        are left out.

        Raises `InputError` where there are no others.
        """
        node, spec, some, x = self.tap.node, self.tap.spec, lengths > 0, sequence.x
        if not some.any():
            raise InputError("no batch item has any step")
        floats = quantized.dequantized(node, weights) if node.quantized else weights
        parameters = parameters_of_node(node, floats)
        declared = ARITHMETICS["float32" if self.widened else spec.dtype]
        if node.quantized:
            declared, x = quantized.ARITHMETIC, quantized.with_h(x, sequence.h0, given.layers, lengths)
            spec, parameters = quantized.with_h_as_input(spec, parameters)
        c0, h_n, c_n = (None if one is None else one[:, some] for one in (sequence.c0, given.h_n, given.c_n))
        kept = None if bool((lengths[some] == len(x)).all()) else tuple(lengths[some].tolist())
        sequence = Sequence(x[:, some], sequence.h0[:, some], c0, kept, batched=True)
        layers = {place: {"h": values[:, some]} for place, values in given.layers.items()}
        rounded = (2.0**-11, 2.0**-25) if self.widened else (0.0, 0.0)
        seen = Observation(given.engine, layers, h_n, c_n, *rounded)
        case = Case(spec, parameters, sequence, seen, self.held_to or declared)
        # Known mistakes in how h is used do not show where h is an input.
        verdict = check_observation(case, explain=0 if node.quantized else self.explain)
        return replace(verdict, spec=self.tap.spec)

    def _probed(self, verdict: Verdict, weights: Mapping[str, Array]) -> Verdict:
        """Where the model's own input leaves a gate unseen, such as f of a single step from c = 0, the node is run once
        more, alone, on a drawn sequence that does not."""
        unseen = any(line.coarse_units for line in verdict.resolution)
        if verdict.verdict != "cannot tell" or not unseen or "leave the range" in (verdict.reason or ""):
            return verdict
        node, spec = self.tap.node, self.tap.spec
        generator, kind = torch.Generator().manual_seed(0), getattr(torch, spec.dtype)
        steps, batch = PROBE

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).mul_(0.5).to(kind)

        states = [drawn(spec.num_directions, batch, spec.hidden_size) for _ in spec.cell_type.states]
        x = drawn(steps, batch, spec.input_size)
        sequence = Sequence(x, states[0], states[1] if len(states) > 1 else None, None, batched=True)
        scales = {name: node.constant(name) for name in SCALES} if node.quantized else {}
        try:
            given = NodeEngine(node, {**weights, **scales}).run(spec, {}, sequence)
        except InputError:
            return verdict
        again = self._judged(weights, sequence, torch.full((batch,), steps), given)
        if again.verdict == "cannot tell":
            return verdict
        note = f"what its own input does not tell of its gates was seen on {steps} drawn steps through the node alone"
        if again.verdict == "differ":
            return replace(again, notes=(*again.notes, f"{note}; its own input told nothing"))
        return replace(verdict, verdict="agree", reason=None, resolution=again.resolution, notes=(*verdict.notes, note))
