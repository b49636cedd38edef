"""A state in two parts: what was handed on to a chunk of steps, decayed, and what its steps have added since. A form
that computes many steps at once has a sum of its own for each, and a mistake may be in one of them.

Where h' or c' is a ⊙ state + b, the cell with its state in these parts is made of its own lines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rnnspect.arithmetic.forms import linear_state
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import tried
from rnnspect.cells.trial_values import WrongLineError

ITS_OWN, EVERY, ADDED, ITSELF = "its own", "every", "added", "itself"
"""What an engine may do wrong: a step reads what was handed on without the step's own decay, or without any; what the
steps add is not decayed; or each step decays what it adds itself."""
NOTHING = ("nothing", 0.0)
"""A constant of a cell in parts."""


@dataclass(frozen=True)
class InParts:
    """A cell with its state in parts."""

    cell: Cell
    blocks: tuple[int, ...]
    """The blocks of the cell state that are; what was added to them are blocks of their own, behind all others."""


@functools.cache
def in_parts(cell: Cell, mistake: str = "") -> InParts | None:
    """None where a state is not carried by products and sums alone, or a form has no two parts of it."""
    state = linear_state(cell)
    if not state:
        return None
    blocks = cell.cell_state if state == "c" else (("h", ("hidden_size",)),)
    try:
        found: list[int] = []
        every = _with_parts(cell, tuple(range(len(blocks))), mistake, found)
        tried(every)
        made = _with_parts(cell, tuple(found), mistake)
        tried(made)
    except (WrongLineError, TypeError, AttributeError):  # its lines take the state otherwise than in two parts
        return None
    return InParts(made, tuple(found)) if found else None


def _with_parts(cell: Cell, at: tuple[int, ...], mistake: str, carried: list[int] | None = None) -> Cell:
    """`carried` is told which blocks are multiplied by a decay."""
    of_h = not cell.has_cell_state
    blocks = (("h", ("hidden_size",)),) if of_h else cell.cell_state

    @functools.wraps(cell.step)
    def step(arithmetic: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        kept, a = arithmetic.blocks(c), _Apart(arithmetic, mistake)
        added = dict(zip(at, kept[len(blocks) :], strict=True))
        state = tuple(_Split(a, one, added.get(block)) for block, one in enumerate(kept[: len(blocks)]))
        a.begun = state
        given = (state[0],) if of_h else (_Split(a, h), state[0] if len(state) == 1 else _Split(a, c))
        q = cell.step(a, wx, *given)
        ended = a.packed_blocks if len(state) > 1 else (q["h" if of_h else "c"],)
        if len(ended) != len(blocks):
            raise WrongLineError("the blocks of the cell state are not packed")
        if carried is not None:
            carried.extend(block for block, one in enumerate(ended) if one.decay is not None)
        parts = [one.handed if block in at else one.whole for block, one in enumerate(ended)]
        since = [added[block] if ended[block].added is None else ended[block].added for block in at]
        new = arithmetic.packed(*parts, *since)
        return {**{name: one.whole for name, one in q.items()}, "c": new}

    return replace(
        cell,
        step=step,
        states=("h", "c"),
        quantities=tuple(dict.fromkeys((*cell.quantities, "c"))),
        cell_state=(*blocks, *((f"{blocks[block][0]} added", blocks[block][1]) for block in at)),
        constants=(*cell.constants, NOTHING),
    )


class _Split:
    """A value of the lines: a whole one, or a state in its two parts."""

    def __init__(self, a: _Apart, handed: Any, added: Any = None, before: Any = None, decay: Any = None) -> None:
        self.a, self.handed, self.added, self.decay = a, handed, added, decay
        self.before = handed if before is None else before
        """What was handed on, as the step before had it."""
        self.is_new = False
        """Whether what the step adds is in it: then it is carried no further."""

    @property
    def is_carried(self) -> bool:
        return self.added is not None and not self.is_new

    @functools.cached_property
    def whole(self) -> Any:
        """What the lines read."""
        if self.added is None:
            return self.handed
        return (self.before if self.a.mistake == ITS_OWN else self.handed) + self.added

    def __add__(self, other: _Split) -> _Split:
        if self.added is None and other.added is not None:
            return other + self
        if self.added is None or other.added is not None:
            return _Split(self.a, self.whole + other.whole)
        return self.with_added(self.added + self._as_added(other.whole))

    def __sub__(self, other: _Split) -> _Split:
        if self.added is None or other.added is not None:
            return _Split(self.a, self.whole - other.whole)
        return self.with_added(self.added - self._as_added(other.whole))

    def __mul__(self, other: _Split) -> _Split:
        if other.is_carried and not self.is_carried:
            return other * self
        if not self.is_carried or other.is_carried:
            return _Split(self.a, self.whole * other.whole)
        f, mistake = other.whole, self.a.mistake
        handed = self.handed if mistake == EVERY else f * self.handed
        added = self.added if mistake == ADDED else f * self.added
        return _Split(self.a, handed, added, self.before, f if self.decay is None else self.decay * f)

    def carried(self, f: Any, v: Any) -> _Split:
        """f ⊙ it + v, in the operation that bounds it best."""
        carry, mistake = self.a.meant.carry, self.a.mistake
        nothing = self.a.meant.constant(NOTHING[0]) * v
        handed = self.handed if mistake == EVERY else carry(f, self.handed, nothing)
        made = _Split(self.a, handed, self.added, self.before, f)
        v = made._as_added(v)
        return made.with_added(self.added + v if mistake == ADDED else carry(f, self.added, v))

    def with_added(self, added: Any) -> _Split:
        made = _Split(self.a, self.handed, added, self.before, self.decay)
        made.is_new = self.decay is not None
        return made

    def _as_added(self, v: Any) -> Any:
        return self.decay * v if self.a.mistake == ITSELF and self.decay is not None else v


class _Apart:
    """The arithmetic in which a cell's lines keep their state in parts."""

    def __init__(self, meant: Any, mistake: str) -> None:
        self.meant, self.mistake = meant, mistake
        self.begun: tuple[_Split, ...] = ()
        self.packed_blocks: tuple[_Split, ...] = ()

    def blocks(self, _c: _Split) -> tuple[_Split, ...]:
        return self.packed_blocks or self.begun

    def packed(self, *blocks: _Split) -> _Split:
        self.packed_blocks = blocks
        return _Split(self, None)  # with more blocks than the lines know of it is packed in the end

    def carry(self, f: _Split, c: _Split, v: _Split) -> _Split:
        if c.added is None:
            return _Split(self, self.meant.carry(f.whole, c.whole, v.whole))
        return c.carried(f.whole, v.whole)

    def lerp(self, n: _Split, h: _Split, z: _Split) -> _Split:
        if n.added is None and h.added is None:
            return _Split(self, self.meant.lerp(n.whole, h.whole, z.whole))
        made: _Split = n * self.rest(z) + h * z
        return made

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        meant = getattr(self.meant, operation)

        def made(*values: Any, **named: Any) -> Any:
            found = meant(*map(_plain, values), **named)
            return tuple(_Split(self, one) for one in found) if isinstance(found, tuple) else _Split(self, found)

        return made


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(one, _Split) for one in value):
        return tuple(map(_plain, value))
    return value.whole if isinstance(value, _Split) else value
