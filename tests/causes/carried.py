"""Linear recurrences in torch, a chunk of steps at once, without a line of the package: what the chunk before handed
on, decayed, and what was added since, each with its own sum. Right, and with the mistakes that people make in the
decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell
from tests.causes.own_cells import CARRYING

Terms = tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]
"""The decay of each step and what it adds (B, T, ·), and from the states after each step to h."""


def _mingru(x: Tensor, p: dict[str, Tensor]) -> Terms:
    z, n = (x @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(2, -1)
    return 1 - z.sigmoid(), z.sigmoid() * n, lambda s: s


def _carrying(x: Tensor, p: dict[str, Tensor]) -> Terms:
    f, n, o = (x @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    return f.sigmoid(), (1 - f.sigmoid()) * n.tanh(), lambda s: o.sigmoid() * s


def _retnet(x: Tensor, p: dict[str, Tensor]) -> Terms:
    wx = x @ p["weight_ih_l0"].T + p["bias_ih_l0"]
    q, k, v = (one.view(*one.shape[:2], 2, -1) for one in wx.tensor_split([6, 12], -1))
    b = k[..., :, None] * v[..., None, :]
    a = p["theta_l0"].sigmoid()[:, None, None].expand_as(b).flatten(2)
    return a, b.flatten(2), lambda s: (s.view_as(b) * q[..., None]).sum(-2).flatten(2)


def _minlstm(x: Tensor, p: dict[str, Tensor]) -> Terms:
    f, i, n = (x @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
    both = f.sigmoid() + i.sigmoid()
    return f.sigmoid() / both, i.sigmoid() / both * n, lambda s: s


def _s6(x: Tensor, p: dict[str, Tensor]) -> Terms:
    units = len(p["D_l0"])
    u, d, b, r = (x @ p["weight_ih_l0"].T + p["bias_ih_l0"]).split([units, units, 4, 4], -1)
    d = softplus(d + p["dt_bias_l0"])
    a = (-d[..., None] * p["A_log_l0"].exp()).exp().flatten(2)
    added = ((d * u)[..., None] * b[:, :, None]).flatten(2)
    return a, added, lambda s: (s.unflatten(-1, (units, 4)) * r[:, :, None]).sum(-1) + p["D_l0"] * u


def _lru(x: Tensor, p: dict[str, Tensor]) -> Terms:
    n = len(p["nu_log_l0"])
    wx = x @ p["weight_ih_l0"].T + p["bias_ih_l0"]
    r, i, d = wx.split([n, n, wx.shape[-1] - 2 * n], -1)
    b = torch.complex(r, i) * p["gamma_log_l0"].exp()
    a = torch.polar((-p["nu_log_l0"].exp()).exp(), p["theta_log_l0"].exp()).expand_as(b)
    return a, b, lambda s: s.real @ p["C_re_l0"].T - s.imag @ p["C_im_l0"].T + d


TERMS = {"mingru": _mingru, "minlstm": _minlstm, "carrying": _carrying, "retnet": _retnet, "s6": _s6, "lru": _lru}
NOT_IN_HALF = ("lru",)
"""torch has no complex numbers of a half type that all operations take."""


def cell_of(name: str) -> Cell:
    return CARRYING if name == "carrying" else load_cell(f"examples/cells/{name}.py:{name}")


def since(a: Tensor, b: Tensor) -> Tensor:
    """What was added up to each step: a sum of every step's, decayed by the steps after it."""
    kept, out = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        kept = a[:, t] * kept + b[:, t]
        out.append(kept)
    return torch.stack(out, 1)


def _late(v: Tensor, first: float = 0) -> Tensor:
    """That of the step before, and `first` at the first."""
    return torch.cat([torch.full_like(v[:, :1], first), v[:, :-1]], 1)


def _soon(a: Tensor) -> Tensor:
    """That of the step after, and 1 at the last."""
    return torch.cat([a[:, 1:], torch.ones_like(a[:, :1])], 1)


