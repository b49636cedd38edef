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
from rnnspect.causes.known._delay_lines import delay_lines
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import tried
from rnnspect.cells.trial_values import WrongLineError

ITS_OWN, EVERY, ADDED, NONE, ITSELF = "its own", "every", "added", "none", "itself"
"""What an engine may do wrong: a step reads what was handed on without the step's own decay, or without any; what the
steps add is not decayed; neither is; or each step decays what it adds itself."""
ADDED_LATE, EARLIER = "added but its own", "earlier"
"""And: a step reads what was added before it without the step's own decay; or each step has the decay of the one
before."""
NOTHING = ("nothing", 0.0)
"""A constant of a cell in parts."""


@dataclass(frozen=True)
class InParts:
    """A cell with its state in parts."""

    cell: Cell
    blocks: tuple[int, ...]
    """The blocks of the cell state that are; what was added to them are blocks of their own, behind all others. Behind
    these, where steps have the decay of the one before, is that decay."""
    has_decays: bool = False
    kind: str = ""
    """The operation that carries them, where it has one of its own: carry_complex, delta."""


@functools.cache
def in_parts(cell: Cell, mistake: str = "") -> InParts | None:
    """None where a state is not carried by products and sums alone, or a form has no two parts of it."""
    state = linear_state(cell) or linear_state(cell, _delayed(cell))
    if not state:
        return None
    blocks = cell.cell_state if state == "c" else (("h", ("hidden_size",)),)
    try:
        found: dict[int, str] = {}
        every = _with_parts(cell, tuple(range(len(blocks))), mistake, found)
        tried(every)
        made = _with_parts(cell, tuple(found), mistake)
        tried(made)
    except (WrongLineError, TypeError, AttributeError):  # its lines take the state otherwise than in two parts
        return None
    return InParts(made, tuple(found), mistake == EARLIER, next(iter(found.values()))) if found else None


def _delayed(cell: Cell) -> frozenset[int]:
    """The blocks that keep inputs for a convolution: no decay depends on what is carried by it."""
    return frozenset(block for line in delay_lines(cell) for block in line.blocks)


def _with_parts(cell: Cell, at: tuple[int, ...], mistake: str, carried: dict[int, str] | None = None) -> Cell:
    """`carried` is told which blocks are multiplied by a decay, and by which operation if that is one of its own."""
    of_h = not cell.has_cell_state
    blocks = (("h", ("hidden_size",)),) if of_h else cell.cell_state

    @functools.wraps(cell.step)
    def step(arithmetic: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        kept, a = arithmetic.blocks(c), _Apart(arithmetic, mistake)
        behind = kept[len(blocks) :]
        added = dict(zip(at, behind, strict=False))
        a.decays = dict(zip(at, behind[len(at) :], strict=False))
        state = tuple(_Split(a, one, added.get(block), block=block) for block, one in enumerate(kept[: len(blocks)]))
        a.begun = state
        given = (state[0],) if of_h else (_Split(a, h), state[0] if len(state) == 1 else _Split(a, c))
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
    )


class _Split:
    """A value of the lines: a whole one, or a state in its two parts."""

    def __init__(self, a: _Apart, handed: Any, added: Any = None, block: int = 0) -> None:
        self.a, self.handed, self.added, self.block = a, handed, added, block
        self.before, self.added_before = handed, added
        """Both parts as the step before had them."""
        self.decay: Any = None
        """What they are multiplied by since."""
        self.added_decayed: Any = None
        self.made_by = ""
        self.parts: tuple[_Split, ...] = ()
        """Of what is packed its blocks."""
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
        handed = self.before if self.a.mistake == ITS_OWN else self.handed
        if self.a.mistake == ADDED_LATE and self.decay is not None:
            return handed + (self.added - self.added_decayed) + self.added_before
        return handed + self.added

    def multiplied(self, decay: Any, handed: Any, added: Any, decayed: Any = None) -> _Split:
        """The same state with its parts multiplied by a decay; `decayed` is what was added before, once it is."""
        made = _Split(self.a, handed, added, self.block)
        made.before, made.added_before = self.before, self.added_before
        made.decay = decay
        made.added_decayed = decayed
        return made

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
        f, mistake = self.a.decay_of(self, other.whole), self.a.mistake
        handed = self.handed if mistake in (EVERY, NONE) else f * self.handed
        added = self.added if mistake in (ADDED, NONE) else f * self.added
        return self.multiplied(f, handed, added, added)

    def carried(self, f: Any, v: Any) -> _Split:
        """f ⊙ it + v, in the operation that bounds it best."""
        carry, mistake, f = self.a.meant.carry, self.a.mistake, self.a.decay_of(self, f)
        nothing = self.a.meant.constant(NOTHING[0]) * v
        handed = self.handed if mistake in (EVERY, NONE) else carry(f, self.handed, nothing)
        made = self.multiplied(f, handed, self.added, f * self.added if mistake == ADDED_LATE else None)
        v = made._as_added(v)
        return made.with_added(self.added + v if mistake in (ADDED, NONE) else carry(f, self.added, v))

    def with_added(self, added: Any, made_by: str = "") -> _Split:
        made = _Split(self.a, self.handed, added, self.block)
        made.before, made.added_before = self.before, self.added_before
        made.decay, made.added_decayed = self.decay, self.added_decayed
        made.is_new, made.made_by = self.decay is not None, made_by
        return made

    def _as_added(self, v: Any) -> Any:
        return self.decay * v if self.a.mistake == ITSELF and self.decay is not None else v


