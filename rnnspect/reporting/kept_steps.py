"""Which item and which steps of a run a report shows, so that its file stays small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnnspect.errors import InputError
from rnnspect.judging.verdict import Verdict
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared

MOST_KEPT = 64
"""Steps whose derivations a report keeps, where nobody asks for other ones."""
CELL = 4
"""Bytes of a cell of a picture in the file: a float32, or a smallest and a largest number of two bytes each."""
_PICTURES, _DERIVATIONS = 3_500_000, 1_300_000
"""Bytes that all pictures and all kept steps may take, before base64 makes a third more of them."""


@dataclass(frozen=True)
class ReportOptions:
    """What of a run is to be shown; None is what a report thinks best."""

    item: int | None = None
    """Which item of the batch; left out, the one that differs first."""
    steps: tuple[int, ...] | None = None
    """Whose derivations are kept."""


@dataclass(frozen=True)
class Frame:
    """What is painted of a run: an item of the batch, the steps that it has, those whose derivations are kept, and
    how many cells a picture may have."""

    item: int
    length: int
    kept: tuple[int, ...]
    cells: int


def frame_of(prepared: Prepared, verdict: Verdict, asked: ReportOptions, where: Callable[[str], str]) -> Frame:
    """The item and the steps that were asked for; else those about the first difference, or about the number that
    came nearest to its bound."""
    spec, sequence = prepared.spec, prepared.sequence
    item = asked.item if asked.item is not None else verdict.first.batch if verdict.first else 0
    length = sequence.length(item)
    point = verdict.first or verdict.worst
    interesting = point.step if point and point.batch == item else -1
    kept = kept_steps(length, _kept_at_most(spec), interesting) if asked.steps is None else asked.steps
    if not kept:
        raise InputError("no step at all", allowed=f"some of 0 to {length - 1}", where=where("steps"))
    if beyond := [step for step in kept if not 0 <= step < length]:
        raise InputError(f"no step {beyond[0]} in item {item}", allowed=f"0 to {length - 1}", where=where("steps"))
    # So that all pictures fit: x, its projection, each quantity, and of h the engine's, the difference and the ratio.
    cells = _PICTURES // (CELL * (len(spec.quantities) + 3) * spec.num_layers * spec.num_directions)
    return Frame(item, length, kept, cells)


def kept_steps(length: int, most: int, interesting: int) -> tuple[int, ...]:
    """All `length` steps, or `most` of them: the first two, the last, an interesting one (-1: none) with the step on
    each side of it, and others evenly between."""
    if length <= most:
        return tuple(range(length))
    about = range(interesting - 1, interesting + 2) if interesting >= 0 else ()
    wanted = [interesting, *about, 0, length - 1, 1] if interesting >= 0 else [0, length - 1, 1]
    chosen = dict.fromkeys(step for step in wanted if 0 <= step < length)
    kept = list(chosen)[:most]
    spread = np.linspace(0, length - 1, most).round().astype(int).tolist()
    others = [step for step in spread if step not in kept]
    free = most - len(kept)
    kept += [others[at * len(others) // free] for at in range(min(free, len(others)))] if free else []
    return tuple(sorted(kept))


def _kept_at_most(spec: Spec) -> int:
    """How many steps fit into a file of the usual size. Of each it has x, the states and, where there is no room for
    the weights, both sums of products of each gate."""
    cell = spec.cell_type
    units = (2 * len(cell.gates) + len(cell.states)) * spec.hidden_size
    numbers = sum(units + spec.layer_input_size(layer) for layer in range(spec.num_layers))
    return max(min(MOST_KEPT, _DERIVATIONS // (8 * numbers * spec.num_directions)), 1)
