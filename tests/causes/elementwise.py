"""Recurrences that are carried number by number, in torch, a chunk of steps at once and without a line of the package:
with mistakes in what a chunk hands on, and with sums that run along another axis than that of the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from rnnspect.cells import Cell
from tests.causes.carried import TERMS, since
from tests.causes.carried import cell_of as _cell_of
from tests.causes.own_cells import MAMBA

Sequence = Callable[..., Any]
CELLS = (*TERMS, "mamba")
SHAPES = {"s6": (-1, 4), "mamba": (-1, 4), "retnet": (2, 3, -1)}
"""Of the state of one item, where it is not a row of units."""
HANDED: dict[str, Callable[..., Tensor]] = {
    "its own sums are lost": lambda p, _q, _a, s: p * s,
    "last decay twice": lambda p, q, a, s: a[:, -1] * p * s + q,
    "first decay twice": lambda p, q, a, s: a[:, 0] * p * s + q,
    "first decay left out": lambda p, q, a, s: p / a[:, 0] * s + q,
    "all once more": lambda p, q, a, s: a[:, -1] * (p * s + q),
}
"""What a chunk hands on, of the product p of its decays, what its steps added q, its decays a and the state s."""
LAST: dict[str, Callable[..., Tensor]] = {
    "what was handed on": lambda p, q, more, s: more * p * s + q,
    "what was added": lambda p, q, more, s: p * s + more * q,
    "all": lambda p, q, more, s: more * (p * s + q),
}
"""What a short last chunk hands on with the decays of a whole one; `more` are those of the steps that it lacks."""
SUMS = ("decays", "additions", "both")
"""Which sums run along the wrong axis."""


def cell_of(name: str) -> Cell:
    return MAMBA if name == "mamba" else _cell_of(name)


def _mamba(x: Tensor, p: dict[str, Tensor], kept: Tensor) -> tuple[Any, ...]:
    inner = len(p["D_l0"])
    v, z = (x @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(2, -1)
    window = torch.cat([kept.unflatten(-1, (3, inner)).flip(1), v], 1)
    terms = [p[f"w{back}_l0"] * window[:, 3 - back : 3 - back + v.shape[1]] for back in range(4)]
    u = silu(sum(terms, p["conv_bias_l0"]))
    d = softplus(u @ (p["dt_up_l0"] @ p["dt_down_l0"]).T + p["dt_bias_l0"])
    b, r = u @ p["B_l0"].T, u @ p["C_l0"].T
    a = (-d[..., None] * p["A_log_l0"].exp()).exp().flatten(2)
    added = ((d * u)[..., None] * b[:, :, None]).flatten(2)

    def read(s: Tensor) -> Tensor:
        y = (s.unflatten(-1, (inner, 4)) * r[:, :, None]).sum(-1) + p["D_l0"] * u
        return (y * silu(z)) @ p["out_l0"].T

    return a, added, read, window[:, -3:].flip(1).flatten(1)


def _terms(cell: str, x: Tensor, p: dict[str, Tensor], c: Tensor) -> tuple[Any, ...]:
    """The decays, what steps add, from states to h, the state before, and from the last state to what is returned."""
    if cell == "mamba":
        inner = len(p["D_l0"])
        a, b, read, left = _mamba(x, p, c[:, : 3 * inner])
        return a, b, read, c[:, 3 * inner :], lambda s: torch.cat([left, s], -1)
    a, b, read = TERMS[cell](x, p)
    if a.is_complex():
        return a, b, read, torch.complex(*c.chunk(2, -1)), lambda s: torch.cat([s.real, s.imag], -1)
    return a, b, read, c, lambda s: s


def _sequence(cell: str, chunk: int, each: Callable[..., tuple[Tensor, Tensor]]) -> Sequence:
    """`each` gives the states after the steps of a chunk and what it hands on, of its decays, what its steps add, the
    state before it, and whether it is the last one."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        has_c = isinstance(state, tuple)
        a, b, read, s, ended = _terms(cell, x, parameters, (state[1] if has_c else state)[0])
        out = []
        for start in range(0, x.shape[1], chunk):
            steps = slice(start, start + chunk)
            made, s = each(a[:, steps], b[:, steps], s, start + chunk >= x.shape[1])
            out.append(made)
        h = read(torch.cat(out, 1))
        return h, (h[:, -1][None], ended(s)[None]) if has_c else s[None]

    return run


def handing_on(cell: str, chunk: int, mistake: str) -> Sequence:
    """One of `HANDED`, or none."""

    def each(a: Tensor, b: Tensor, s: Tensor, _last: bool) -> tuple[Tensor, Tensor]:
        p, q = a.cumprod(1), since(a, b)
        made = p * s[:, None] + q
        return made, HANDED[mistake](p[:, -1], q[:, -1], a, s) if mistake else made[:, -1]

    return _sequence(cell, chunk, each)


def short_last(cell: str, chunk: int, mistake: str) -> Sequence:
    """One of `LAST`: of constant decays."""

    def each(a: Tensor, b: Tensor, s: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        p, q = a.cumprod(1), since(a, b)
        made = p * s[:, None] + q
        more = a[:, 0] ** (chunk - a.shape[1])
        return made, LAST[mistake](p[:, -1], q[:, -1], more, s) if last else made[:, -1]

    return _sequence(cell, chunk, each)


def exchanged(cell: str, chunk: int) -> Sequence:
    """A scan whose combine function takes its arguments in the other order."""

    def each(a: Tensor, b: Tensor, s: Tensor, _last: bool) -> tuple[Tensor, Tensor]:
        before = torch.cat([torch.ones_like(a[:, :1]), a[:, :-1].cumprod(1)], 1)
        made = a[:, :1] * s[:, None] + (before * b).cumsum(1)
        return made, made[:, -1]

    return _sequence(cell, chunk, each)


def along(cell: str, chunk: int, axis: int, sums: str) -> Sequence:
    """`axis` 0 is the batch, 2 and more are those of the state; `sums` is one of `SUMS`, or none."""
    shape = SHAPES.get(cell, (-1,))

    def each(a: Tensor, b: Tensor, s: Tensor, _last: bool) -> tuple[Tensor, Tensor]:
        a, b, s = a.unflatten(-1, shape), b.unflatten(-1, shape), s.unflatten(-1, shape)
        p = a.log().cumsum(axis if sums in ("decays", "both") else 1).exp()
        made = p * s[:, None] + p * (b / p).cumsum(axis if sums in ("additions", "both") else 1)
        made = made.flatten(2)
        return made, made[:, -1]

    return _sequence(cell, chunk, each)
