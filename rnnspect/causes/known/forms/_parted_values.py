"""The values of a state in two parts (`_parted_cell.py`), and the arithmetic that computes with them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

from rnnspect.causes.known.forms._decay_words import ADDED, ADDED_LATE, EVERY, ITS_OWN, ITSELF, NONE, UNREAD
from rnnspect.cells.trial_values import WrongLineError

NOTHING = ("nothing", 0.0)
"""A constant of a cell in parts."""


class PartedValue:
    """A value of the lines: a whole one, or a state in its two parts."""

    def __init__(self, a: PartsArithmetic, handed: Any, added: Any = None, block: int = -1) -> None:
        self.a, self.handed, self.added, self.block = a, handed, added, block
        self.before, self.added_before = handed, added
        """Both parts as the step before had them."""
        self.decay: Any = None
        """What they are multiplied by since, but for a change of scale."""
        self.added_decayed: Any = None
        self.undecayed: Any = None
        """The same value without a decay's logarithm that was added to a running maximum m in it. Of log a + m − m' it
        is m − m', and exp of that fits the state to the new maximum m' without decaying it."""
        self.made_by = ""
        self.parts: tuple[PartedValue, ...] = ()
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
        if self.a.mistake == UNREAD and self.is_new:
            return handed + self.added_decayed
        return handed + self.added

    def multiplied(self, decay: Any, handed: Any, added: Any, decayed: Any = None) -> PartedValue:
        """The same state with its parts multiplied by a decay; `decayed` is what was added before, once it is."""
        made = PartedValue(self.a, handed, added, self.block)
        made.before, made.added_before = self.before, self.added_before
        made.decay = decay
        made.added_decayed = decayed
        return made

    @property
    def is_maximum(self) -> bool:
        """Whether it is a block of the state to which the logarithm of a decay is added."""
        return self.block in self.a.maxima

    def __add__(self, other: PartedValue) -> PartedValue:
        if self.is_maximum or other.is_maximum:
            one, log = (self, other) if self.is_maximum else (other, self)
            return self._with_log(one.whole + self.a.decay_of(one, log.whole), one.whole)
        if self.added is None and other.added is not None:
            return other + self
        if self.added is None or other.added is not None:
            return self._plainly(operator.add, other)
        return self.with_added(self.added + self._as_added(other.whole))

    def __sub__(self, other: PartedValue) -> PartedValue:
        if self.is_maximum:
            return self._with_log(self.whole - self.a.decay_of(self, other.whole), self.whole)
        if self.added is None or other.added is not None:
            return self._plainly(operator.sub, other)
        return self.with_added(self.added - self._as_added(other.whole))

    def __mul__(self, other: PartedValue) -> PartedValue:
        if other.is_carried and not self.is_carried:
            return other * self
        if not self.is_carried or other.is_carried:
            return self._plainly(operator.mul, other)
        f, mistake = self.a.decay_of(self, other.whole), self.a.mistake
        handed = self.handed if mistake in (EVERY, NONE) else f * self.handed
        added = self.added if mistake in (ADDED, NONE) else f * self.added
        return self.multiplied(f, handed, added, added)

    def carried(self, by: PartedValue, v: Any) -> PartedValue:
        """by ⊙ it + v, in the operation that bounds it best."""
        carry, mistake, f, scale = self.a.meant.carry, self.a.mistake, self.a.decay_of(self, by.whole), by.undecayed
        nothing = self.a.meant.constant(NOTHING[0]) * v

        def kept(state: Any, more: Any = None) -> Any:
            """The state without its decay, and what is added to it."""
            if scale is None:
                return state if more is None else state + more
            return carry(scale, state, nothing if more is None else more)

        handed = kept(self.handed) if mistake in (EVERY, NONE) else carry(f, self.handed, nothing)
        made = self.multiplied(f, handed, self.added, f * self.added if mistake in (ADDED_LATE, UNREAD) else None)
        if mistake in (ITS_OWN, ADDED_LATE):
            made.before, made.added_before = kept(self.before), kept(self.added_before)
        if mistake == ITSELF and scale is not None:
            made.decay = f * self.a.meant.reciprocal(scale)
        v = made._as_added(v)
        return made.with_added(kept(self.added, v) if mistake in (ADDED, NONE) else carry(f, self.added, v))

    def with_added(self, added: Any, made_by: str = "") -> PartedValue:
        made = PartedValue(self.a, self.handed, added, self.block)
        made.before, made.added_before = self.before, self.added_before
        made.decay, made.added_decayed = self.decay, self.added_decayed
        made.is_new, made.made_by = self.decay is not None, made_by
        return made

    def _with_log(self, v: Any, undecayed: Any) -> PartedValue:
        made = PartedValue(self.a, v)
        made.undecayed = undecayed
        return made

    def _plainly(self, operation: Callable[[Any, Any], Any], other: PartedValue) -> PartedValue:
        """Of whole values."""
        both, found = (self, other), operation(self.whole, other.whole)
        if not any(map(_has_log, both)):
            return PartedValue(self.a, found)
        return self._with_log(found, operation(*map(_undecayed, both)))

    def _as_added(self, v: Any) -> Any:
        return self.decay * v if self.a.mistake == ITSELF and self.decay is not None else v


class PartsArithmetic:
    """The arithmetic in which a cell's lines keep their state in parts."""

    def __init__(self, meant: Any, mistake: str) -> None:
        self.meant, self.mistake = meant, mistake
        self.begun: tuple[PartedValue, ...] = ()
        self.decays, self.new_decays = dict[int, Any](), dict[int, Any]()
        """By block the decay of the step before, where that is used, and that of this step."""
        self.gates: tuple[Any, ...] = ()
        """Those of W_ih x + b_ih, where there are others as well."""
        self.maxima = frozenset[int]()
        """The blocks that are running maxima of logarithms: a decay is what is added to these, and exp of it in the
        others."""
        self.met: list[tuple[Any, int]] | None = None
        """The decays of the lines in their order, where they are asked for, each with what stands for none; and those
        that are used in their place."""
        self.played: Iterator[Any] | None = None

    def begin(self, h: Any, c: Any, state: list[tuple[Any, Any]], of_h: bool) -> tuple[PartedValue, ...]:
        """The states that the lines are given, of which each block is handed on and added."""
        self.begun = tuple(PartedValue(self, *both, block=block) for block, both in enumerate(state))
        if of_h:
            return self.begun
        return PartedValue(self, h), self.begun[0] if len(state) == 1 else PartedValue(self, c)

    def decay_of(self, state: PartedValue, f: Any, without: int = 1) -> Any:
        """What a state is multiplied by in place of f, or in place of what is added to a running maximum."""
        if self.maxima and not state.is_maximum:
            return f
        if self.met is not None:
            self.met.append((f, 0 if state.is_maximum else without))
        if self.played is not None:
            return next(self.played)
        if state.block not in self.decays:
            return f
        self.new_decays[state.block] = f + self.meant.constant(NOTHING[0]) * state.before  # as large as the state
        return self.decays[state.block]

    def split(self, packed: Any) -> tuple[PartedValue, ...]:
        if not self.gates:
            return tuple(PartedValue(self, one) for one in self.meant.split(_plain(packed)))
        if isinstance(packed, PartedValue):
            raise WrongLineError("a parameter of all gates is split")
        return tuple(PartedValue(self, one) for one in self.gates)

    def blocks(self, c: PartedValue) -> tuple[PartedValue, ...]:
        return c.parts or self.begun

    def packed(self, *blocks: PartedValue) -> PartedValue:
        made = PartedValue(self, None)  # with more blocks than the lines know of it is packed in the end
        made.parts = blocks
        return made

    def carry(self, f: PartedValue, c: PartedValue, v: PartedValue) -> PartedValue:
        if c.added is None:
            return PartedValue(self, self.meant.carry(f.whole, c.whole, v.whole))
        return c.carried(f, v.whole)

    def carry_complex(self, p: PartedValue, q: PartedValue, c: PartedValue, v: PartedValue) -> PartedValue:
        """(p + i q) ⊙ c + v, with all in real parts: only a whole cell state can be packed."""
        state = self.blocks(c)
        if len(state) != 2 or state[0].added is None or state[1].added is None:
            raise WrongLineError("only a whole cell state is taken apart")
        decay = tuple(self.decay_of(one, f.whole, w) for one, f, w in zip(state, (p, q), (1, 0), strict=True))
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

    def delta(
        self, s: PartedValue, f: PartedValue | None, b: PartedValue, k: PartedValue, v: PartedValue, heads: int = 1
    ) -> PartedValue:
        """f ⊙ it + β k (v − (f ⊙ it)ᵀ k)ᵀ: what was handed on is decayed alone, and what is taken off for it is among
        what the step adds."""
        meant, mistake = self.meant, self.mistake
        if s.added is None or f is None:
            return PartedValue(self, meant.delta(s.whole, f and f.whole, b.whole, k.whole, v.whole, heads))
        decay = self.decay_of(s, meant.spread(f.whole, s.handed))
        handed = s.handed if mistake in (EVERY, NONE) else decay * s.handed
        decayed = s.added if mistake in (ADDED, NONE) else decay * s.added
        off = meant.by_key(handed, k.whole, heads)
        share = f.whole * b.whole if mistake == ITSELF else b.whole
        added = meant.delta(decayed, None, share, k.whole, v.whole - off, heads)
        return s.multiplied(decay, handed, decayed, decayed).with_added(added, "delta")

    def lerp(self, n: PartedValue, h: PartedValue, z: PartedValue) -> PartedValue:
        if n.added is None and h.added is None:
            return PartedValue(self, self.meant.lerp(n.whole, h.whole, z.whole))
        made: PartedValue = n * self.rest(z) + h * z
        return made

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        meant = getattr(self.meant, operation)

        def made(*values: Any, **named: Any) -> Any:
            found = meant(*map(_plain, values), **named)
            if isinstance(found, tuple):
                return tuple(PartedValue(self, one) for one in found)
            value = PartedValue(self, found)
            if operation != "maximum" and any(map(_has_log, values)):
                value.undecayed = meant(*map(_undecayed, values), **named)
            return value

        return made


def _turned(decay: Any, pair: Any) -> list[Any]:
    (p, q), (re, im) = decay, pair
    return [p * re - q * im, q * re + p * im]


def _has_log(value: Any) -> bool:
    return isinstance(value, PartedValue) and value.undecayed is not None


def _undecayed(value: Any) -> Any:
    return value.undecayed if _has_log(value) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(one, PartedValue) for one in value):
        return tuple(map(_plain, value))
    return value.whole if isinstance(value, PartedValue) else value
