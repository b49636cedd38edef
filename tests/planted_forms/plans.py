"""How a form runs its steps, and what a mistake is: the words that all files of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

Parameters = Mapping[str, Tensor]
State = tuple[Tensor, ...]

CHUNKED = ("matrix", "division", "tree")
"""Forms that compute a chunk at once: a matrix of decays, a division by cumulated decays, a scan that doubles."""


@dataclass(frozen=True)
class How:
    """How the steps are run."""

    form: str
    """How the steps of a chunk are computed: steps, or one of `CHUNKED` or of the cell's own."""
    chunk: int
    prefill: int = 0
    """The steps of the prompt, after which each step is a call of its own; 0 where there is none."""
    wrong: str = ""
    """The name of the mistake; empty in a right form."""

    def spans(self, steps: int) -> Iterator[slice]:
        """The steps that are computed at once, the last ones fewer."""
        if self.prefill:
            yield slice(0, min(self.prefill, steps))
            for step in range(self.prefill, steps):
                yield slice(step, step + 1)
        else:
            for start in range(0, steps, self.chunk):
                yield slice(start, min(start + self.chunk, steps))

    def breaks_at(self, number: int) -> bool:
        """Whether a mistake that is made where chunks meet is made at the beginning of this one: at all but the first,
        after a prompt only there, and where its name says `once` at the second edge, or the only one."""
        if self.prefill:
            return number == 1
        return number == 2 if self.wrong.endswith(" once") else number > 0

    def also_in_single_steps(self, wrong: str, mistakes: tuple[Mistake, ...]) -> str:
        """The mistake that a chunk makes: the `wrong` that is given, or one of these, which the single steps after a
        prompt make as well."""
        return self.kind if any(one.name == self.kind for one in mistakes) else wrong

    @property
    def kind(self) -> str:
        """The mistake without how often it is made."""
        return self.wrong.removesuffix(" once")


Run = Callable[[Tensor, State, Parameters, How], tuple[Tensor, State]]
"""x is (batch, step, feature), each state (batch, units); gives the output and the final states."""


@dataclass(frozen=True)
class Mistake:
    """One that people make, and what it should be called."""

    name: str
    right: frozenset[str] | None
    """The ids of docs/causes.md that fit; None where none does."""
    forms: tuple[str, ...]
    """Where it can be made; `steps` too, where it is made in the projections."""


@dataclass(frozen=True)
class Planted:
    """A cell: its forms, and the mistakes that are made in them."""

    run: Run
    forms: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    heads: int = 1
    """hidden_size is a multiple of it."""
    largest: float = 2.0
    """What drawn weights may be multiplied with."""


def rows(forms: tuple[str, ...], table: Mapping[str, str]) -> tuple[Mistake, ...]:
    """A mistake for each line of the table: its name, and the ids with spaces between, or nothing where none fits."""
    return tuple(Mistake(name, frozenset(ids.split()) or None, forms) for name, ids in table.items())


def without(mistakes: tuple[Mistake, ...], *names: str) -> tuple[Mistake, ...]:
    """All but those that a cell cannot make."""
    return tuple(one for one in mistakes if one.name not in names)


SAME = {
    "decays of the step before in each chunk": "chunk-decay-apart",
    "logarithms of the step before": "chunk-decay-apart",
    "carried state decays up to the step before, in both": "decay-shifted",
    "carried state joins the sum divided": "decay-shifted",
    "decay includes the step's own, where handed on": "chunk-decay-apart",
    "powers of what is handed on begin with 1": "chunk-decay-apart",
}
"""What else a mistake may be called where all steps have one decay."""


def with_constant_decays(mistakes: tuple[Mistake, ...]) -> tuple[Mistake, ...]:
    """Where all steps have one decay, two ids may say the same: the decay of the step before differs from a step's own
    in the chunk's first step alone; and what is handed on with one decay too many is read with one too many, as long as
    it is all that the state holds."""
    return tuple(
        replace(one, right=one.right | {SAME[one.name]}) if one.right and one.name in SAME else one for one in mistakes
    )
