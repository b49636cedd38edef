"""The values of a state in two parts (`_parted_cell.py`), and the arithmetic that computes with them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

from rnnspect.causes.known.forms._decay_words import ADDED, ADDED_LATE, EVERY, ITS_OWN, ITSELF, NONE, UNREAD
from rnnspect.cells.trial_values import WrongLineError

NOTHING = ("nothing", 0.0)
"""A constant that cells with their state in parts have."""


class PartedValue:
    """A value of a cell's lines: a plain one, or a state in two parts."""

    def __init__(self, a: PartsArithmetic, handed: Any, added: Any = None, block: int = -1) -> None:
        self.a, self.handed, self.added, self.block = a, handed, added, block
        self.before, self.added_before = handed, added
        """Both parts before this step."""
        self.decay: Any = None
        """The decay by which this step has multiplied them, without a change of scale."""
        self.added_decayed: Any = None
        self.undecayed: Any = None
        """The same value without the decay, where the decay's logarithm was added to a running maximum m: of log a + m
        − m' this is m − m', whose exponential fits the state to the new maximum m' without decaying it."""
        self.made_by = ""
        self.parts: tuple[PartedValue, ...] = ()
        """The blocks of a packed value."""
        self.is_new = False
        """Whether what this step adds is included. Then the step carries the value no further."""

    @property
    def is_carried(self) -> bool:
        return self.added is not None and not self.is_new

    @functools.cached_property
    def whole(self) -> Any:
        """The value that the lines read: the sum of both parts, as the mistake has it."""
        if self.added is None:
            return self.handed
        handed = self.before if self.a.mistake == ITS_OWN else self.handed
        if self.a.mistake == ADDED_LATE and self.decay is not None:
            return handed + (self.added - self.added_decayed) + self.added_before
        if self.a.mistake == UNREAD and self.is_new:
            return handed + self.added_decayed
        return handed + self.added

    def multiplied(self, decay: Any, handed: Any, added: Any, decayed: Any = None) -> PartedValue:
        """The same state with its parts multiplied by a decay. `decayed` is the part that was added before this step,
        multiplied by the decay."""
        made = PartedValue(self.a, handed, added, self.block)
        made.before, made.added_before = self.before, self.added_before
        made.decay = decay
        made.added_decayed = decayed
        return made

    @property
    def is_maximum(self) -> bool:
        """Whether this is a block to which the logarithm of a decay is added, as to a running maximum."""
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
        """by ⊙ self + v, by the operation with the tightest bound."""
        carry, mistake, f, scale = self.a.meant.carry, self.a.mistake, self.a.decay_of(self, by.whole), by.undecayed
        nothing = self.a.meant.constant(NOTHING[0]) * v

        def kept(state: Any, more: Any = None) -> Any:
            """The state without its decay, plus what is added to it."""
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
        """An operation on plain values."""
        both, found = (self, other), operation(self.whole, other.whole)
        if not any(map(_has_log, both)):
            return PartedValue(self.a, found)
        return self._with_log(found, operation(*map(_undecayed, both)))

    def _as_added(self, v: Any) -> Any:
        return self.decay * v if self.a.mistake == ITSELF and self.decay is not None else v


class PartsArithmetic:
    """The arithmetic of a cell whose state is in two parts."""

    def __init__(self, meant: Any, mistake: str) -> None:
        self.meant, self.mistake = meant, mistake
        self.begun: tuple[PartedValue, ...] = ()
        self.decays, self.new_decays = dict[int, Any](), dict[int, Any]()
        """By block: the decay of the step before, where it is used, and the decay of this step."""
        self.gates: tuple[Any, ...] = ()
        """The gates of the step itself, where x holds those of another step as well."""
        self.maxima = frozenset[int]()
        """The blocks that are running maxima of logarithms. What is added to these is a decay's logarithm; in the other
        blocks the decay is its exponential."""
        self.met: list[tuple[Any, int]] | None = None
        """The decays that the lines meet, in their order, each with the value that stands for no decay; None where they
        are not recorded. Then the decays that are used in their place."""
        self.played: Iterator[Any] | None = None

    def begin(self, h: Any, c: Any, state: list[tuple[Any, Any]], of_h: bool) -> tuple[PartedValue, ...]:
        """The states as the lines get them; each block is in two parts, what was handed on and what was added."""
        self.begun = tuple(PartedValue(self, *both, block=block) for block, both in enumerate(state))
        if of_h:
            return self.begun
        return PartedValue(self, h), self.begun[0] if len(state) == 1 else PartedValue(self, c)

    def decay_of(self, state: PartedValue, f: Any, without: int = 1) -> Any:
        """What a state is really multiplied by in place of f, or what is really added to a running maximum in place of
        f, with the mistake. `without` is the value that stands for no decay."""
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
        made = PartedValue(self, None)  # packed at the end, as it has more blocks than the lines know
        made.parts = blocks
        return made

    def carry(self, f: PartedValue, c: PartedValue, v: PartedValue) -> PartedValue:
        if c.added is None:
            return PartedValue(self, self.meant.carry(f.whole, c.whole, v.whole))
        return c.carried(f, v.whole)

    def carry_complex(self, p: PartedValue, q: PartedValue, c: PartedValue, v: PartedValue) -> PartedValue:
        """(p + i q) ⊙ c + v for a complex state. Its real and imaginary part have to be packed as a whole cell
        state."""
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
        """The delta rule f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ for a state S in parts: the part that was handed on is only
        decayed, and what is subtracted for it belongs to what the step adds."""
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
