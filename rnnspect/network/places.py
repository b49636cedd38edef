"""The places of a run that a user names: a direction, an item of the batch, and indices that count from 0; and how
they are named to a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.errors import InputError, SequenceError, listed

if TYPE_CHECKING:
    from collections.abc import Collection

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


def check_direction(direction: str, spec: Spec, where: str) -> None:
    """Raises `InputError` for a direction that the network does not have."""
    if direction not in spec.directions:
        found = f"this network has no direction {direction!r}"
        raise InputError.unknown(found, direction, spec.directions, where)


def check_item(item: int, batch: int, where: str) -> None:
    """Raises `InputError` for an item that a batch of this size does not have."""
    if not 0 <= item < batch:
        raise InputError(f"no batch item {item}", allowed="0" if batch == 1 else f"0 to {batch - 1}", where=where)


def span(count: int) -> str:
    """The indices that there are, in words."""
    return "0" if count == 1 else f"0 to {count - 1}, or -1 for the last"


def from_start(name: str, index: int, count: int, where: str) -> int:
    """An index that counts from the start, of one that may count from the end. Raises `InputError` for one that is not
    there."""
    if not -count <= index < count:
        raise InputError(f"no {name} {index}", allowed=span(count), where=where)
    return index % count


def refuse_padding(step: int, item: int, sequence: Sequence, where: str) -> None:
    """Raises `SequenceError` for a step that is beyond the end of an item of the batch."""
    length = sequence.length(item)
    if length <= step < sequence.steps:
        found = f"step {step} is beyond the length {length} of batch item {item}"
        raise SequenceError(found, allowed=span(length), where=where)


def places_in_words(spec: Spec, places: Collection[str]) -> str:
    """Where a mistake was made, of the names of layers and directions: in layer 0 reverse, in every layer, in both
    directions. Empty where the network has one place only."""
    every = [f"layer {layer} {direction}" for layer, direction in spec.places]
    if len(every) == 1 or not places:
        return ""
    if {*every} <= {*places}:
        return {1: "in both directions"}.get(spec.num_layers, "in every layer" + " and direction" * spec.bidirectional)
    found: list[str] = []
    for layer in range(spec.num_layers):
        here = [name for name in places if name.startswith(f"layer {layer} ")]
        found += [f"layer {layer}"] if len(here) == spec.num_directions else here
    return f"in {listed(found or places)}"


def unit_in_words(spec: Spec, quantity: str, unit: int) -> str:
    """unit 17; of blocks and matrices also the place in them: unit 17, S[1, 2, 0], n[3] or q[1, 2]."""
    place = in_block(spec, quantity, unit)
    return f"unit {unit}, {place}" if place else f"unit {unit}"


def in_block(spec: Spec, quantity: str, unit: int) -> str:
    """S[1, 2, 0], n[3] or q[1, 2]; empty for a vector that is all of a quantity: its unit says the same."""
    block, place = spec.block(quantity, unit)
    is_state = quantity.removeprefix("grad.") in ("c", "c_n", "c0")
    is_part = is_state and len(spec.cell_type.cell_state) > 1
    return f"{block}[{', '.join(map(str, place))}]" if is_part or len(place) > 1 else ""
