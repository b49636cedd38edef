"""Every mistake planted in every network that can make it, and what a check says of each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import rnnspect
from rnnspect import Spec
from tests.causes.loops import GATES, Array, Flags, Given, Net, run
from tests.causes.mistakes import HIDDEN, MISTAKES, Mistake, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LENGTHS = (7, 3, 6, 4)
SAME = 1e-5
"""Two float32 runs of these sizes that mean the same are nearer than this: 100 roundings of numbers near 1."""
Answer = Literal["right", "indistinguishable", "wrong"]


class Planted:
    """A setting with its numbers, drawn from the setting itself."""

    def __init__(self, setting: Setting, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, zlib.crc32(repr(setting).encode())])
        s, self.setting = setting, setting
        given = s.proj or HIDDEN
        rows, parameters = len(GATES[s.kind]) * HIDDEN, {}
        for layer in range(s.layers):
            for end in ("", "_reverse")[: s.directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, given * s.directions if layer else s.inputs),
                    "weight_hh": (rows, given),
                    "bias_ih": (rows,),
                    "bias_hh": (rows,),
                } | ({"weight_hr": (s.proj, HIDDEN)} if s.proj else {})
                for name, shape in shapes.items():
                    drawn = rng.uniform(-0.9, 0.9, shape) * (not (s.zero_biases and name.startswith("bias")))
                    parameters[f"{name}_l{layer}{end}"] = drawn.astype(np.float32)
        self.net = Net(s.kind, HIDDEN, s.layers, s.directions, parameters)
        states = s.layers * s.directions
        x = rng.standard_normal((s.steps, s.batch, s.inputs)).astype(np.float32)
        h0, c0 = (rng.standard_normal((states, s.batch, n)).astype(np.float32) for n in (given, HIDDEN))
        if s.from_zero:
            h0, c0 = np.zeros_like(h0), np.zeros_like(c0)
        self.given = Given(x, h0, c0, LENGTHS if s.packed else None)

    @cached_property
    def spec(self) -> Spec:
        s = self.setting
        return Spec(
            cell=s.kind.partition("-")[0],
            reset="before" if s.kind == "gru-before" else "after",
            input_size=s.inputs,
            hidden_size=HIDDEN,
            num_layers=s.layers,
            bidirectional=s.directions == 2,
            proj_size=s.proj,
            batch_first=False,
            weights={name: value.tolist() for name, value in self.net.parameters.items()},
        )

    def run(self, flags: Flags, *above: Flags) -> dict[str, Array]:
        return run(self.net, self.given, flags, *above)

    def check(self, recorded: Mapping[str, Any]) -> rnnspect.Verdict:
        given = self.given
        c0 = given.c0 if self.setting.kind == "lstm" else None
        return rnnspect.check(self.spec, given.x, given.h0, c0, lengths=given.lengths, recorded=recorded)

    def named(self, recorded: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """The verdict, and the names of the causes in their order."""
        verdict = self.check(recorded)
        return verdict.verdict, tuple(cause.name for cause in verdict.causes)

    def same(self, a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
        """Whether two recordings hold the same, as far as each item goes."""
        return a.keys() == b.keys() and all(self._apart(name, a[name], b[name]) < SAME for name in a)

    def _apart(self, name: str, a: Array, b: Array) -> float:
        apart = np.abs(a - b)
        if self.given.lengths and not name.endswith("_n"):
            inside = np.arange(self.setting.steps)[:, None] < np.array(self.given.lengths)
            apart *= (inside if name == "output" else inside.T)[..., None]
        return float(apart.max())


@dataclass(frozen=True)
class Case:
    mistake: Mistake
    setting: Setting

    def __str__(self) -> str:
        s = self.setting
        biases = "zero" if s.zero_biases else "own"
        return f"{self.mistake} in {s.kind}, {s.layers} × {s.directions}, {biases} biases"

    @cached_property
    def planted(self) -> Planted:
        return Planted(self.setting)

    @cached_property
    def recorded(self) -> dict[str, Array]:
        return self.planted.run(self.mistake.flags)


def cases() -> Iterator[Case]:
    """Each mistake × cell × 1 and 2 layers × 1 and 2 directions × own and zero biases, where it can be made."""
    for mistake, plain in _all():
        made = mistake.setting(plain)
        if isinstance(made, Setting):
            yield Case(mistake, made)


def left_out() -> dict[str, int]:
    """Why the others are none, and how many."""
    counts: dict[str, int] = {}
    for mistake, plain in _all():
        if isinstance(why := mistake.setting(plain), str):
            counts[why] = counts.get(why, 0) + 1
    return counts


def _all() -> Iterator[tuple[Mistake, Setting]]:
    for mistake in MISTAKES:
        for kind in mistake.cells:
            for layers in (1, 2):
                for directions in (1, 2):
                    for zero_biases in (False, True):
                        yield mistake, Setting(kind, layers, directions, zero_biases)


def told(case: Case) -> bool:
    """Whether the mistake changes any number beyond rounding. One that does not is none in this run."""
    return not case.planted.same(case.planted.run({}), case.recorded)


def twins(case: Case) -> set[str]:
    """Ids of other mistakes that give the same recording."""
    others = (m for m in MISTAKES if m.id != case.mistake.id and m.can_be_made_in(case.setting))
    return {m.id for m in others if case.planted.same(case.planted.run(m.flags), case.recorded)}


def outcome(case: Case) -> tuple[str, tuple[str, ...]]:
    """The verdict, and the names of the causes in their order."""
    return case.planted.named(case.recorded)


def judged(case: Case, names: tuple[str, ...]) -> Answer:
    """Right: the id is first. Indistinguishable: it is listed, and the first gives the same numbers."""
    right = case.mistake.id
    if names[:1] == (right,):
        return "right"
    return "indistinguishable" if right in names and names[0] in twins(case) else "wrong"
