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

import contextlib
import copy
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.engines.interface import Engine, cannot
from rnnspect.engines.own.loading import importing_from, load_named, their_errors
from rnnspect.engines.shared.layers import Place, Ran, State, run_head, run_layers, run_steps
from rnnspect.errors import EngineError, InputError, listed, nearest
from rnnspect.network.device import precision_switches
from rnnspect.network.parameters import suffix
from rnnspect.network.recording import EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_Made = Callable[..., Any]
"""What is run: a step or a sequence."""
_Offer = dict[str, Any]
"""What it may ask for, by name."""

_OTHERS = {"cell", "dropout", "device", "seed", "weights", "layout", "head"} | {"input", "batch", "h0", "c0", "lengths"}
_KEYS = [key for key in Spec.model_fields if key not in _OTHERS]
_OF_A_PLACE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
_ON_OFFER = f"spec, parameters, {listed(_KEYS)}, parameters by PyTorch's name"
_IMPORTS_TORCH = re.compile(r"^\s*(import|from)\s+torch\b", re.MULTILINE)


class OwnEngine:
    """Runs the code that `source` names. Raises `InputError` for what cannot be called as above, for wrong shapes, and
    for whatever the code raises, with the line."""

    def __init__(self, source: str | Callable[..., Any]) -> None:
        self._code = code_of(source)
        self.name = self._code.name
        self._stateless = False
        self._made_for: tuple[Spec, Mapping[str, Tensor]] | None = None
        self._made: dict[tuple[int, str], _Made] = {}

    def without_state(self) -> Engine | None:
        made = self._made.get((0, "forward"))
        if made is None or _is_step(made) or any(one.default is one.empty for one in _parameters(made)[1:2]):
            return None
        other = copy.copy(self)
        other._stateless = True
        return other

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        device = sequence.x.device
        if self._code.in_numpy and (spec.dtype == "bfloat16" or device.type != "cpu"):
            raise cannot(self.name, f"{spec.dtype} on {device}", "it takes numpy arrays", "import torch in its file")
        info = EngineInfo(self.name, "", str(device), spec.dtype, precision_switches(device, sequence.x.dtype, "cells"))
        with torch.no_grad(), contextlib.redirect_stdout(sys.stderr), self._code.importing():
            if self._made_for is None or self._made_for[0] != spec or self._made_for[1] is not parameters:
                self._made_for, self._made = (spec, parameters), {}
            offer = self._code.offer(spec, parameters, 0, "forward")
            made = self._make(offer)
            self._check_asks(made, spec, parameters)
            if not _is_step(made):
                return self._run_whole(made, offer, spec, parameters, sequence, info)

            def run_one(place: Place, x: Tensor) -> Ran:
                offer = self._code.offer(spec, parameters, place.layer, place.direction)
                own = self._make(offer)
                return run_steps(place, x, lambda x_t, state: self._step(own, offer, x_t, state))

            return run_layers(spec, parameters, sequence, info, run_one)

    def _make(self, offer: _Offer) -> _Made:
        place = offer["layer"], offer["direction"]
        if place not in self._made:
            self._made[place] = self._code.make(offer)
        return self._made[place]

    def _check_asks(self, made: _Made, spec: Spec, parameters: Mapping[str, Tensor]) -> None:
        """Where there are several layers or directions, a step may not ask for a parameter of one of them by its full
        name, nor a sequence for one without its layer. Raises `EngineError`."""
        ends = ("_l0", "_l0_reverse")
        one = {name.removesuffix(end) for name in parameters for end in ends if name.endswith(end)}
        wrong = (set(parameters) if _is_step(made) else one | {"layer", "direction"}) & self._code.asked(made)
        if wrong and spec.num_layers * spec.num_directions > 1:
            kind, instead = ("step", "weight_ih, weight_hh …") if _is_step(made) else ("sequence", "weight_ih_l0 …")
            found = f"{self.name} is a {kind} and asks for {listed(sorted(wrong))}"
            raise EngineError(found, allowed=f"{instead}, or a network of one layer and direction")

    def _step(self, step: _Made, offer: _Offer, x_t: Tensor, state: State) -> State:
        names = ("h", "c")[: len(state)]
        given = self._code.call(step, offer, x_t, state)
        new = given if isinstance(given, tuple | list) and len(names) > 1 else (given,)
        if len(new) != len(names):
            raise self._wrong(f"{len(new)} values after a step", f"state = ({listed(names)})")
        named = zip(names, new, state, strict=True)
        return tuple(self._checked(name, one, tuple(before.shape), x_t) for name, one, before in named)

    def _run_whole(
        self, made: _Made, offer: _Offer, spec: Spec, p: Mapping[str, Tensor], sequence: Sequence, info: EngineInfo
    ) -> Recording:
        """The items together, or one by one where they are padded and it takes no lengths."""
        parts = [(slice(None), sequence.steps)]
        if sequence.lengths is not None and "lengths" not in _names(made)[2:]:
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

    def _given(self, made: _Made, offer: _Offer, spec: Spec, x: Tensor, state: State) -> Ran:
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
        if not hasattr(given, "shape"):
            raise self._wrong(f"a {type(given).__name__} as {name}", "a tensor or an array")
        if tuple(given.shape) != shape:
            raise self._wrong(f"{name} of shape {tuple(given.shape)}", str(shape))
        return torch.as_tensor(given).to(like.device, like.dtype, copy=True)

    def _wrong(self, found: str, allowed: str) -> InputError:
        return InputError(f"{self._code.attribute} gives {found}", allowed=allowed, where=self._code.where)