Parts = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the decays of a chunk, what its steps add and the decay before it, (B, T, ·), to the decays of what is carried
into it, and what was added up to each step."""
MISTAKES: dict[str, Parts] = {
    "": lambda a, b, _before: (a.cumprod(1), since(a, b)),
    "its own": lambda a, b, _before: (a.cumprod(1) / a, since(a, b)),
    "every": lambda a, b, _before: (torch.ones_like(a), since(a, b)),
    "added": lambda a, b, _before: (a.cumprod(1), b.cumsum(1)),
    "all but the last chunk": lambda a, b, _before: (torch.zeros_like(a), since(a, b)),
    "itself": lambda a, b, _before: (a.cumprod(1), since(a, a * b)),
    "added but its own": lambda a, b, _before: (a.cumprod(1), b + _late(since(a, b))),
    "all but its own": lambda a, b, _before: (a.cumprod(1), a * _late(since(a, b))),
    "none": lambda a, b, _before: (torch.ones_like(a), b.cumsum(1)),
    "later in its chunk": lambda a, b, _before: (_soon(a).cumprod(1), since(_soon(a), b)),
    "earlier in its chunk": lambda a, b, _before: (_late(a, 1).cumprod(1), since(_late(a, 1), b)),
    "left out": lambda a, b, _before: (a.cumprod(1) / a[:, :1], since(a, b)),
    "twice": lambda a, b, _before: (a.cumprod(1) * a[:, :1], since(a, b)),
    "of the step before": lambda a, b, before: (a.cumprod(1) * before, since(a, b)),
}
EVERYWHERE: dict[str, Callable[[Tensor], Tensor]] = {
    "earlier": lambda a: _late(a, 1),
    "earlier, the first its own": lambda a: torch.cat([a[:, :1], a[:, :-1]], 1),
    "later": lambda a: torch.cat([a[:, 1:], a[:, -1:]], 1),
}
"""Each step has the decay of the one before, the first none or its own; or of the one after, the last its own."""
NAMED = {
    "added": "decay-left-out",
    "none": "decay-left-out",
    "itself": "decay-own-step",
    "all but the last chunk": "chunk-state-lost",
    "all but its own": "line-state-read-early",
    **dict.fromkeys((*EVERYWHERE, "earlier in its chunk", "later in its chunk"), "decay-shifted"),
}
"""The ids of their causes; of all others it is chunk-decay-apart."""
OF_STEPS = ("its own", "every", "added", "itself", "added but its own", "all but its own")
AT_EDGES = ("left out", "twice", "of the step before")


def carried(cell: str, chunk: int, mistake: str = "", where: str = "both") -> Callable[..., Any]:
    """A sequence function; `where` the mistake is made: in what the steps of a chunk read ("read"), in what is handed
    on to the next one ("handed"), or in "both"; or in what the last one hands on ("last")."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        every_a, every_b, read_of = TERMS[cell](x, parameters)
        if mistake in EVERYWHERE:
            every_a = EVERYWHERE[mistake](every_a)
        has_c = isinstance(state, tuple)
        s, out = (state[1] if has_c else state)[0], []
        s = torch.complex(*s.chunk(2, -1)) if every_a.is_complex() else s
        for start in range(0, x.shape[1], chunk):
            a, b = every_a[:, start : start + chunk], every_b[:, start : start + chunk]
            before = every_a[:, max(start - 1, 0), None]
            made_so = "" if mistake in EVERYWHERE or (not start and mistake == "of the step before") else mistake
            forms = {
                "wrong": MISTAKES[made_so],
                "right": MISTAKES[""],
            }
            made = {name: p * s[:, None] + q for name, form in forms.items() for p, q in [form(a, b, before)]}
            out.append(made["right" if where in ("handed", "last") else "wrong"])
            kept_right = where == "read" or (where == "last" and start + chunk < x.shape[1])
            s = made["right" if kept_right else "wrong"][:, -1]
        h = read_of(torch.cat(out, 1))
        s = torch.cat([s.real, s.imag], -1) if s.is_complex() else s
        ended = s if where == "last" else h[:, -1]
        return h, (h[:, -1][None], s[None]) if has_c else ended[None]

    return run
