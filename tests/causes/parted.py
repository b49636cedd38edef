"""Linear recurrences in torch, a chunk of steps at once, with a mistake in some of the chunks: in what their steps read
alone, in what they hand on alone, or in both. Without a line of the package."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from tests.causes.carried import MISTAKES, TERMS

STATES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "all but the last chunk": lambda s, _first, _a: 0 * s,
    "initial": lambda _s, first, _a: first,
    "doubled": lambda s, _first, _a: s + s,
    "left out": lambda s, _first, a: s / a,
    "twice": lambda s, _first, a: s * a,
}
"""What stands for the state before a chunk: that one, the initial state and the decay of its first step give it."""


def parted(cell: str, ends: list[int], mistake: str, where: str, made_in: Collection[int]) -> Callable[..., Any]:
    """A sequence function whose chunks end before the steps `ends`; the mistake, of `STATES` or of each step's decays,
    is made in the chunks with the numbers `made_in`."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        every_a, every_b, read_of = TERMS[cell](x, parameters)
        has_c = isinstance(state, tuple)
        s, out, start = (state[1] if has_c else state)[0], [], 0
        s = first = torch.complex(*s.chunk(2, -1)) if every_a.is_complex() else s
        for number, end in enumerate((*ends, x.shape[1])):
            a, b = every_a[:, start:end], every_b[:, start:end]
            p, q = MISTAKES[""](a, b, a[:, :1])
            right = wrong = p * s[:, None] + q
            if number in made_in and mistake in STATES:
                wrong = p * STATES[mistake](s, first, a[:, 0])[:, None] + q
            elif number in made_in:
                p, q = MISTAKES[mistake](a, b, a[:, :1])
                wrong = p * s[:, None] + q
            out.append(right if where == "handed" else wrong)
            s, start = (right if where == "read" else wrong)[:, -1], end
        h = read_of(torch.cat(out, 1))
        s = torch.cat([s.real, s.imag], -1) if s.is_complex() else s
        return h, (h[:, -1][None], s[None]) if has_c else (h[:, -1] if where == "both" else s)[None]

    return run
