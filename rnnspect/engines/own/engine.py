"""The user's own implementation: `path/to/mine.py:MyLSTM`.

The name is that of a function or a class. A class, and a function whose arguments are all on offer, is called first and
gives what is run. On offer, as arguments by name: `spec`; its keys `input_size`, `hidden_size`,
`num_layers`, `bias` …; `parameters`, all of them by PyTorch's name; and each by its name, `weight_ih_l0` …. The
parameters of an nn.Module that are called as PyTorch calls them, whatever stands before it, are set.

What is run is one of two, told by the name of its first parameter:

    x_t     one step, f(x_t, state) -> state: x_t is (B, I), state is h (B, P), or (h, c) of an LSTM
    else    a sequence, f(x, state) -> (output, state), as torch.nn takes and gives them; x and output lie as
            `batch_first` says and always have a batch, states are (L·D, B, units)

Both may ask for more of what is on offer, behind x and state. A step is made and called for each layer and direction:
it gets the parameters of that one as `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, `weight_hr`, `weight_ch`, and
`layer`, `direction` and that layer's `input_size`. A sequence is the whole network, of which the top layer is seen; it
gets `lengths` if it asks for them, and else a padded batch item by item. A check also calls it without a state where
that has a default. What a class gives is made once and called in every run of a network.

A file that imports torch gets tensors, any other numpy arrays.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnspect.engines.interface import Engine, cannot
from rnnspect.engines.own.code import Made, Offer, code_of, is_step, names_of, parameters_of
from rnnspect.engines.own.given import own_tensor, settings_kept
from rnnspect.engines.own.loading import their_errors
from rnnspect.engines.shared.layers import Place, Ran, State, run_head, run_layers, run_steps
from rnnspect.errors import EngineError, InputError, listed
from rnnspect.files.quiet import printing_to_stderr
from rnnspect.network.device import precision_switches
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
        made = self._made.get((0, "forward"))
        if made is None or is_step(made) or any(one.default is one.empty for one in parameters_of(made)[1:2]):
            return None
        other = copy.copy(self)
        other._stateless = True
        return other

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        device = sequence.x.device
        if self._code.in_numpy and (spec.dtype == "bfloat16" or device.type != "cpu"):
            advice = "import torch in its file to get tensors"
            raise cannot(self.name, f"{spec.dtype} on {device}", "it computes with numpy arrays", advice)
        info = EngineInfo(self.name, "", str(device), spec.dtype, precision_switches(device, sequence.x.dtype, "cells"))
        with settings_kept(), torch.no_grad(), printing_to_stderr(), self._code.importing():
            if self._made_for is None or self._made_for[0] != spec or self._made_for[1] is not parameters:
                self._made_for, self._made = (spec, parameters), {}
            offer = self._code.offer(spec, parameters, 0, "forward")
            made = self._make(offer)
            self._check_asks(made, spec, parameters)
            if not is_step(made):
                return self._run_whole(made, offer, spec, parameters, sequence, info)

            def run_one(place: Place, x: Tensor) -> Ran:
                offer = self._code.offer(spec, parameters, place.layer, place.direction)
                own = self._make(offer)
                return run_steps(place, x, lambda x_t, state: self._step(own, offer, x_t, state))

            return run_layers(spec, parameters, sequence, info, run_one)

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

    def _step(self, step: Made, offer: Offer, x_t: Tensor, state: State) -> State:
        names = ("h", "c")[: len(state)]
        given = self._code.call(step, offer, x_t, state)
        new = given if isinstance(given, tuple | list) and len(names) > 1 else (given,)
        if len(new) != len(names):
            raise self._wrong(f"{len(new)} values for a step", f"the state ({listed(names)})")
        named = zip(names, new, state, strict=True)
        return tuple(self._checked(name, one, tuple(before.shape), x_t) for name, one, before in named)

    def _run_whole(
        self, made: Made, offer: Offer, spec: Spec, p: Mapping[str, Tensor], sequence: Sequence, info: EngineInfo
    ) -> Recording:
        """The items together, or one by one where they are padded and it takes no lengths."""
        parts = [(slice(None), sequence.steps)]
        if sequence.lengths is not None and "lengths" not in names_of(made)[2:]:
            parts = [(slice(item, item + 1), length) for item, length in enumerate(sequence.lengths)]
        output = sequence.x.new_zeros(sequence.steps, sequence.batch, spec.output_size * spec.num_directions)
        finals = []
        for items, count in parts:
            state = tuple(initial[:, items] for initial in sequence.state)
            x = sequence.x[:count, items]
            one, final = self._given(made, offer | {"lengths": sequence.lengths}, spec, x, state)
            output[:count, items] = one
            finals.append(final)
        valid = sequence.valid()
        if valid is not None:
            output = torch.where(valid.to(output.device)[..., None], output, 0)
        h_n, *c_n = (torch.cat(pieces, 1) for pieces in zip(*finals, strict=True))
        layers = by_direction(spec, spec.num_layers - 1, output)
        return Recording(info, output, h_n, c_n[0] if c_n else None, layers, 0.0, run_head(spec, p, h_n))

    def _given(self, made: Made, offer: Offer, spec: Spec, x: Tensor, state: State) -> Ran:
        """The output, time-major, and the final states."""
        begun = () if self._stateless else state
        given = self._code.call(made, offer, x.transpose(0, 1) if spec.batch_first else x, begun)
        form = "(output, (h_n, c_n))" if len(state) > 1 else "(output, h_n)"
        if not isinstance(given, tuple) or len(given) != 2:
            raise self._wrong(f"a {type(given).__name__} for a sequence", form)
        final = given[1] if isinstance(given[1], tuple | list) else (given[1],)
        if len(final) != len(state):
            raise self._wrong(f"{len(final)} final states", form)
        steps, batch = x.shape[:2]
        axes = (batch, steps) if spec.batch_first else (steps, batch)
        output = self._checked("output", given[0], (*axes, spec.output_size * spec.num_directions), x)
        pairs = zip(("h_n", "c_n"), final, state, strict=False)
        finals = tuple(self._checked(name, one, tuple(before.shape), x) for name, one, before in pairs)
        return output.transpose(0, 1) if spec.batch_first else output, finals

    def _checked(self, name: str, given: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """As a tensor in the network's dtype, on its device; a copy, for code may write its next step into the same
        memory."""
        with their_errors(f"reading {name} that {self._code.attribute} returns", self._code.path):
            sizes = tuple(given.shape) if hasattr(given, "shape") else None
            found = own_tensor(given) if sizes == shape else sizes
        if sizes is None:
            if inspect.iscoroutine(given):
                given.close()  # else Python warns that nobody awaited it
            raise self._wrong(f"a {type(given).__name__} for {name}", "a tensor or an array")
        if not isinstance(found, Tensor):
            said, allowed = (
                (found, "floating-point numbers") if isinstance(found, str) else (f"shape {sizes}", str(shape))
            )
            raise self._wrong(f"{name} with {said}", allowed)
        return found.to(like.device, like.dtype)

    def _wrong(self, found: str, allowed: str) -> InputError:
        return InputError(f"{self._code.attribute} returns {found}", allowed=allowed, where=self._code.line)
