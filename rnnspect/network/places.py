"""The places of a run that a user names: a direction, an item of the batch, and indices that count from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.errors import InputError, listed, nearest

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec


def check_direction(direction: str, spec: Spec, where: str) -> None:
    """Raises `InputError` for a direction that the network does not have."""
    if direction not in spec.directions:
        found, near = f"this network has no direction {direction!r}", nearest(direction, spec.directions)
        raise InputError(found, allowed=listed(spec.directions), nearest=near, where=where)


def check_item(item: int, batch: int, where: str) -> None:
    """Raises `InputError` for an item that a batch of this size does not have."""
    if not 0 <= item < batch:
        raise InputError(f"no batch item {item}", allowed="0" if batch == 1 else f"0 to {batch - 1}", where=where)


def span(count: int) -> str:
    """The indices that there are, in words."""
    return "0" if count == 1 else f"0 to {count - 1}, or -1 for the last"
