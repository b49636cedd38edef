"""Two mistakes made at once in one run, drawn from those of the weights and of the order of steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tests.causes.mistakes import BASIC, FAMILIES, MISTAKES, Mistake, Setting
from tests.causes.planted import Planted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.causes.loops import Array

DRAWN_FROM = ("gates", "biases", "kernels", "directions")


@dataclass(frozen=True)
class Pair:
    first: Mistake
    second: Mistake
    setting: Setting

    def __str__(self) -> str:
        s = self.setting
        return f"{self.first} and {self.second} in {s.kind}, {s.layers} × {s.directions}"

    @property
    def ids(self) -> set[str]:
        return {self.first.id, self.second.id}

    @property
    def drawn(self) -> tuple[frozenset[str], Setting]:
        """What it is, in whatever order the two were drawn."""
        return frozenset({str(self.first), str(self.second)}), self.setting

    @cached_property
    def planted(self) -> Planted:
        return Planted(self.setting)

    @cached_property
    def recorded(self) -> dict[str, Array]:
        return self.planted.run({**self.first.flags, **self.second.flags})

    def both_named(self, names: tuple[str, ...]) -> bool:
        """In one cause that is a pair, or in two."""
        return self.ids <= {part for name in names for part in re.findall(r"[\w-]+", name)}


def pairs(count: int = 30, seed: int = 0) -> Iterator[Pair]:
    """Each of two ids, made at different places; no mistake alone gives the same numbers. Gates of some parameters in
    another order are looked for alone."""
    rng = np.random.default_rng(seed)
    known = [mistake for family in DRAWN_FROM for mistake in FAMILIES[family] if "taken for" not in mistake.flags]
    drawn: set[tuple[frozenset[str], Setting]] = set()
    while len(drawn) < count:
        first, second = (known[at] for at in rng.choice(len(known), 2, replace=False))
        plain = Setting(str(rng.choice(BASIC)), int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        pair = _fitting(first, second, plain)
        if pair and pair.drawn not in drawn and _two(pair):
            drawn.add(pair.drawn)
            yield pair


def _fitting(first: Mistake, second: Mistake, plain: Setting) -> Pair | None:
    if first.id == second.id or first.flags.keys() & second.flags.keys():
        return None
    made = first.setting(plain)
    both = second.setting(made) if isinstance(made, Setting) else made
    if isinstance(both, str) or not (first.can_be_made_in(both) and second.can_be_made_in(both)):
        return None
    return Pair(first, second, both)


def _two(pair: Pair) -> bool:
    alone = [{}, *(mistake.flags for mistake in MISTAKES if mistake.can_be_made_in(pair.setting))]
    return not any(pair.planted.same(pair.planted.run(flags), pair.recorded) for flags in alone)
