"""Where one sequence is cut into several calls of an engine. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from rnnspect.errors import InputError


@dataclass(frozen=True)
class Split:
    """The first call takes the steps before `at`; each of the others takes `each` steps, or one takes all that follow
    where that is None."""

    at: int
    each: int | None = None

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """64, or 64:1. Raises `InputError` for anything else."""
        at, colon, each = text.partition(":")
        numbers = [at, each] if colon else [at]
        if not all(re.fullmatch("[1-9][0-9]{0,8}", one) for one in numbers):
            allowed = "64 (a call of 64 steps, then one of the rest) or 64:1 (then calls of 1 step)"
            raise InputError(f"cannot read {text!r}", allowed=allowed, where=where)
        return cls(*map(int, numbers))

    def __str__(self) -> str:
        return str(self.at) if self.each is None else f"{self.at}:{self.each}"

    def calls(self, steps: int) -> list[tuple[int, int]]:
        """The first step of each call, and the step behind its last."""
        starts = [0, *range(self.at, steps, self.each or steps)]
        return list(zip(starts, [*starts[1:], steps], strict=True))
