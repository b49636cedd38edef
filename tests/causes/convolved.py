"""A block of Mamba in torch, a chunk of steps after the other, without a line of the package: right, and with the
mistakes that people make in the inputs that its convolution keeps.

The window has the three inputs before a chunk, the newest last, as caches have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad, silu, softplus

KEPT = 3
Keep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the window before a chunk, the inputs of the chunk (B, units, steps) and the window that the call began with to
the window before the next chunk."""


def _last(window: Tensor, inputs: Tensor, _first: Tensor) -> Tensor:
    return torch.cat([window, inputs], -1)[..., -KEPT:]


WINDOWS: dict[str, Keep] = {
    "zeros": lambda window, _inputs, _first: torch.zeros_like(window),
    "initial": lambda _window, _inputs, first: first,
    "reversed": lambda *given: _last(*given).flip(-1),
    "left out": lambda window, inputs, _first: torch.cat([window, inputs], -1)[..., -KEPT - 1 : -1],
    "twice": lambda *given: torch.cat([_last(*given)[..., 1:], given[1][..., -1:]], -1),
    "wrong end": lambda _window, inputs, _first: pad(inputs[..., -KEPT:], (0, KEPT))[..., :KEPT],
}
"""The last one changes nothing after as many steps as the window has."""


def convolved(chunk: int, mistake: str = "", once: bool = False, at_end: bool = False) -> Callable[..., Any]:
    """A sequence function of examples/cells/mamba.py. `mistake` is one of `WINDOWS`; "weights", where these are in
    reverse order; or "scan", where the scan is lost between chunks. `once`: after the first chunk there are single
    steps, as where decoding follows a prompt, and the mistake is made between the two alone. `at_end`: it is made in
    the final state alone."""

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        p = {name.removesuffix("_l0"): values for name, values in parameters.items()}
        inner = len(p["D"])
        v, z = (x @ p["weight_ih"].T + p["bias_ih"]).transpose(1, 2).chunk(2, 1)
        kept, s = state[1][0].split([KEPT * inner, len(p["A_log"].flatten())], -1)
        window, s = kept.unflatten(-1, (KEPT, inner)).flip(1).transpose(1, 2), s.unflatten(-1, (inner, -1))
        first, out, start = window, [], 0
        weights = torch.stack([p[f"w{back}"] for back in ((0, 1, 2, 3) if mistake == "weights" else (3, 2, 1, 0))], -1)
        while start < x.shape[1]:
            stop = min(x.shape[1], start + (1 if once and start else chunk))
            inputs = torch.cat([window, v[..., start:stop]], -1)
            u = silu(conv1d(inputs, weights[:, None], p["conv_bias"], groups=inner)).transpose(1, 2)
            d = softplus(u @ (p["dt_up"] @ p["dt_down"]).T + p["dt_bias"])
            decays, terms = (
                torch.exp(-d[..., None] * p["A_log"].exp()),
                (d * u)[..., None] * (u @ p["B"].T)[:, :, None],
            )
            read = u @ p["C"].T
            for t in range(stop - start):
                s = decays[:, t] * s + terms[:, t]
                y = (s * read[:, t, None]).sum(-1) + p["D"] * u[:, t]
                out.append((y * silu(z[..., start + t])) @ p["out"].T)
            made = stop == x.shape[1] if at_end else stop < x.shape[1] and not (once and start)
            wrong = mistake if made else ""
            window = WINDOWS.get(wrong, _last)(window, v[..., start:stop], first)
            s, start = torch.zeros_like(s) if wrong == "scan" else s, stop
        kept = window.transpose(1, 2).flip(1).flatten(1)
        return torch.stack(out, 1), (out[-1][None], torch.cat([kept, s.flatten(1)], -1)[None])

    return run