class _Apart:
    """The arithmetic in which a cell's lines keep their state in parts."""

    def __init__(self, meant: Any, mistake: str) -> None:
        self.meant, self.mistake = meant, mistake
        self.begun: tuple[_Split, ...] = ()
        self.decays, self.new_decays = dict[int, Any](), dict[int, Any]()
        """By block the decay of the step before, where that is used, and that of this step."""

    def decay_of(self, state: _Split, f: Any) -> Any:
        """What a state is multiplied by in place of f."""
        if state.block not in self.decays:
            return f
        self.new_decays[state.block] = f + self.meant.constant(NOTHING[0]) * state.before  # as large as the state
        return self.decays[state.block]

    def blocks(self, c: _Split) -> tuple[_Split, ...]:
        return c.parts or self.begun

    def packed(self, *blocks: _Split) -> _Split:
        made = _Split(self, None)  # with more blocks than the lines know of it is packed in the end
        made.parts = blocks
        return made

    def carry(self, f: _Split, c: _Split, v: _Split) -> _Split:
        if c.added is None:
            return _Split(self, self.meant.carry(f.whole, c.whole, v.whole))
        return c.carried(f.whole, v.whole)

    def carry_complex(self, p: _Split, q: _Split, c: _Split, v: _Split) -> _Split:
        """(p + i q) ⊙ c + v, with all in real parts: only a whole cell state can be packed."""
        state = self.blocks(c)
        if len(state) != 2 or state[0].added is None or state[1].added is None:
            raise WrongLineError("only a whole cell state is taken apart")
        decay = tuple(self.decay_of(one, f.whole) for one, f in zip(state, (p, q), strict=True))
        handed, added = ([getattr(one, part) for one in state] for part in ("handed", "added"))
        decayed, more = _turned(decay, added), [one.whole for one in v.parts]
        handed = handed if self.mistake in (EVERY, NONE) else _turned(decay, handed)
        more = _turned(decay, more) if self.mistake == ITSELF else more
        ended = added if self.mistake in (ADDED, NONE) else decayed
        each = zip(state, decay, handed, decayed, ended, more, strict=True)
        return self.packed(
            *(
                one.multiplied(f, kept, old, old).with_added(now + new, "carry_complex")
                for one, f, kept, old, now, new in each
            )
        )

    def delta(self, s: _Split, f: _Split | None, b: _Split, k: _Split, v: _Split, heads: int = 1) -> _Split:
        """f ⊙ it + β k (v − (f ⊙ it)ᵀ k)ᵀ: what was handed on is decayed alone, and what is taken off for it is among
        what the step adds."""
        meant, mistake = self.meant, self.mistake
        if s.added is None or f is None:
            return _Split(self, meant.delta(s.whole, f and f.whole, b.whole, k.whole, v.whole, heads))
        decay = self.decay_of(s, meant.spread(f.whole, s.handed))
        handed = s.handed if mistake in (EVERY, NONE) else decay * s.handed
        decayed = s.added if mistake in (ADDED, NONE) else decay * s.added
        off = meant.by_key(handed, k.whole, heads)
        share = f.whole * b.whole if mistake == ITSELF else b.whole
        added = meant.delta(decayed, None, share, k.whole, v.whole - off, heads)
        return s.multiplied(decay, handed, decayed, decayed).with_added(added, "delta")

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


def _turned(decay: Any, pair: Any) -> list[Any]:
    (p, q), (re, im) = decay, pair
    return [p * re - q * im, q * re + p * im]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(one, _Split) for one in value):
        return tuple(map(_plain, value))
    return value.whole if isinstance(value, _Split) else value
