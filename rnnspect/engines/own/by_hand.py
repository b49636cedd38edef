"""A pass backwards that the user wrote by hand: `path/to/mine.py:backward`, a function whose first parameter is called
grad_output, or what gives one.

    def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
        ...
        return {"x": dx, "h0": dh0, "weight_ih_l0": dw_ih}

Behind grad_output it asks by name for what it needs: x, h0, c0, lengths, grad_h_n and grad_c_n (drawn in a check, zeros
where a loss of the output was chosen), spec, its keys, parameters, and each parameter by PyTorch's name. It returns
gradients by the names of what they are taken by, with or without `grad.` before them: that of x, and as many others as
it has; beside them output, h_n and c_n of its own pass forwards, where it makes one; and x_l1, x_l2 …, the input of
each layer but the lowest, where dropout acts between them. Sequences lie as `batch_first` says and always have a batch,
states are (L·D, B, units). Without asking for lengths it is called for one item of a padded batch after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.engines.own.code import Code, Made, Offer, parameters_of, parts_of
from rnnspect.engines.own.loading import their_errors
from rnnspect.errors import InputError, listed, nearest
from rnnspect.network.gradients import EngineGradients, Upstream, input_names
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_FORWARD = ("output", "h_n", "c_n")
_OF_A_STEP = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch", "layer", "direction")
_PREFIX = "grad."


@dataclass(frozen=True)
class BackwardPass:
    """The arguments of a pass backwards. The parameters are those of the network and of its head."""

    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    upstream: Upstream

    def of(self, items: slice, steps: int) -> dict[str, Tensor]:
        """grad_output, x and the states of these items, time-major."""
        sequence, upstream = self.sequence, self.upstream
        found = {"grad_output": upstream.output[:steps, items], "x": sequence.x[:steps, items]}
        states = [("h0", "grad_h_n", sequence.h0, upstream.h_n), ("c0", "grad_c_n", sequence.c0, upstream.c_n)]
        for name, gradient, state, given in states:
            if state is not None:
                found[name] = state[:, items]
                found[gradient] = torch.zeros_like(state[:, items]) if given is None else given[:, items]
        return found

    def shapes(self, items: int, steps: int) -> dict[str, tuple[int, ...]]:
        """The shapes of everything that may be returned for so many items."""
        spec, rows = self.spec, len(self.spec.places)
        axes = (items, steps) if spec.batch_first else (steps, items)
        h = (rows, items, spec.output_size)
        found = {"output": (*axes, spec.output_width), "h_n": h, "x": (*axes, spec.input_size)}
        found |= {"h0": h}
        found |= dict.fromkeys(("c_n", "c0"), (rows, items, spec.units("c"))) if spec.cell_type.has_cell_state else {}
        own = {name: tuple(one.shape) for name, one in self.parameters.items() if not name.startswith("head.")}
        return found | dict.fromkeys(input_names(self.spec), found["output"]) | own

    @property
    def sequences(self) -> tuple[str, ...]:
        return ("x", "output", *input_names(self.spec))

    def turned(self, values: Tensor) -> Tensor:
        """A sequence turned from time-major to the layout of `batch_first`, or back."""
        return values.transpose(0, 1) if self.spec.batch_first else values


def backward_by_hand(code: Code, made: Made, passed: BackwardPass, info: EngineInfo) -> EngineGradients:
    """Raises `InputError` for what it asks for and is not on offer, for anything else than gradients by name with the
    right shapes, and for whatever it raises, with the line."""
    asked = [one.name for one in parameters_of(made)[1:]]
    offer = code.offer(passed.spec, passed.parameters, 0, "forward") | {"lengths": passed.sequence.lengths}
    of_a_step = (*_OF_A_STEP, *dict(passed.spec.cell_type.parameters))
    offer = {name: value for name, value in offer.items() if name not in of_a_step}
    parts = parts_of(passed.sequence, asked)
    found = [_called(code, made, passed, offer, *part) for part in parts]
    if others := sorted({name for one in found for name in one.keys() ^ found[0].keys()}):
        raise code.wrong(f"{listed(others)} for some items of the batch only", "the same names for each")
    sequence = passed.sequence
    joined: dict[str, Tensor] = {}
    for name, first in found[0].items():
        pieces = [one[name] for one in found]
        if name in passed.sequences:
            joined[name] = first.new_zeros(sequence.steps, sequence.batch, first.shape[2])
            for (items, count), piece in zip(parts, pieces, strict=True):
                joined[name][:count, items] = piece
        elif name in ("h_n", "c_n", "h0", "c0"):
            joined[name] = torch.cat(pieces, 1)
        else:
            joined[name] = torch.stack(pieces).sum(0)
    if "output" in joined:
        joined["output"] = sequence.within(joined["output"])
    output, h_n, c_n, x, h0, c0 = (joined.pop(name, None) for name in (*_FORWARD, "x", "h0", "c0"))
    received = {layer: joined.pop(name) for name, layer in input_names(passed.spec).items() if name in joined}
    finals = [(f"grad_{name}_n", getattr(passed.upstream, f"{name}_n")) for name in passed.spec.cell_type.states]
    unused = tuple(name.removeprefix("grad_") for name, _ in finals if name not in asked)
    zero = [name for name, given in finals if name in asked and given is None]
    verb = "was" if len(zero) == 1 else "were"
    notes = (f"{listed(zero)} {verb} zero: the loss takes no final state",) if zero else ()
    return EngineGradients(info, output, h_n, c_n, x, h0, c0, joined, notes, received, unused)


def _called(code: Code, made: Made, passed: BackwardPass, offer: Offer, items: slice, steps: int) -> dict[str, Tensor]:
    """What it returns for these items, sequences time-major."""
    given = passed.of(items, steps)
    grad_output, x = (code.theirs(passed.turned(given.pop(name))) for name in ("grad_output", "x"))
    offer = {**offer, "x": x, **{name: code.theirs(state) for name, state in given.items()}}
    _check_asked(code, made, offer)
    options = {one.name: offer[one.name] for one in parameters_of(made)[1:] if one.name in offer}
    with their_errors(f"{code.attribute}(grad_output, …)", code.path):
        returned = made(grad_output, **options)
    if not isinstance(returned, Mapping):
        raise code.wrong(f"a {type(returned).__name__}", 'gradients by name, such as {"x": …, "weight_ih_l0": …}')
    with their_errors(f"reading what {code.attribute} returns", code.path):
        named = list(returned.items())
    batch = passed.sequence.batch if items == slice(None) else 1
    shapes, found = passed.shapes(batch, steps), {}
    for key, values in named:
        name = _known(code, key, shapes)
        if name in found:
            raise code.wrong(f"the gradient of {name} twice", f"{name} or {_PREFIX}{name}")
        one = code.checked(key, values, shapes[name], passed.sequence.x)
        found[name] = passed.turned(one) if name in passed.sequences else one
    if "x" not in found:
        raise code.wrong(f"no gradient of x, but {listed(found) or 'nothing'}", f"{listed(shapes)}; x is needed")
    return found


def _known(code: Code, key: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The name of what a gradient is taken by, or of a result of its pass forwards."""
    name = key.removeprefix(_PREFIX) if isinstance(key, str) else ""
    of_forward = name in _FORWARD or name.startswith("x_l")
    if name not in shapes or (of_forward and name != key):
        near = nearest(name, shapes) if isinstance(key, str) else None
        with their_errors(f"reading what {code.attribute} returns", code.path):
            said = repr(key)
        raise code.wrong(f"a gradient of {said}", listed(shapes), near)
    return name


def _check_asked(code: Code, made: Made, offer: Mapping[str, Any]) -> None:
    """Raises `InputError` for a parameter without a default that is not on offer."""
    missing = [one.name for one in parameters_of(made)[1:] if one.default is one.empty and one.name not in offer]
    if missing:
        found, near = f"{code.attribute} asks for {listed(missing)}", nearest(missing[0], offer)
        raise InputError(found, allowed=f"grad_output, then by name: {listed(offer)}", nearest=near, where=code.line)
