"""A cell whose state is in two parts: what was handed on to a chunk of steps, decayed, and what the steps of the chunk
have added since. A form that computes many steps at once sums each part by itself, and a mistake may be in one sum.

Where h' or c' is a ⊙ state + b, such a cell is made from the cell's own lines.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rnnspect.arithmetic.forms import linear_state, running_maxima
from rnnspect.causes.known.forms._decay_words import EARLIER, LATER, OTHER
from rnnspect.causes.known.forms._delay_lines import delayed
from rnnspect.causes.known.forms._parted_values import NOTHING, PartsArithmetic
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import tried
from rnnspect.cells.trial_values import WrongLineError

OF_OTHER = "of the other step"
"""The suffix of the names of another step's gates, in a cell that gets the x of both steps."""


@dataclass(frozen=True)
class InParts:
    """A cell whose state is in two parts."""

    cell: Cell
    blocks: tuple[int, ...]
    """The blocks of the cell state that are in two parts. The parts that steps add are additional blocks, behind all
    others; where each step has the decay of the step before it, that decay follows in blocks of its own."""
    has_decays: bool = False
    kind: str = ""
    """The operation that carries the blocks, where that is a special one: carry_complex, delta."""
    maxima: frozenset[int] = frozenset()
    """The blocks that are running maxima of logarithms, to which those of decays are added."""


@functools.cache
def in_parts(cell: Cell, mistake: str = "") -> InParts | None:
    """The cell with its state in parts, with a mistake; None where a state is not carried by products and sums alone,
    or where a form does not compute it in two parts."""
    state = linear_state(cell) or linear_state(cell, delayed(cell))
    if not state:
        return None
    blocks = cell.cell_state if state == "c" else (("h", ("hidden_size",)),)
    try:
        found: dict[int, str] = {}
        every = _with_parts(cell, tuple(range(len(blocks))), mistake, found)
        tried(every)
        made = _with_parts(cell, tuple(found), mistake)
        tried(made)
    except (WrongLineError, TypeError, AttributeError):  # its lines cannot use a state in two parts
        return None
    if not found:
        return None
    return InParts(made, tuple(found), mistake == EARLIER, next(iter(found.values())), running_maxima(cell))


def _with_parts(cell: Cell, at: tuple[int, ...], mistake: str, carried: dict[int, str] | None = None) -> Cell:
    """The cell with its state in parts. `carried` receives which blocks are multiplied by a decay, each with the
    special operation that does it, if any."""
    of_h = not cell.has_cell_state
    blocks = (("h", ("hidden_size",)),) if of_h else cell.cell_state

    @functools.wraps(cell.step)
    def step(arithmetic: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        kept, a = arithmetic.blocks(c), PartsArithmetic(arithmetic, mistake)
        behind = kept[len(blocks) :]
        added = dict(zip(at, behind, strict=False))
        a.decays = dict(zip(at, behind[len(at) :], strict=False))
        given = a.begin(h, c, [(one, added.get(block)) for block, one in enumerate(kept[: len(blocks)])], of_h)
        a.maxima = running_maxima(cell)
        if mistake in (LATER, OTHER):
            a.gates, a.played = _of_other(cell, arithmetic, wx, (h, c, of_h), a)
        q = cell.step(a, wx, *given)
        made = q["h" if of_h else "c"]
        ended = made.parts or (made,)
        if len(ended) != len(blocks):
            raise WrongLineError("the blocks of the cell state are not packed")
        if carried is not None:
            carried.update({block: one.made_by for block, one in enumerate(ended) if one.decay is not None})
        parts = [one.handed if block in at else one.whole for block, one in enumerate(ended)]
        since = [added[block] if ended[block].added is None else ended[block].added for block in at]
        new = arithmetic.packed(*parts, *since, *(a.new_decays.get(block, old) for block, old in a.decays.items()))
        return {**{name: one.whole for name, one in q.items()}, "c": new}

    names = ("added", "decay") if mistake == EARLIER else ("added",)
    return replace(
        cell,
        step=step,
        states=("h", "c"),
        quantities=tuple(dict.fromkeys((*cell.quantities, "c"))),
        cell_state=(*blocks, *((f"{blocks[block][0]} {name}", blocks[block][1]) for name in names for block in at)),
        constants=(*cell.constants, NOTHING),
        **(with_other_gates(cell, mistake == OTHER) if mistake in (LATER, OTHER) else {}),
    )


def _of_other(
    cell: Cell, arithmetic: Any, wx: Any, state: tuple[Any, Any, bool], a: PartsArithmetic
) -> tuple[tuple[Any, ...], Iterator[Any]]:
    """The gates of the step itself, and the decays of the other step, in the order in which the lines use them."""
    count, (h, c, of_h) = len(cell.gates), state
    gates = arithmetic.split(wx)
    other = PartsArithmetic(arithmetic, "")
    other.gates, other.met, other.maxima = gates[count : 2 * count], [], a.maxima
    begun: list[tuple[Any, Any]] = [(one.handed, one.added) for one in a.begun]
    if kept := delayed(cell):  # the other step, the next one, has what this step leaves there
        first = PartsArithmetic(arithmetic, "")
        first.gates = gates[:count]
        left = cell.step(first, wx, *first.begin(h, c, begun, of_h))["c"].parts
        begun = [(left[block].whole, one[1]) if block in kept else one for block, one in enumerate(begun)]
    cell.step(other, wx, *other.begin(h, c, begun, of_h))
    decays = [decay for decay, _ in other.met]
    if len(gates) > 2 * count:
        decays = [or_none(arithmetic, decay, without, gates[-1]) for decay, without in other.met]
    return gates[:count], iter(decays)


def or_none(arithmetic: Any, decay: Any, without: int, nowhere: Any) -> Any:
    """A decay; but where the gate `nowhere` is 1, the value that stands for no decay: 1 for a factor, 0 for a
    logarithm."""
    nowhere = arithmetic.spread(nowhere, decay)
    kept = decay - nowhere * decay
    return kept + nowhere if without else kept


def with_other_gates(cell: Cell, has_none: bool) -> dict[str, Any]:
    """The names and sizes of the gates of a step, followed by those of another step; with `has_none` also of the gate
    that is 1 where there is no other step."""
    behind = tuple(f"{gate} {OF_OTHER}" for gate in cell.gates)
    none = (("no other step", (1,)),) if has_none else ()
    sizes = dict(cell.sizes)
    own = tuple((name, sizes[gate]) for name, gate in zip(behind, cell.gates, strict=True) if gate in sizes)
    return {"gates": (*cell.gates, *behind, *(name for name, _ in none)), "sizes": (*cell.sizes, *own, *none)}
