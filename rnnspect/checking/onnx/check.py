"""A check of an ONNX model: every recurrent node on what it really received when the graph ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rnnspect.checking.check import check_observation
from rnnspect.checking.onnx import quantized
from rnnspect.checking.onnx.exposed import Taps, tapped
from rnnspect.checking.onnx.inputs import feed_of
from rnnspect.engines.shared.onnx_model import NodeEngine, Ran, run_model
from rnnspect.errors import FileError, InputError, RnnspectError
from rnnspect.files.onnx_file import read_model
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation, observed_by
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import (
    SCALES,
    WEIGHTS,
    OnnxNode,
    choose,
    described,
    nodes_in,
    parameters_of_node,
    tensor_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from onnx import ModelProto

    from rnnspect.judging.declared import Declared
    from rnnspect.judging.verdict import Verdict

    Array = Any

PROBE = (8, 4)
"""Steps and batch of the sequence of our own on which a node is run that its model's own input does not tell of."""


@dataclass(frozen=True)
class NodeVerdict:
    """What the check says of one call of one node; a text where there is no verdict."""

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
    module: str | None = None,
    batch: int | None = None,
    seed: int = 1,
    held_to: Declared | None = None,
    explain: float | None = None,
) -> ModelVerdict:
    """Runs the model once on `given`, its inputs by name, one array, or a generator. `explain` is as
    `check_observation` has it.

    Raises `FileError` for a file that is no such model, or none of whose nodes can be read, `InputError` for inputs
    that do not fit it or a graph that no runtime runs.
    """
    file = str(path)
    model = read_model(path)
    nodes = nodes_in(model, file)
    chosen = {one.name: one for one in [choose(nodes, module, file)]} if module is not None or not nodes else nodes
    calls: list[NodeVerdict] = []
    specs: dict[str, Spec] = {}
    unusable: list[RnnspectError] = []
    for name, node in chosen.items():
        if node.quantized and (why := quantized.untold(node)):
            calls.append(NodeVerdict(name, None, f"cannot tell: {why}, and its integers are not known"))
            continue
        try:
            specs[name] = Spec.from_data({**described(node), "input": None}, lambda _keys, node=node: node.where)  # type: ignore[misc]
        except RnnspectError as error:
            calls.append(NodeVerdict(name, None, _why(error)))
            unusable.append(error)
    if unusable and len(unusable) == len(chosen):
        raise FileError([problem for error in unusable for problem in error.problems])
    warnings = tuple(warning for node in chosen.values() if (warning := node.warning))
    never: list[str] = []
    if specs:
        feed = feed_of(model, given, chosen, batch, seed, file)
        try:
            taps, ran = _run(model, feed, specs, file)
        except InputError as error:
            inside = [
                name for name in specs if any(owner and owner.op_type != "If" for _, owner, _ in nodes[name].path)
            ]
            if not inside:
                raise
            outside = {name: spec for name, spec in specs.items() if name not in inside}
            taps, ran = _run(model, feed, outside, file)
            why = f"cannot tell: what it receives in a loop cannot be led out: {replace(error.problems[0], where=None)}"
            calls += [NodeVerdict(name, None, why) for name in inside]
        for tap in taps:
            found = list(_checked(tap, specs[tap.node.name], ran, held_to, explain))
            calls += found
            never += [] if found else [tap.node.name]
    return ModelVerdict(tuple(calls), tuple(never), warnings)


def _run(model: ModelProto, feed: Mapping[str, Array], specs: Mapping[str, Spec], file: str) -> tuple[list[Taps], Ran]:
    """Without any tap the graph runs as it is: then its failure is its own."""
    copy, taps = tapped(model, file, list(specs), {name: spec.dtype for name, spec in specs.items()})
    dtype = next((spec.dtype for spec in specs.values()), "float32")
    wanted = [output for tap in taps for output in tap.outputs.values()]
    return taps, run_model(copy, feed, [tap.node for tap in taps], dtype, file, wanted)


def _why(error: RnnspectError) -> str:
    """Without the place, which the row names."""
    return f"cannot tell: {replace(error.problems[0], where=None)}"


def _checked(tap: Taps, spec: Spec, ran: Ran, held_to: Declared | None, explain: float | None) -> Iterator[NodeVerdict]:
    for index, arrays in enumerate(_calls(tap, ran)):
        try:
            yield NodeVerdict(tap.node.name, index, _check_call(tap, spec, arrays, ran, held_to, explain))
        except RnnspectError as error:
            yield NodeVerdict(tap.node.name, index, _why(error))


def _calls(tap: Taps, ran: Ran) -> Iterator[dict[str, Array]]:
    """What each call received and returned; a branch that was not taken gives nothing."""
    shown = {name: ran.outputs[output] for name, output in tap.outputs.items()}
    if shown["X"].ndim != 3 + tap.loops:
        return
    flat = {name: values.reshape(-1, *values.shape[tap.loops :]) for name, values in shown.items()}
    for at in range(len(flat["X"])):
        arrays = {name: values[at] for name, values in flat.items()}
        if arrays["X"].size:
            yield arrays


