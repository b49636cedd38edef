"""The steps of a cell that an ONNX model writes out, judged as the layer that they are.

Steps of which each receives, to the bit, the h and c that the one before gave are judged together as one sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.checking.check import CheckTerms, check_observation
from rnnspect.checking.onnx.calls import NodeVerdict, probed, why
from rnnspect.checking.onnx.exposed import ExposedCell, loops_around
from rnnspect.engines.shared.onnx_model import OnnxCellEngine, Ran
from rnnspect.errors import InputError, RnnspectError
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import observed_by
from rnnspect.judging.verdict import Verdict
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.weights.readers.onnx_rnn_nodes import tensor_of
from rnnspect.weights.readers.onnx_written_out import parameters_of_cell

_Step = dict[str, Tensor]
"""X (B, I), initial_h, initial_c, Y_h and Y_c (B, H) of one step."""


@dataclass(frozen=True)
class CellCalls:
    """A cell in a run of the model, and how its calls are judged."""

    exposed: ExposedCell
    ran: Ran
    terms: CheckTerms

    def verdicts(self) -> Iterator[NodeVerdict]:
        """One for each sequence; none of a branch that was not taken."""
        try:
            sequences = _sequences(list(self._steps()))
        except RnnspectError as error:
            yield NodeVerdict(self.exposed.part.name, None, why(error))
            return
        for index, steps in enumerate(sequences):
            try:
                yield NodeVerdict(self.exposed.part.name, index, self._checked(steps))
            except RnnspectError as error:
                yield NodeVerdict(self.exposed.part.name, index, why(error))

    def _steps(self) -> Iterator[_Step]:
        """Every step in the order in which they ran: in a loop all of an iteration, then those of the next.

        Raises `InputError` where a runtime does not stack what the iterations of a loop give.
        """
        loops = loops_around(self.exposed.part.path)
        steps = []
        for names in self.exposed.steps:
            shown = {name: tensor_of(self.ran.outputs[output]) for name, output in names.items()}
            if shown["X"].dim() <= loops or not shown["X"].numel():
                return
            steps.append(
                {name: values.flatten(0, loops - 1) if loops else values[None] for name, values in shown.items()}
            )
        if len({len(values) for step in steps for values in step.values()}) != 1:
            raise InputError("its tensors have different numbers of iterations")
        for iteration in range(len(steps[0]["X"])):
            for step in steps:
                yield {name: _rows(values[iteration]) for name, values in step.items()}

    def received(self) -> Iterator[Sequence]:
        """What each sequence of steps received."""
        yield from map(self._sequence, _sequences(list(self._steps())))

    def _sequence(self, steps: list[_Step]) -> Sequence:
        """Raises `InputError` for steps whose sizes are not those of the cell."""
        spec, first = self.exposed.spec, steps[0]
        batch = len(first["Y_h"])
        sizes = {name: spec.input_size if name == "X" else spec.hidden_size for name in first}
        for name, values in ((name, values) for step in steps for name, values in step.items()):
            alone = name.startswith("initial") and values.shape == (1, sizes[name])  # one state for all items
            if values.shape != (batch, sizes[name]) and not alone:
                called = self.exposed.part.tensors(self.exposed.part.steps[0])[name]
                found = f"{called} has the shape {tuple(values.shape)}"
                raise InputError(found, allowed=f"({batch}, {sizes[name]})")
            if values.dtype != getattr(torch, spec.dtype):
                found = f"{name} has the dtype {str(values.dtype).removeprefix('torch.')}"
                raise InputError(found, allowed=spec.dtype)
        x = torch.stack([step["X"] for step in steps])
        states = [first[f"initial_{name}"].expand(batch, spec.hidden_size)[None] for name in _states(first)]
        return Sequence(x, states[0], states[1] if len(states) > 1 else None, None, batched=True)

    def _checked(self, steps: list[_Step]) -> Verdict:
        sequence, h = self._sequence(steps), torch.stack([step["Y_h"] for step in steps])
        c_n = steps[-1]["Y_c"][None] if "Y_c" in steps[-1] else None
        given = Recording(self.ran.engine, h, h[-1:], c_n, {(0, "forward"): h}, 0.0)
        verdict = probed(self._judged(sequence, given), self.exposed.spec, self._alone, "cell")
        kind = "step" if len(steps) == 1 else "steps"
        notes = [f"{len(steps)} {kind} of a cell built from single operators"]
        if self.ran.engine.name != "onnxruntime":
            notes.append("run by onnx.reference, because onnxruntime cannot run this graph")
        return replace(verdict, notes=(*verdict.notes, *notes))

    def _judged(self, sequence: Sequence, given: Recording) -> Verdict:
        spec, parameters = self.exposed.spec, parameters_of_cell(self.exposed.part)
        case = Case(spec, parameters, sequence, observed_by(given), self.terms.declared or ARITHMETICS[spec.dtype])
        return check_observation(case, self.terms.progress, self.terms.explain)

    def _alone(self, sequence: Sequence) -> Verdict:
        """The verdict on a run of the cell alone."""
        return self._judged(sequence, OnnxCellEngine(self.exposed.part).run(self.exposed.spec, {}, sequence))


def _sequences(steps: list[_Step]) -> list[list[_Step]]:
    """Steps that follow each other, together."""
    found: list[list[_Step]] = []
    for step in steps:
        before = found[-1][-1] if found else None
        if before is not None and all(
            torch.equal(before[f"Y_{name}"], step[f"initial_{name}"]) for name in _states(step)
        ):
            found[-1].append(step)
        else:
            found.append([step])
    return found


def _states(step: _Step) -> tuple[str, ...]:
    return ("h", "c") if "initial_c" in step else ("h",)


def _rows(values: Tensor) -> Tensor:
    """(B, features) of (…, features)."""
    return values.reshape(-1, values.shape[-1]) if values.dim() else values.reshape(1, 1)
