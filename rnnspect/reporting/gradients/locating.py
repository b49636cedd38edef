"""From what was asked for, such as weight_hh_l0[3,1] or s_i[3] at step 7, to the address of a gradient."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from rnnspect.arithmetic.chain_rule import names_of_pre_activations
from rnnspect.errors import InputError, listed, nearest
from rnnspect.network.parameters import recurrent_parameters, suffix
from rnnspect.network.places import check_direction, check_item, from_start, refuse_padding, span
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Address
from rnnspect.reporting.gradients.data import GradientAt
from rnnspect.tracing.prepare import Prepared

FORMS = "a name and its indices: weight_hh_l0[3,1], bias_ih_l0[3], i[3], s_i[3], x[2] or h0[1]"
_FORM = re.compile(r"\s*(\w{1,64})\s*\[\s*(-?\d{1,9})\s*(?:,\s*(-?\d{1,9})\s*)?\]\s*")
_Where = Callable[[str], str]


@dataclass(frozen=True)
class _Asked:
    """The gradient that was asked for, and how messages call an argument."""

    name: str
    indices: tuple[int, ...]
    where: _Where

    def wrong(self, found: str, allowed: str | None, near: str | None = None) -> InputError:
        return InputError(found, allowed=allowed, nearest=near, where=self.where("gradient"))

    def inside(self, words: tuple[str, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
        """The indices, counted from the start; `words` says what each of them is."""
        if len(self.indices) != len(counts):
            allowed = f"{self.name}[{', '.join(words)}]"
            number = "1 index" if len(self.indices) == 1 else f"{len(self.indices)} indices"
            raise self.wrong(f"{number} for {self.name}", allowed)
        for word, index, count in zip(words, self.indices, counts, strict=True):
            if not -count <= index < count:
                raise self.wrong(f"{self.name} has no {word} {index}", span(count))
        return tuple(index % count for index, count in zip(self.indices, counts, strict=True))


def located(
    prepared: Prepared, gradient: str, place: Address, step: int | None, where: _Where = lambda name: name
) -> GradientAt:
    """The address of dL/d of what `gradient` names: a parameter, by PyTorch's name; x, a gate or a state at the
    `step`; what a gate's function is taken of, with s_ before the gate's name; h0 or c0. What is not a parameter is
    in the layer, direction and item of `place`. With a step a parameter stands for what that one adds to its gradient.
    A negative index, layer or step counts from the end.

    Raises `InputError` for what is not there, `SequenceError` for a step that is padding. `where` gives the name of
    an argument in messages.
    """
    match = _FORM.fullmatch(gradient)
    if match is None:
        raise InputError(f"cannot read {gradient!r}", allowed=FORMS, where=where("gradient"))
    name, spec = match[1], prepared.spec
    place = replace(place, layer=from_start("layer", place.layer, spec.num_layers, where("layer")))
    asked = _Asked(name, tuple(int(one) for one in match.groups()[1:] if one is not None), where)
    parameters = {one.name: one for one in recurrent_parameters(spec)}
    if name in parameters:
        shape = parameters[name].shape
        indices = asked.inside(("row", "column")[: len(shape)], shape)
        [(layer, direction)] = [one for one in spec.places if name.endswith(suffix(*one))]
        _refuse_beside_parameter(name, place, (layer, direction), where)
        step = None if step is None else _step(prepared, _longest(prepared), step, name, where)
        return GradientAt(name=name, indices=indices, layer=layer, direction=direction, step=step)
    units = _units(spec, place.layer)
    if name not in units:
        known = [*units, *parameters]
        # a layer with one gate has one s, which needs no name of a gate
        near = "s" if name.startswith("s_") and "s" in known else nearest(name, known)
        raise asked.wrong(f"this network has no {name!r}", listed(known), near)
    if place.direction:
        check_direction(place.direction, spec, where("direction"))
    check_item(place.batch, prepared.sequence.batch, where("batch_index"))
    if name not in ("h0", "c0"):
        step = _step(prepared, place.batch, step, name, where)
    elif step is not None:
        found = f"{name} has no step: it is the state before the first one"
        raise InputError(found, advice=f"{name[0]}[{asked.indices[0]}] has one", where=where("step"))
    return GradientAt(
        name=name,
        indices=asked.inside(("unit",), (units[name],)),
        layer=place.layer,
        direction=place.direction or spec.directions[0],
        step=step,
        batch=place.batch,
    )


def _refuse_beside_parameter(name: str, place: Address, own: tuple[int, str], where: _Where) -> None:
    """Raises `InputError` for a place that says something else than the name of a parameter."""
    layer, direction = own
    if place.layer not in (0, layer):
        raise InputError(f"{name} is a parameter of layer {layer}", where=where("layer"))
    if place.direction not in ("", direction):
        raise InputError(f"{name} is a parameter of the {direction} direction", where=where("direction"))
    if place.batch:
        raise InputError(f"the gradient of {name} is a sum over all items of the batch", where=where("batch_index"))


def _longest(prepared: Prepared) -> int:
    """The item of the batch with the most steps."""
    return max(range(prepared.sequence.batch), key=prepared.sequence.length)


def _units(spec: Spec, layer: int) -> dict[str, int]:
    """The number of units of each quantity at a step, and of the initial states."""
    cell = spec.cell_type
    found = {name: spec.units(name) for name in cell.quantities}
    found |= dict(zip(names_of_pre_activations(cell), spec.gate_sizes, strict=True))
    return found | {"x": spec.layer_input_size(layer)} | {f"{name}0": found[name] for name in cell.states}


def _step(prepared: Prepared, item: int, step: int | None, name: str, where: _Where) -> int:
    length = prepared.sequence.length(item)
    if step is None:
        raise InputError(f"the step of dL/d{name} is missing", allowed=span(length), where=where("step"))
    refuse_padding(step, item, prepared.sequence, where("step"))
    return from_start("step", step, length, where("step"))
