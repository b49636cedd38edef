"""The cells of examples/cells/ whose decays are made of parameters and of the input, in torch, step by step and without
a line of the package: right, and with the mistakes that people make in their decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

Parameters = dict[str, Tensor]
Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the state, the decay and what a step adds, to the new state."""
OF_STEPS: dict[str, Step] = {
    "": lambda s, a, b: a * s + b,
    "own step": lambda s, a, b: a * (s + b),
    "not decayed": lambda s, _a, b: s + b,
}
"""How the decay of a step goes in."""
STEP_SIZE = ("no exp", "no bias", "no softplus")
"""A logarithm is read as the number that it is of; the bias of the step size, or its function, is left out."""
OF_DELTA = ("no Δ in A", "no Δ in B", "no Δ")
"""The step size is left out of the decay, of what a step adds, or of both."""
NAMED = {
    "own step": "decay-own-step",
    "not decayed": "decay-left-out",
    "no exp": "line-function-left-out",
    "no softplus": "line-function-left-out",
    "no bias": "line-parameter-left-out",
    "no gamma": "line-parameter-left-out",
    **dict.fromkeys((*OF_DELTA, "no beta"), "line-factor-left-out"),
    "conjugate": "line-sign",
    "sign of the imaginary part": "line-sign",
    "no D": "line-term-left-out",
    "read early": "line-state-read-early",
    "decay of the next step": "decay-shifted",
}
MISTAKES = {
    "s6": (*filter(None, OF_STEPS), *STEP_SIZE, *OF_DELTA),
    "mamba": (*filter(None, OF_STEPS), *STEP_SIZE, *OF_DELTA, "decay of the next step"),
    "gated_delta": (*filter(None, OF_STEPS), *STEP_SIZE, "no beta"),
    "lru": (
        *filter(None, OF_STEPS),
        "no exp",
        "no gamma",
        "conjugate",
        "sign of the imaginary part",
        "no D",
        "read early",
    ),
}


def _step_size(s: Tensor, p: Parameters, mistake: str) -> Tensor:
    s = s if mistake == "no bias" else s + p["dt_bias"]
    return s if mistake == "no softplus" else softplus(s)


def _rate(p: Parameters, mistake: str) -> Tensor:
    return p["A_log"] if mistake == "no exp" else p["A_log"].exp()


def _s6(x: Tensor, s: Tensor, p: Parameters, mistake: str) -> tuple[Tensor, Tensor]:
    units = len(p["D"])
    u, d, b, r = (x @ p["weight_ih"].T + p["bias_ih"]).split([units, units, 4, 4], -1)
    s, y = _scanned(u, _step_size(d, p, mistake), b, r, s.unflatten(-1, (units, 4)), p, mistake)
    return y + p["D"] * u, s


def _scanned(
    u: Tensor, d: Tensor, b: Tensor, r: Tensor, s: Tensor, p: Parameters, mistake: str
) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(d)
    a = (-(one if mistake in ("no Δ in A", "no Δ") else d)[..., None] * _rate(p, mistake)).exp()
    if mistake == "decay of the next step":
        a = torch.cat([a[:, 1:], torch.ones_like(a[:, :1])], 1)
    terms = ((one if mistake in ("no Δ in B", "no Δ") else d) * u)[..., None] * b[:, :, None]
    s, every = _every(a, terms, s, mistake)
    return s.flatten(1), (every * r[:, :, None]).sum(-1)


def _every(a: Tensor, terms: Tensor, s: Tensor, mistake: str) -> tuple[Tensor, Tensor]:
    """The last state, and those after each step (B, T, …)."""
    step, out = OF_STEPS.get(mistake, OF_STEPS[""]), []
    for t in range(a.shape[1]):
        s = step(s, a[:, t], terms[:, t])
        out.append(s)
    return s, torch.stack(out, 1)


def _mamba(x: Tensor, state: Tensor, p: Parameters, mistake: str) -> tuple[Tensor, Tensor]:
    inner = len(p["D"])
    v, z = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(2, -1)
    kept, s = state.split([3 * inner, state.shape[-1] - 3 * inner], -1)
    window = torch.cat([kept.unflatten(-1, (3, inner)).flip(1), v], 1)
    steps = v.shape[1]
    u = silu(sum((p[f"w{back}"] * window[:, 3 - back : 3 - back + steps] for back in range(4)), p["conv_bias"]))
    d = _step_size(u @ (p["dt_up"] @ p["dt_down"]).T, p, mistake)
    s, y = _scanned(u, d, u @ p["B"].T, u @ p["C"].T, s.unflatten(-1, (inner, -1)), p, mistake)
    last = window[:, -3:].flip(1).flatten(1)
    return ((y + p["D"] * u) * silu(z)) @ p["out"].T, torch.cat([last, s], -1)


def _gated_delta(x: Tensor, state: Tensor, p: Parameters, mistake: str) -> tuple[Tensor, Tensor]:
    wx = x @ p["weight_ih"].T + p["bias_ih"]
    q, k, v, b, g = wx.split([8, 8, wx.shape[-1] - 20, 2, 2], -1)
    q, k, v = (one.unflatten(-1, (2, -1)) for one in (q, k, v))
    a = (-_rate(p, mistake) * _step_size(g, p, mistake)).exp()[..., None, None]
    s, out = state.unflatten(-1, (2, 4, -1)), []
    for t in range(x.shape[1]):
        f, own = a[:, t], mistake == "own step"
        kept = s if own or mistake == "not decayed" else f * s
        wrong = v[:, t] - (kept * k[:, t, ..., None]).sum(-2)
        share = 1 if mistake == "no beta" else b[:, t].sigmoid()[..., None, None]
        s = kept + share * k[:, t, ..., None] * wrong[..., None, :]
        s = f * s if own else s
        out.append((s * q[:, t, ..., None]).sum(-2).flatten(1) / 2)
    return torch.stack(out, 1), s.flatten(1)


def _lru(x: Tensor, state: Tensor, p: Parameters, mistake: str) -> tuple[Tensor, Tensor]:
    n = len(p["nu_log"])
    size, phase = p["nu_log"] if mistake == "no exp" else p["nu_log"].exp(), p["theta_log"].exp()
    r, i, d = (x @ p["weight_ih"].T + p["bias_ih"]).split([n, n, len(p["weight_ih"]) - 2 * n], -1)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    b = torch.complex(r.to(wide), i.to(wide)) * (1 if mistake == "no gamma" else p["gamma_log"].to(wide).exp())
    phase = -phase if mistake == "conjugate" else phase
    a = torch.polar((-size.to(wide)).exp(), phase.to(wide)).expand_as(b)
    s, every = _every(a, b, torch.complex(*state.to(wide).split(n, -1)), mistake)
    if mistake == "read early":
        every = torch.cat([torch.complex(*state.to(wide).split(n, -1))[:, None], every[:, :-1]], 1)
    sign = -1 if mistake == "sign of the imaginary part" else 1
    y = every.real.to(x) @ p["C_re"].T - sign * every.imag.to(x) @ p["C_im"].T + (0 if mistake == "no D" else d)
    return y, torch.cat([s.real, s.imag], -1).to(x)


FORMS = {"s6": _s6, "mamba": _mamba, "gated_delta": _gated_delta, "lru": _lru}


def decaying(cell: str, mistake: str = "") -> Callable[..., Any]:
    """A sequence function of the cell."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        named = {name.removesuffix("_l0"): values for name, values in parameters.items()}
        output, c = FORMS[cell](x, state[1][0], named, mistake)
        return output, (output[:, -1][None], c[None])

    return run