def _check_call(
    tap: Taps,
    spec: Spec,
    arrays: Mapping[str, Array],
    ran: Ran,
    held_to: Declared | None,
    explain: float | None,
) -> Verdict:
    node = tap.node
    weights: dict[str, Array] = {
        name: arrays[name] if name in arrays else node.constant(name) for name in WEIGHTS if node.input(name)
    }
    floats = quantized.dequantized(node, weights) if node.quantized else weights
    parameters = parameters_of_node(node, floats)
    sequence, observation, left_out = _observed(node, spec, arrays, ran)
    widened = ran.engine.name == "onnxruntime" and spec.dtype == "float16"
    if widened:  # what the node returns is rounded, what it goes on with is not
        observation = replace(observation, relative=2.0**-11, absolute=2.0**-25)
    own = quantized.ARITHMETIC if node.quantized else ARITHMETICS["float32" if widened else spec.dtype]
    declared = held_to or own
    case = Case(spec, parameters, sequence, observation, declared)
    verdict = check_observation(case, explain=explain)
    notes = ["run with its axes exchanged: onnxruntime refuses layout=1"] if tap.turned else []
    if left_out:
        notes.append(f"{left_out} batch item{'s' if left_out > 1 else ''} without any step left out")
    if ran.engine.name != "onnxruntime":
        notes.append("run by onnx.reference: onnxruntime does not run this graph")
    if widened:
        notes.append("onnxruntime casts float16 to float32 around the node")
    notes += [quantized.NOTE] if node.quantized else []
    verdict = _probed(verdict, node, weights, case, explain)
    if node.quantized and verdict.verdict == "differ":
        notes += quantized.cut_off(weights)
    return replace(verdict, notes=(*verdict.notes, *notes))


def _observed(node: OnnxNode, spec: Spec, arrays: Mapping[str, Array], ran: Ran) -> tuple[Sequence, Observation, int]:
    tensors = {name: tensor_of(values) for name, values in arrays.items() if name not in WEIGHTS}
    x = tensors["X"]
    steps, batch = x.shape[:2]
    zeros = torch.zeros(spec.num_directions, batch, spec.hidden_size, dtype=x.dtype)
    h0 = tensors.get("initial_h", zeros)
    c0 = tensors.get("initial_c", zeros) if spec.cell_type.has_cell_state else None
    lens = tensors.get("sequence_lens", torch.full((batch,), steps)).long().clamp(max=steps)
    some = lens > 0
    left_out = batch - int(some.sum())
    if left_out == batch:
        raise InputError("no batch item has any step")
    h = {direction: tensors["Y"][:, at] for at, direction in enumerate(spec.directions)}
    taken: dict[tuple[int, str], torch.Tensor] = {}
    if node.quantized:
        x, taken = quantized.received(x, h0, h, lens)
        taken = {place: values[:, some] for place, values in taken.items()}
    y_h = tensors["Y_h"][:, some]
    y_c = tensors["Y_c"][:, some] if c0 is not None else None
    layers = {(0, direction): {"h": values[:, some]} for direction, values in h.items()}
    lengths = tuple(lens[some].tolist())
    same = all(length == steps for length in lengths)
    sequence = Sequence(
        x[:, some], h0[:, some], None if c0 is None else c0[:, some], None if same else lengths, batched=True
    )
    return sequence, Observation(ran.engine, layers, y_h, y_c, received=taken), left_out


def _probed(
    verdict: Verdict, node: OnnxNode, weights: Mapping[str, Array], case: Case, explain: float | None
) -> Verdict:
    """Where the model's own input leaves a gate unseen, such as f of a single step from c = 0, the node is run once
    more, alone, on a sequence that does not."""
    unseen = any(line.coarse_units for line in verdict.resolution)
    if verdict.verdict != "cannot tell" or not unseen or "leave the range" in (verdict.reason or ""):
        return verdict
    spec, observation = case.spec, case.observation
    generator, kind = torch.Generator().manual_seed(0), getattr(torch, spec.dtype)
    steps, batch = PROBE

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).mul_(0.5).to(kind)

    states = [drawn(spec.num_directions, batch, spec.hidden_size) for _ in spec.cell_type.states]
    x = drawn(steps, batch, spec.input_size)
    sequence = Sequence(x, states[0], states[1] if len(states) > 1 else None, None, batched=True)
    try:
        scales = {name: node.constant(name) for name in SCALES} if node.quantized else {}
        recording = NodeEngine(node, {**weights, **scales}).run(spec, case.parameters, sequence)
    except InputError:
        return verdict
    seen = replace(observed_by(recording), relative=observation.relative, absolute=observation.absolute)
    if node.quantized:
        sequence, seen = quantized.as_received(sequence, seen)
    again = check_observation(replace(case, sequence=sequence, observation=seen), explain=explain)
    if again.verdict == "cannot tell":
        return verdict
    note = f"what its own input does not tell of its gates was seen on {steps} drawn steps through the node alone"
    if again.verdict == "differ":
        return replace(again, notes=(*again.notes, f"{note}; its own input told nothing"))
    return replace(verdict, verdict="agree", reason=None, resolution=again.resolution, notes=(*verdict.notes, note))
