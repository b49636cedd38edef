"""Gradients that an engine clips at each step of its loop: a known mistake of going back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull
from rnnspect.judging.chunks import Chunk

Clips = Literal["value", "norm", "norm of the batch"]
Clippable = Literal["gates", "W_hh h", "h", "h carried", "c", "c carried", "after n", "r h kept"]
"""What is clipped: the gradients of all pre-activations; of the results of W_hh h; of a state after each step, as a
whole; or the part of it that comes from the step after it. "after n": the gradient of n, but r of a GRU gets the one
before clipping; "r h kept": so does h, through r ⊙ h, where that comes before the product."""
_ROUNDINGS = 8.0
"""By how many roundings computing a norm and the quotient may err, besides √n for the sum of n squares."""
_ADDED = 1e-6
"""torch adds this to the norm that it divides by."""


@dataclass(frozen=True)
class Clipped:
    """Which gradients are clipped, how, and to what; the limit is known to ± relative."""

    what: tuple[Clippable, ...]
    how: Clips
    limit: float
    relative: float

    def changes(self, state: str) -> bool:
        """Whether the gradient that a state gets from the step after it is clipped."""
        return state in self.what or f"{state} carried" in self.what

    @property
    def after_n(self) -> bool:
        """Whether n is clipped in a way that needs its gradient before clipping. Beyond the limit that is not seen, so
        that each step has to be gone back over by itself."""
        return "after n" in self.what

    def within(self, tape: Tape, made: Mapping[str, Node], chunk: Chunk) -> dict[Node, Callable[[Any], Any]]:
        """By a value within a step the function that clips its gradient."""
        nodes: list[tuple[Clippable, Node]] = [("c", made["c"])] if "c" in self.what else []
        if "W_hh h" in self.what:
            nodes += [("W_hh h", product) for weight, _, product in tape.products if weight == "weight_hh"]
        return {node: functools.partial(self.of, what, chunk=chunk) for what, node in nodes}

    def give_n(self, pull: Pull, tape: Tape, n: int, seen: Number) -> None:
        """Gives the tape the gradient of n before clipping in place of the engine's, where that is at the limit."""
        own = pull(next(s for s, _ in tape.functions if s.gate == n))
        at = seen.v.abs() >= self.limit * (1 - self.relative - seen.u.stored)
        v, e = (torch.where(at, *pair) for pair in ((own.v, seen.v), (own.e, seen.e)))
        pull.give(tape.seen[n], Number(v, e, own.u))

    def of(self, what: str, g: Number, chunk: Chunk) -> Number:
        """A gradient as the engine has it after clipping, (…, batch, units). A clipped value is off by no more than the
        value was; one clipped by norm also by the error of the norm."""
        if what not in self.what:
            return g
        e, near = g.e.expand_as(g.v), self.relative + (_ROUNDINGS + g.v.shape[-1] ** 0.5) * g.u.stored
        if self.how == "value":
            over = g.v.abs() + e >= self.limit * (1 - near)
            return Number(g.v.clamp(-self.limit, self.limit), e + over * (self.limit * near), g.u)
        size, error = self._norm(g.v, chunk), self._norm(e, chunk)
        factor = (self.limit / size).clamp(max=1.0)
        off = error / size + torch.where(size + error >= self.limit * (1 - near), near + _ADDED / size, 0)
        v = g.v * factor
        return Number(v, (e * factor).add_(v.abs() * off.nan_to_num_(0.0)), g.u)

    def _norm(self, v: Tensor, chunk: Chunk) -> Tensor:
        if self.how == "norm":
            of_item: Tensor = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
            return of_item
        if chunk.valid is not None:
            v = torch.where(chunk.valid.view(*v.shape[:-1], 1), v, 0)
        of_batch: Tensor = torch.linalg.vector_norm(v, dim=(-2, -1), keepdim=True)
        return of_batch
