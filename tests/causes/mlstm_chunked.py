"""An mLSTM a chunk of steps at once (Beck et al. 2024, arXiv 2405.04517, appendix A.3), in torch and without a line of
the package: right, and with the mistakes that people make where a chunk begins and in the decays of a chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tests.causes.delta_chunked import shifted_logs

HEADS, KEYS = 2, 4
States = tuple[Tensor, Tensor, Tensor]
"""S (B, heads, keys, values), n (B, heads, keys) and m (B, heads)."""
BLOCKS = ("S", "n", "m")
AT_EDGES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "zeros": lambda now, _before, _first: torch.zeros_like(now),
    "initial": lambda _now, _before, first: first,
    "doubled": lambda now, _before, _first: 2 * now,
    "left out": lambda _now, before, _first: before,
}
"""From a block of the state, the same before the last step, and in the beginning, to that with which a chunk begins."""


def mlstm(
    chunk: int, shift: str = "", where: str = "both", at_edges: str = "", blocks: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """`shift` is one of `SHIFTS`, made in what the steps of a chunk "read", in what is "handed" on, or in "both";
    `at_edges` one of `AT_EDGES`, made in these blocks of the state."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        q, k, v, i, logs, o = _gates(x, parameters)
        wrong, out = shifted_logs(logs, shift, chunk), []
        s, n, m = state[1][0].split([KEYS * o.shape[-1], HEADS * KEYS, HEADS], -1)
        first = now = s.view(len(x), HEADS, KEYS, -1), n.view(len(x), HEADS, KEYS), m
        for start in range(0, x.shape[1], chunk):
            steps = slice(start, start + chunk)
            given = [one[:, :, steps] for one in (q, k, v, i)]
            read, handed = ((wrong if where in (place, "both") else logs)[:, :, steps] for place in ("read", "handed"))
            out.append(_read(*given, read, now))
            now, before = (_ended(*given[1:], handed, now, steps) for steps in (read.shape[-1], read.shape[-1] - 1))
            if at_edges:
                each = zip(BLOCKS, now, before, first, strict=True)
                made = AT_EDGES[at_edges]
                now = tuple(made(one, old, begun) if name in blocks else one for name, one, old, begun in each)
        output = o.sigmoid() * torch.cat(out, 2).transpose(1, 2).flatten(2)
        return output, (output[:, -1][None], torch.cat([one.flatten(1) for one in now], -1)[None])

    return run


def _gates(x: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """q, k and v (B, heads, T, ·), i and log f (B, heads, T), and what o is made of (B, T, units)."""
    wx = x @ parameters["weight_ih_l0"].T + parameters["bias_ih_l0"]
    units = (wx.shape[-1] - 20) // 2
    q, k, v, i, f, o = wx.split([8, 8, units, 2, 2, units], -1)
    q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (q, k / 2, v))
    return q, k, v, i.transpose(1, 2), logsigmoid(f).transpose(1, 2), o


def _read(q: Tensor, k: Tensor, v: Tensor, i: Tensor, logs: Tensor, begun: States) -> Tensor:
    """What the steps of a chunk read, (B, heads, steps, values)."""
    s, n, m = begun
    sums = logs.cumsum(-1)
    later = torch.ones(logs.shape[-1], logs.shape[-1], dtype=torch.bool).tril()
    within = (sums[..., :, None] - sums[..., None, :] + i[..., None, :]).masked_fill(~later, -torch.inf)
    carried = sums + m[..., None]
    top = torch.maximum(within.amax(-1), carried)
    old, scores = (carried - top).exp(), (q @ k.mT) * (within - top[..., None]).exp()
    size = scores.sum(-1) + old * (q @ n[..., None])[..., 0]
    return (scores @ v + old[..., None] * (q @ s)) / torch.maximum(size.abs(), (-top).exp())[..., None]


def _ended(k: Tensor, v: Tensor, i: Tensor, logs: Tensor, begun: States, steps: int) -> States:
    """The state after so many steps of a chunk."""
    if not steps:
        return begun
    s, n, m = begun
    k, v, i, logs = k[:, :, :steps], v[:, :, :steps], i[..., :steps], logs[..., :steps]
    whole = logs.sum(-1)
    within = whole[..., None] - logs.cumsum(-1) + i
    top = torch.maximum(within.amax(-1), whole + m)
    old, weighed = (whole + m - top).exp(), k * (within - top[..., None]).exp()[..., None]
    return old[..., None, None] * s + weighed.mT @ v, old[..., None] * n + weighed.sum(-2), top
