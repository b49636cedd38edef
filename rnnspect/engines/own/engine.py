"""The user's own implementation: `path/to/mine.py:MyLSTM`.

The name is that of a function or a class. A class, and a function whose arguments are all on offer, is called first and
gives what is run. On offer, as arguments by name: `spec`; its keys `input_size`, `hidden_size`,
`num_layers`, `bias` …; `parameters`, all of them by PyTorch's name; and each by its name, `weight_ih_l0` …. The
parameters of an nn.Module that are called as PyTorch calls them, whatever stands before it, are set.

What is run is one of three, told by the name of its first parameter:

    x_t            one step, f(x_t, state) -> state: x_t is (B, I), state is h (B, P), or (h, c) of an LSTM
    grad_output    a pass backwards, f(grad_output, …) -> {"x": …, "h0": …, "weight_ih_l0": …} (`by_hand.py`)
    else           a sequence, f(x, state) -> (output, state), as torch.nn takes and gives them; x and output lie as
                   `batch_first` says and always have a batch, states are (L·D, B, units)

A step and a sequence have gradients where they compute with tensors: they run under torch's autograd.

Both may ask for more of what is on offer, behind x and state. A step is made and called for each layer and direction:
it gets the parameters of that one as `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, `weight_hr`, `weight_ch`, and
`layer`, `direction` and that layer's `input_size`. A sequence is the whole network, of which the top layer is seen; it
gets `lengths` if it asks for them, and else a padded batch item by item. A check also calls it without a state where
that has a default. What a class gives is made once and called in every run of a network.

A file that imports torch gets tensors, any other numpy arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.engines.interface import Engine, cannot
from rnnspect.engines.own.by_hand import BackwardPass, backward_by_hand
from rnnspect.engines.own.code import (
    Made,
    Offer,
    code_of,
    is_by_hand,
    is_step,
    names_of,
    parameters_of,
    parts_of,
    settings_kept,
)
from rnnspect.engines.own.loading import their_errors
from rnnspect.engines.own.signatures import a_value, returned
from rnnspect.engines.shared.autograd import Leaves, recorded_by_autograd
from rnnspect.engines.shared.layers import (
    CellStates,
    Place,
    Returned,
    StateTensors,
    layers_backward,
    run_head,
    run_layers,
    run_steps,
)
from rnnspect.errors import EngineError, listed
from rnnspect.files.silenced import printing_to_stderr
from rnnspect.network.device import precision_switches
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


class OwnEngine:
    """Runs the code that `source` names. Raises `InputError` for what cannot be called as above, for wrong shapes, and
    for whatever the code raises, with the line."""

    def __init__(self, source: str | Callable[..., Any]) -> None:
        self._code = code_of(source)
        self.name = self._code.name
        self._stateless = False
        self._made_for: tuple[Spec, Mapping[str, Tensor]] | None = None
        self._made: dict[tuple[int, str], Made] = {}

    def without_state(self) -> Engine | None:
        made = next(iter(self._made.values()), None)  # that of the first place
        if made is None or is_step(made) or any(one.default is one.empty for one in parameters_of(made)[1:2]):
            return None
        other = copy.copy(self)
        other._stateless = True
        return other

    def kind(self, spec: Spec, parameters: Mapping[str, Tensor]) -> tuple[str, bool]:
        """Whether it computes a "step" or a "sequence", and whether it takes the lengths of a padded batch. Of a step
        none are needed: it is not called beyond an item's end."""
        with self._theirs(), torch.no_grad():
            made, _ = self._begun(spec, parameters)
        return ("step", True) if is_step(made) else ("sequence", "lengths" in names_of(made)[2:])

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        info = self._info(spec, sequence)
        with self._theirs(), torch.no_grad():
            made, offer = self._begun(spec, parameters)
            if is_by_hand(made):
                why = "its first parameter is grad_output, so it is a backward pass"
                advice = "rnnspect check … --backward checks it; or name a step or a sequence"
                raise cannot(self.name, "the forward pass", why, advice)
            if is_step(made):
                info = replace(info, one_by_one=True)
                seen: CellStates = {}
                ran = run_layers(spec, parameters, sequence, info, self._stepping(parameters, seen))
                return replace(ran, cell_states=seen)
            output, (h_n, *c_n) = self._run_whole(made, offer, spec, sequence)
            layers = by_direction(spec, spec.num_layers - 1, output)
            head = run_head(spec, parameters, h_n)
            return Recording(info, output, h_n, c_n[0] if c_n else None, layers, 0.0, head)

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """What was written by hand; else a step or a sequence runs under torch's autograd, which goes back over it."""
        info = self._info(spec, sequence)
        with self._theirs(), torch.no_grad():
            made, _ = self._begun(spec, parameters)
            if is_by_hand(made):
                return backward_by_hand(self._code, made, BackwardPass(spec, parameters, sequence, upstream), info)
        if self._code.in_numpy:
            why = "it computes with numpy arrays, which autograd cannot follow"
            advice = "import torch in its file, or write the backward pass: def backward(grad_output, x, h0, …)"
            raise cannot(self.name, "the backward pass", why, advice)
        leaves = Leaves.of(sequence, parameters)
        other = copy.copy(self)  # what is made for this run has leaves of autograd for parameters, and is not kept
        with self._theirs(), recorded_by_autograd():
            made, offer = other._begun(spec, leaves.parameters)
            with their_errors(f"the backward pass of {self._code.attribute}", self._code.path):
                if is_step(made):
                    info = replace(info, one_by_one=True)
                    found = layers_backward(spec, leaves, info, other._stepping(leaves.parameters), upstream)
                else:
                    output, state = other._run_whole(made, offer, spec, leaves.sequence)
                    found = leaves.gradients(info, output, state, upstream)
        return self._all_there(found, leaves)

    def _all_there(self, found: EngineGradients, leaves: Leaves) -> EngineGradients:
        """The gradients, with zeros for what the output does not depend on. Raises `EngineError` if that is x."""
        if found.x is None:
            lost = "its output does not depend on x by autograd"
            advice = "leave out .detach(), .data, .numpy() and torch.no_grad() on the way from x to the output"
            raise cannot(self.name, "the backward pass", lost, advice)
        return leaves.with_zeros(found)

    def _info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        """Raises `EngineError` for what numpy does not have."""
        device = sequence.x.device
        if self._code.in_numpy and (spec.dtype == "bfloat16" or device.type != "cpu"):
            advice = "import torch in its file to get tensors"
            raise cannot(self.name, f"{spec.dtype} on {device}", "it computes with numpy arrays", advice)
        return EngineInfo(self.name, "", str(device), spec.dtype, precision_switches(device, sequence.x.dtype, "cells"))

    @contextmanager
    def _theirs(self) -> Iterator[None]:
        """Inside, code of the user's may run."""
        with settings_kept(), printing_to_stderr(), self._code.importing():
            yield

    def _begun(self, spec: Spec, parameters: Mapping[str, Tensor]) -> tuple[Made, Offer]:
        """The function that runs the network, or a step of its first layer, and the arguments that it may ask for."""
        if self._made_for is None or self._made_for[0] != spec or self._made_for[1] is not parameters:
            self._made_for, self._made = (spec, parameters), {}
        offer = self._code.offer(spec, parameters, 0, spec.directions[0])
        made = self._make(offer)
        if not is_by_hand(made):
            self._check_asks(made, spec, parameters)
        return made, offer

    def _stepping(
        self, parameters: Mapping[str, Tensor], seen: CellStates | None = None
    ) -> Callable[[Place, Tensor], Returned]:
        def run_one(place: Place, x: Tensor) -> Returned:
            offer = self._code.offer(place.spec, parameters, place.layer, place.direction)
            call = self._code.caller(self._make(offer), offer)
            return run_steps(place, x, lambda x_t, state: self._step(call, x_t, state), seen)

        return run_one

    def _make(self, offer: Offer) -> Made:
        place = offer["layer"], offer["direction"]
        if place not in self._made:
            self._made[place] = self._code.make(offer)
        return self._made[place]

    def _check_asks(self, made: Made, spec: Spec, parameters: Mapping[str, Tensor]) -> None:
        """Where there are several layers or directions, a step may not ask for a parameter of one of them by its full
        name, nor a sequence for one without its layer. Raises `EngineError`."""
        ends = ("_l0", "_l0_reverse")
        one = {name.removesuffix(end) for name in parameters for end in ends if name.endswith(end)}
        wrong = (set(parameters) if is_step(made) else one | {"layer", "direction"}) & self._code.asked(made)
        if wrong and spec.num_layers * spec.num_directions > 1:
            kind, names = ("step", "weight_ih, weight_hh …") if is_step(made) else ("sequence", "weight_ih_l0 …")
            found = f"{self.name} computes a {kind} and asks for {listed(sorted(wrong))}, which fits only one layer "
            raise EngineError(f"{found}and direction", advice=f"ask for {names} instead")

    def _step(self, call: Callable[[Tensor, StateTensors], Any], x_t: Tensor, state: StateTensors) -> StateTensors:
        names = ("h", "c")[: len(state)]
        given = call(x_t, state)
        new = given if isinstance(given, tuple | list) and len(names) > 1 else (given,)
        if len(new) != len(names):
            said = f"{len(new)} value{'s' * (len(new) != 1)} for a step"
            raise self._code.wrong(said, f"the new state ({listed(names)})")
        named = zip(names, new, state, strict=True)
        return tuple(self._code.checked(name, one, tuple(before.shape), x_t) for name, one, before in named)

    def _run_whole(self, made: Made, offer: Offer, spec: Spec, sequence: Sequence) -> Returned:
        """The items together, or one by one where they are padded and it takes no lengths."""
        output = sequence.x.new_zeros(sequence.steps, sequence.batch, spec.output_width)
        finals = []
        for items, count in parts_of(sequence, names_of(made)[2:]):
            state = tuple(initial[:, items] for initial in sequence.state)
            x = sequence.x[:count, items]
            one, final = self._given(made, offer | {"lengths": sequence.lengths}, spec, x, state)
            output[:count, items] = one
            finals.append(final)
        return sequence.within(output), tuple(torch.cat(pieces, 1) for pieces in zip(*finals, strict=True))

    def _given(self, made: Made, offer: Offer, spec: Spec, x: Tensor, state: StateTensors) -> Returned:
        """The output, time-major, and the final states."""
        begun = () if self._stateless else state
        given = self._code.caller(made, offer)(x.transpose(0, 1) if spec.batch_first else x, begun)
        form = returned(spec)
        if not isinstance(given, tuple) or len(given) != 2:
            found = f"{a_value(given)} for a sequence"
            back = ", or gradients by name, where its first parameter is called grad_output" * isinstance(given, dict)
            raise self._code.wrong(found, form + back)
        final = given[1] if isinstance(given[1], tuple | list) else (given[1],)
        if len(final) != len(state):
            raise self._code.wrong(f"{len(final)} final state{'s' * (len(final) != 1)}", form)
        steps, batch = x.shape[:2]
        axes = (batch, steps) if spec.batch_first else (steps, batch)
        output = self._code.checked("output", given[0], (*axes, spec.output_width), x)
        pairs = zip(("h_n", "c_n"), final, state, strict=False)
        finals = tuple(self._code.checked(name, one, tuple(before.shape), x) for name, one, before in pairs)
        return output.transpose(0, 1) if spec.batch_first else output, finals
