"""Mistakes drawn for networks of two and three layers of which the output alone was recorded."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

import rnnspect
from tests.causes.loops import Array, Flags
from tests.causes.mistakes import FAMILIES, MISTAKES, Mistake, Setting
from tests.causes.planted import Planted

LAYER_BY_LAYER = ("gates", "biases", "kernels", "functions")
"""Families whose mistakes can be made in one layer alone."""
UNTOLD = {"float16-sums", "state-rounded", "state-updated-in-place"}
"""What the output alone cannot tell of a layer below: errors of sums look like any other small error there, a state is
rounded up or down by less than is known of it, and which units saw which h is told by that h."""


@dataclass(frozen=True)
class Drawn:
    """A mistake in one layer, or in every one (`layer` is None)."""

    mistake: Mistake
    setting: Setting
    layer: int | None
    seed: int

    def __str__(self) -> str:
        s = self.setting
        where = "every layer" if self.layer is None else f"layer {self.layer}"
        return f"{self.mistake} in {where} of {s.kind}, {s.layers} × {s.directions}, seed {self.seed}"

    @cached_property
    def planted(self) -> Planted:
        return Planted(self.setting, self.seed)

    @cached_property
    def recorded(self) -> dict[str, Array]:
        return self.output(self.mistake.flags)

    def output(self, flags: Flags, layer: int | None = -1) -> dict[str, Array]:
        """Of a run with these flags in that layer; without one, in the layer where the mistake is made."""
        layer = self.layer if layer == -1 else layer
        each = [flags if layer in (None, at) else {} for at in range(self.setting.layers)]
        return {"output": self.planted.run(*each)["output"]}

    @property
    def can_be_told(self) -> bool:
        return not self.planted.same(self.output({}), self.recorded)

    def check(self, **options: Any) -> rnnspect.Verdict:
        given = self.planted.given
        c0 = given.c0 if self.setting.kind == "lstm" else None
        return rnnspect.check(
            self.planted.spec, given.x, given.h0, c0, lengths=given.lengths, recorded=self.recorded, **options
        )

    def right(self, cause: rnnspect.Explanation) -> bool:
        """Whether it is the mistake, or one, or two together, that give the same output, in every layer or in any."""
        if cause.name == self.mistake.id:
            return True
        places = [None, *range(self.setting.layers)]
        known = [m for m in MISTAKES if self.setting.kind in m.cells]
        each = [[m.flags for m in known if m.id == name] for name in cause.together or (cause.name,)]
        return any(self._same(functools.reduce(operator.or_, some), at) for some in product(*each) for at in places)

    def _same(self, flags: Flags, layer: int | None) -> bool:
        try:
            return self.planted.same(self.output(flags, layer), self.recorded)
        except (ValueError, IndexError):  # it cannot be made there: what it makes is of another shape
            return False


def drawn(count: int, seed: int = 0) -> Iterator[Drawn]:
    """Every mistake of the catalogue that changes the output, in a cell, number of layers and directions drawn for
    it."""
    rng = np.random.default_rng(seed)
    known = [(family, mistake) for family, some in FAMILIES.items() for mistake in some]
    found = 0
    while found < count:
        family, mistake = known[int(rng.integers(len(known)))]
        kind = str(rng.choice(mistake.cells))
        plain = Setting(kind, int(rng.integers(2, 4)), int(rng.integers(1, 3)))
        made = mistake.setting(plain)
        one = family in LAYER_BY_LAYER and rng.random() < 0.5
        layer = int(rng.integers(plain.layers)) if one else None
        if isinstance(made, Setting) and mistake.id not in UNTOLD:
            case = Drawn(mistake, made, layer, int(rng.integers(1000)))
            if case.can_be_told:
                found += 1
                yield case