def code_of(source: str | Callable[..., Any]) -> _Code:
    """What `path:attribute` names, whose file is run; or a function or class that is there already, of which an
    nn.Module is copied: its parameters will be set.

    Raises `InputError` as `load_named` does, and for what cannot be called.
    """
    if isinstance(source, str):
        found, path, attribute = load_named(source)
        if not callable(found):
            raise InputError(f"a {type(found).__name__}", allowed="a function or a class", where=source)
        return _Code(found, attribute, not _IMPORTS_TORCH.search(path.read_text(encoding="utf-8")), path)
    found = copy.deepcopy(source) if isinstance(source, nn.Module) else source
    return _Code(found, getattr(source, "__name__", type(source).__name__), not _knows_torch(source))


def _knows_torch(source: Any) -> bool:
    """Whether something in the module that defines it is torch, or comes from there."""
    module = getattr(source, "__module__", None) or type(source).__module__
    there = vars(sys.modules[module]).values() if module in sys.modules else ()
    names = (getattr(one, "__name__" if inspect.ismodule(one) else "__module__", None) for one in there)
    return any(isinstance(name, str) and name.partition(".")[0] == "torch" for name in names)


@dataclass(frozen=True)
class _Code:
    """What can be called. A file that imports torch computes with tensors, any other with numpy arrays."""

    found: Callable[..., Any]
    attribute: str
    in_numpy: bool
    path: Path | None = None
    """The file that was run for it."""

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.attribute}" if self.path else self.attribute

    @property
    def where(self) -> str:
        """What messages call the place of it."""
        return str(self.path) if self.path else self.attribute

    def importing(self) -> contextlib.AbstractContextManager[None]:
        return importing_from(self.path) if self.path else contextlib.nullcontext()

    def offer(self, spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> _Offer:
        """What may be asked for by name: of the whole network, and of one layer and direction."""
        own = {name: self.theirs(value) for name, value in parameters.items() if not name.startswith("head.")}
        end = suffix(layer, direction)
        here = {name: own.get(name + end) for name in _OF_A_PLACE}
        keys = {name: getattr(spec, name) for name in _KEYS} | {"input_size": spec.layer_input_size(layer)}
        return {**keys, **own, **here, "spec": spec, "parameters": own, "layer": layer, "direction": direction}

    def make(self, offer: _Offer) -> _Made:
        """What is run: what was found, or what that gives when it is called."""
        made: Any = self.found
        if inspect.isclass(made) or (not isinstance(made, nn.Module) and set(_names(made)) <= offer.keys()):
            self._check_on_offer(_parameters(made), offer)
            with their_errors(f"{self.attribute}()", self.path):
                made = self.found(**{name: offer[name] for name in _names(self.found) if name in offer})
        if not callable(made):
            found = f"{self.attribute}() gives a {type(made).__name__}"
            raise InputError(found, allowed="something to call with (x, state)", where=self.where)
        if isinstance(made, nn.Module):
            self._fill(made, offer)
        self._check_on_offer(_parameters(made)[2:], offer)
        return made  # type: ignore[no-any-return]

    def asked(self, made: _Made) -> set[str]:
        """The names that it asks for, to be made and to be called."""
        before = set() if made is self.found else set(_names(self.found))
        own = {name for name, _ in made.named_parameters()} if isinstance(made, nn.Module) else set()
        return before | set(_names(made)[2:]) | {name.rpartition(".")[2] for name in own}

    def call(self, made: _Made, offer: _Offer, x: Tensor, state: tuple[Tensor, ...]) -> Any:
        """Without any state none is given to it."""
        states = tuple(map(self.theirs, state))
        options = {name: offer[name] for name in _names(made)[2:] if name in offer}
        with their_errors(f"{self.attribute}(x, state)", self.path):
            return made(self.theirs(x), *((states,) if len(states) > 1 else states), **options)

    def theirs(self, tensor: Tensor) -> Any:
        """A copy in what the file computes with: whoever writes into it changes nothing of ours."""
        return tensor.numpy().copy() if self.in_numpy else tensor.detach().clone()

    def _check_on_offer(self, asked: list[inspect.Parameter], offer: _Offer) -> None:
        known = {*offer, "lengths"}
        missing = [one.name for one in asked if one.default is one.empty and one.name not in known]
        if missing:
            found, near = f"{self.attribute} asks for {listed(missing)}", nearest(missing[0], known)
            raise InputError(found, allowed=_ON_OFFER, nearest=near, where=self.where)

    def _fill(self, module: nn.Module, offer: _Offer) -> None:
        for name, parameter in module.named_parameters():
            value: Any = offer.get(name.rpartition(".")[2])
            if not hasattr(value, "shape") or tuple(value.shape) != tuple(parameter.shape):
                found = f"{self.attribute} has a parameter {name} of shape {tuple(parameter.shape)}"
                allowed = listed(f"{key} {tuple(own.shape)}" for key, own in offer["parameters"].items())
                raise InputError(found, allowed=allowed, where=self.where)
            parameter.data = torch.as_tensor(value).clone()
        module.eval()


def _is_step(made: _Made) -> bool:
    return _names(made)[:1] == ["x_t"]


def _names(made: Any) -> list[str]:
    return [one.name for one in _parameters(made)]


def _parameters(made: Any) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(made.forward if isinstance(made, nn.Module) else made).parameters.values()
    except (TypeError, ValueError):  # a builtin says nothing of itself
        return []
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
