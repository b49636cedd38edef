"""Cells in torch, a chunk of steps after the other, without a line of the package: right, and with the mistakes that
people make at the edges of chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell
from tests.causes.own_cells import CARRYING, DECAYING

States = tuple[Tensor, ...]
Step = Callable[[Tensor, States, dict[str, Tensor]], States]


def _mingru(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    z, n = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(2, -1)
    z = torch.sigmoid(z)
    return ((1 - z) * state[0] + z * n,)


def _minlstm(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    f, i, n = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    f, i = torch.sigmoid(f), torch.sigmoid(i)
    return (f / (f + i) * state[0] + i / (f + i) * n,)


def _lstm(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    h, c = state
    s = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
    i, f, g, o = s.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    (h,) = state
    r, z, n = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    h_r, h_z, h_n = (h @ p["weight_hh_l0"].T + p["bias_hh_l0"]).chunk(3, -1)
    z = torch.sigmoid(z + h_z)
    return ((1 - z) * torch.tanh(n + torch.sigmoid(r + h_r) * h_n) + z * h,)


def _carrying(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    f, n, o = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    f = torch.sigmoid(f)
    c = f * state[1] + (1 - f) * torch.tanh(n)
    return torch.sigmoid(o) * c, c


def _decaying(x_t: Tensor, state: States, p: dict[str, Tensor]) -> States:
    d, n, o = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    d = torch.nn.functional.softplus(d + p["dt_bias_l0"])
    gate = 1 - torch.sigmoid(o)
    return (torch.exp(-p["A_log_l0"].exp() * d) * state[0] + 0.25 * d * gate * torch.tanh(n),)


STEPS: dict[str, Step] = {"mingru": _mingru, "minlstm": _minlstm, "lstm": _lstm}
MORE_STEPS: dict[str, Step] = {"gru": _gru, "carrying": _carrying, "decaying": _decaying}
_OWN = {"carrying": CARRYING, "decaying": DECAYING}


def cell_of(name: str) -> str | Cell:
    """What a `Spec` takes for a cell of `STEPS` or `MORE_STEPS`."""
    if name in ("lstm", "gru"):
        return name
    return _OWN[name] if name in _OWN else load_cell(f"examples/cells/{name}.py:{name}")


At_an_edge = Callable[[States, States, States, Tensor, Step, dict[str, Tensor]], States]
"""From the state, the one before the last step, the first of the call, x of the last step, the step and the parameters
to the state with which the next chunk begins."""
AT_EDGES: dict[str, At_an_edge] = {
    "zeros": lambda now, *_: tuple(map(torch.zeros_like, now)),
    "initial": lambda _now, _before, first, *_: first,
    "doubled": lambda now, *_: tuple(2 * one for one in now),
    "earlier": lambda _now, before, *_: before,
    "twice": lambda now, _before, _first, x, step, p: step(x, now, p),
}
EXCHANGED: dict[str, At_an_edge] = {
    "h is used as c": lambda now, *_: (now[0], now[0]),
    "h and c are swapped": lambda now, *_: (now[1], now[0]),
}
SQUASHED: dict[str, At_an_edge] = {"tanh(c) is used as c": lambda now, *_: (now[0], torch.tanh(now[1]))}
"""Of cells with a cell state."""
OF_ITEMS: dict[str, At_an_edge] = {
    "item before": lambda now, *_: tuple(torch.stack([one[i - 1] for i in range(len(one))]) for one in now),
    "item after": lambda now, *_: tuple(torch.stack([*one[1:], one[0]]) for one in now),
    "items reversed": lambda now, *_: tuple(torch.stack(list(one)[::-1]) for one in now),
    "first item": lambda now, *_: tuple(torch.stack([one[0]] * len(one)) for one in now),
}
"""Each item of the batch begins a chunk with the state of another."""


def chunked(cell: str, chunk: int, mistake: str = "", once: bool = False) -> Callable[..., Any]:
    """A sequence function of the cell; `mistake` is one of `AT_EDGES`, `EXCHANGED`, `SQUASHED` or `OF_ITEMS`;
    "padded": steps of zeros fill the last chunk, and move the state; or "initial twice": the initial state counts
    twice. With `once` it is made where the third chunk begins alone."""
    step, wrong = (STEPS | MORE_STEPS)[cell], (AT_EDGES | EXCHANGED | SQUASHED | OF_ITEMS).get(mistake)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        first: States = tuple(one[0] for one in (state if isinstance(state, tuple) else (state,)))
        now = before = tuple(2 * one for one in first) if mistake == "initial twice" else first
        out = []
        for t in range(x.shape[1]):
            if t and t % chunk == 0 and wrong is not None and (not once or t == 2 * chunk):
                now = wrong(now, before, first, x[:, t - 1], step, parameters)
            before, now = now, step(x[:, t], now, parameters)
            out.append(now[0])
        for _ in range(-x.shape[1] % chunk if mistake == "padded" else 0):
            now = step(torch.zeros_like(x[:, 0]), now, parameters)
        final = tuple(one[None] for one in now)
        return torch.stack(out, 1), final if len(final) > 1 else final[0]

    return run
