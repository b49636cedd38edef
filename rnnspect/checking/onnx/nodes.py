"""The calls of a recurrent node in a run of an ONNX model, each judged as the layer that the node is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.checking.check import CheckTerms, check_observation
from rnnspect.checking.onnx import quantized
from rnnspect.checking.onnx.calls import NodeVerdict, probed, why
from rnnspect.checking.onnx.exposed import ExposedNode, loops_around
from rnnspect.engines.shared.onnx_model import NodeEngine, Ran, recording_of_node
from rnnspect.errors import FileError, InputError, RnnspectError, listed
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import Observation
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.judging.verdict import Verdict
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec_keys import DTYPES
from rnnspect.weights.readers.onnx_rnn_nodes import SCALES, WEIGHTS, dequantized, parameters_of_node, tensor_of

_Array = Any
_RESETS_BEFORE = (
    "checked against the file's own equations: linear_before_reset is 0, which PyTorch's GRU does not compute; to "
    "compare it with weights of PyTorch: rnnspect check model.pt --engine {file}"
)
_HALF = RecordedPrecision(2.0**-11, 2.0**-25)
"""How exactly float16 holds a number."""
_UNCAST = (
    "what the node received may have more digits than float16: onnxruntime leaves out casts to float16 and back on the "
    "way to it"
)


@dataclass(frozen=True)
class NodeCalls:
    """A node in a run of the model, as the layer that it is, and how its calls are judged."""

    exposed: ExposedNode
    ran: Ran
    terms: CheckTerms

    @property
    def widened(self) -> bool:
        """Whether onnxruntime casts float16 to float32 around it: what it gives is rounded, what it goes on with is
        not."""
        return self.ran.engine.name == "onnxruntime" and self.exposed.spec.dtype == "float16"

    def verdicts(self) -> Iterator[NodeVerdict]:
        """One for each call; none of a branch that was not taken."""
        for index, arrays in self._calls():
            try:
                yield NodeVerdict(self.exposed.part.name, index, self._checked(arrays))
            except RnnspectError as error:
                yield NodeVerdict(self.exposed.part.name, index, why(error))

    def received(self) -> Iterator[Sequence]:
        """What each call received, of the items of the batch that have any step."""
        for _, arrays in self._calls():
            sequence, lengths = self._sequence(arrays)
            some = lengths > 0
            c0 = None if sequence.c0 is None else sequence.c0[:, some]
            kept = None if bool((lengths == sequence.steps).all()) else tuple(lengths[some].tolist())
            yield Sequence(sequence.x[:, some], sequence.h0[:, some], c0, kept, batched=True)

    def _calls(self) -> Iterator[tuple[int, dict[str, _Array]]]:
        """X, W, …, Y of each call. Raises `FileError` where the loops around it do not stack all of these alike."""
        loops = loops_around(self.exposed.part.path)
        shown = {tensor: self.ran.outputs[output] for tensor, output in self.exposed.outputs.items()}
        if shown["X"].ndim != 3 + loops:
            return
        for tensor, values in shown.items():
            if values.shape[:loops] != shown["X"].shape[:loops]:
                found = f"the loop around the node does not give {tensor} in the same iterations as X"
                raise FileError(found, where=self.exposed.part.where)
        flat = {tensor: values.reshape(-1, *values.shape[loops:]) for tensor, values in shown.items()}
        for index in range(len(flat["X"])):
            arrays = {tensor: values[index] for tensor, values in flat.items()}
            if arrays["X"].size:
                yield index, arrays

    def _sequence(self, arrays: Mapping[str, _Array]) -> tuple[Sequence, Tensor]:
        """What a call received as if all items had all steps, and how many each has."""
        spec = self.exposed.spec
        self._check(arrays)
        tensors = {name: tensor_of(values) for name, values in arrays.items() if name not in WEIGHTS}
        x = tensors["X"]
        steps, batch = x.shape[:2]
        zeros = torch.zeros(spec.num_directions, batch, spec.hidden_size, dtype=x.dtype)
        c0 = tensors.get("initial_c", zeros) if spec.cell_type.has_cell_state else None
        sequence = Sequence(x, tensors.get("initial_h", zeros), c0, None, batched=True)
        return sequence, tensors.get("sequence_lens", torch.full((batch,), steps)).long().clamp(max=steps)

    def _check(self, arrays: Mapping[str, _Array]) -> None:
        """Raises `InputError` for types and shapes that the node cannot have, as in a graph that is damaged."""
        spec, (steps, batch, _) = self.exposed.spec, arrays["X"].shape
        state = spec.num_directions, batch, spec.hidden_size
        shapes = {"X": (steps, batch, spec.input_size), "sequence_lens": (batch,), "Y": (steps, *state)}
        for name, shape in (shapes | dict.fromkeys(("initial_h", "initial_c", "Y_h", "Y_c"), state)).items():
            values = arrays.get(name)
            if values is not None and values.shape != shape:
                raise InputError(f"{name} has the shape {values.shape}", allowed=str(shape))
            if values is not None and name != "sequence_lens" and values.dtype.name not in DTYPES:
                raise InputError(f"{name} has the data type {values.dtype}", allowed=listed(DTYPES))

    def _checked(self, arrays: Mapping[str, _Array]) -> Verdict:
        """The verdict on one call, of which these are X, W, …, Y."""
        node, spec, runtime = self.exposed.part, self.exposed.spec, self.ran.engine.name
        weights: dict[str, _Array] = {
            name: arrays[name] if name in arrays else node.constant(name) for name in WEIGHTS if node.input(name)
        }
        sequence, lengths = self._sequence(arrays)
        given = recording_of_node(spec, sequence, self.ran.engine, arrays)
        verdict = self._judged(weights, sequence, lengths, given)
        verdict = probed(verdict, spec, lambda drawn: self._alone(weights, drawn), "node")
        notes = []
        if node.attributes.get("layout"):
            notes.append("run with time and batch transposed, because onnxruntime does not support layout=1")
        if left_out := int((lengths <= 0).sum()):
            notes.append(f"ignored {left_out} batch item{'s' if left_out > 1 else ''} of length 0")
        if runtime != "onnxruntime":
            notes.append("run by onnx.reference, because onnxruntime cannot run this graph")
        if self.widened:
            notes.append("onnxruntime casts float16 to float32 around the node")
        if spec.reset == "before":
            notes.append(_RESETS_BEFORE.format(file=node.file))
        if node.quantized:
            notes += [quantized.NOTE, *(quantized.cut_off(weights) if verdict.verdict == "differ" else ())]
        return replace(verdict, notes=(*verdict.notes, *notes))

    def _judged(self, weights: Mapping[str, _Array], sequence: Sequence, lengths: Tensor, given: Recording) -> Verdict:
        """The verdict on a run of the whole batch with these W, R, B and P. Items of length 0, which have no output,
        are left out.

        Raises `InputError` where there are no others.
        """
        node, spec, some, x = self.exposed.part, self.exposed.spec, lengths > 0, sequence.x
        if not some.any():
            raise InputError("every batch item has length 0")
        floats = dequantized(node, weights) if node.quantized else weights
        parameters = parameters_of_node(node, floats)
        declared = ARITHMETICS["float32" if self.widened else spec.dtype]
        if node.quantized:
            declared, x = quantized.ARITHMETIC, quantized.with_h(x, sequence.h0, given.layers, lengths)
            spec, parameters = quantized.with_h_as_input(spec, parameters)
        c0, h_n, c_n = (None if one is None else one[:, some] for one in (sequence.c0, given.h_n, given.c_n))
        kept = None if bool((lengths[some] == len(x)).all()) else tuple(lengths[some].tolist())
        sequence = Sequence(x[:, some], sequence.h0[:, some], c0, kept, batched=True)
        layers = {place: {"h": values[:, some]} for place, values in given.layers.items()}
        rounded = (_HALF.relative, _HALF.absolute) if self.widened else (0.0, 0.0)
        seen = Observation(given.engine, layers, h_n, c_n, *rounded)
        case = Case(spec, parameters, sequence, seen, self.terms.declared or declared)
        if self.widened and check_observation(case, self.terms.progress, 0).verdict == "differ":
            uncast = check_observation(replace(case, received=_HALF), self.terms.progress, 0)
            if uncast.verdict != "differ":
                return replace(uncast, notes=(*uncast.notes, _UNCAST))
        # Known mistakes in how h is used do not show where h is an input.
        verdict = check_observation(case, self.terms.progress, 0 if node.quantized else self.terms.explain)
        return replace(verdict, spec=self.exposed.spec)

    def _alone(self, weights: Mapping[str, _Array], sequence: Sequence) -> Verdict:
        """The verdict on a run of the node alone."""
        node = self.exposed.part
        scales = {name: node.constant(name) for name in SCALES} if node.quantized else {}
        given = NodeEngine(node, {**weights, **scales}).run(self.exposed.spec, {}, sequence)
        return self._judged(weights, sequence, torch.full((sequence.batch,), sequence.steps), given)
