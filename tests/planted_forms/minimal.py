"""The minimal GRU and LSTM, whose h is mixed by gates of x alone."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from tests.planted_forms.edges import padded_parts
from tests.planted_forms.plans import How, Parameters, Planted, State, rows
from tests.planted_forms.scans import EVERYWHERE, FORMS, SCANS, scan
from tests.planted_forms.whole import KERNEL, WHOLE

PADDED = rows(("matrix", "division", "tree"), {"padded steps decay the state": "padding-not-masked chunk-decay-apart"})


def _mingru_parts(x: Tensor, p: Parameters, wrong: str) -> tuple[Tensor, Tensor]:
    z, n = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(2, -1)
    if wrong == "gates in the other order":
        z, n = n, z
    if wrong == "σ is left out where it weighs n":
        return 1 - z.sigmoid(), z * n
    if wrong == "σ of a double":
        z = z.sigmoid()
    if wrong == "hard sigmoid":
        z = torch.nn.functional.hardtanh(z / 6 + 0.5, 0.0, 1.0)
        z = z.clamp(0.01, 0.99)
    else:
        z = z.sigmoid()
    if wrong == "tanh of n":
        n = n.tanh()
    if wrong == "n made positive":
        n = torch.where(n >= 0, n + 0.5, n.sigmoid())
    share, keep = z, 1 - z
    if wrong == "shares exchanged":
        share, keep = keep, share
    if wrong == "n without its share":
        share = torch.ones_like(z)
    if wrong == "1 − z weighs n, too":
        share = 1 - z
    if wrong == "share counts twice":
        share = share * share
    return keep, share * n


MINGRU_MISTAKES = rows(
    FORMS,
    {
        "gates in the other order": "gate-order",
        "σ is left out where it weighs n": "line-function-left-out",
        "σ of a double": "",
        "hard sigmoid": "",
        "tanh of n": "",
        "n made positive": "",
        "shares exchanged": "line-lerp-turned",
        "n without its share": "line-factor-left-out",
        "1 − z weighs n, too": "line-rest-left-out",
        "share counts twice": "",
    },
)


def _minlstm_parts(x: Tensor, p: Parameters, wrong: str) -> tuple[Tensor, Tensor]:
    f, i, n = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(3, -1)
    if wrong == "f and i exchanged":
        f, i = i, f
    if wrong == "i and n exchanged":
        i, n = n, i
    if wrong == "tanh of n":
        n = n.tanh()
    f, i = f.sigmoid(), i.tanh() if wrong == "tanh of i" else i.sigmoid()
    if wrong == "tanh of i":
        return f / (f + i.sigmoid()), i.sigmoid() / (f + i.sigmoid()) * n
    total = f + i
    keep, share = f / total, i / total
    if wrong == "not normalised":
        keep, share = f, i
    if wrong == "decay is not normalised":
        keep = f
    if wrong == "share is not normalised":
        share = i
    if wrong == "f weighs n, too":
        share = keep
    if wrong == "n without its share":
        share = torch.ones_like(share)
    if wrong == "shares exchanged":
        keep, share = share, keep
    if wrong == "normalised by softmax":
        keep, share = torch.stack([f, i]).softmax(0)
    return keep, share * n


MINLSTM_MISTAKES = rows(
    FORMS,
    {
        "f and i exchanged": "gate-order line-lerp-turned",
        "i and n exchanged": "gate-order",
        "tanh of n": "",
        "tanh of i": "",
        "not normalised": "",
        "decay is not normalised": "line-factor-left-out",
        "share is not normalised": "",
        "f weighs n, too": "line-rest-left-out",
        "n without its share": "line-factor-left-out",
        "shares exchanged": "line-lerp-turned gate-order",
        "normalised by softmax": "",
    },
)


Parts = Callable[[Tensor, Parameters, str], tuple[Tensor, Tensor]]
"""From x, the parameters and the mistake to the decays of each step and what it adds."""


def _form(parts: Parts, x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    a, b = padded_parts(parts(x, p, how.kind), lambda short: _of_zeros(parts, x, p, short), how)
    out, last = scan(a, b, state[0], how)
    return out[:, : x.shape[1]], (last,)


def _of_zeros(parts: Parts, x: Tensor, p: Parameters, short: int) -> tuple[Tensor, Tensor]:
    """Decays of steps whose x is zeros, and nothing that they add."""
    a, b = parts(x.new_zeros(x.shape[0], short, x.shape[2]), p, "")
    return a, torch.zeros_like(b)


_SHARED = (*SCANS, *EVERYWHERE, *WHOLE, *KERNEL, *PADDED)
MINIMAL = {
    "mingru": Planted(functools.partial(_form, _mingru_parts), FORMS, (*_SHARED, *MINGRU_MISTAKES)),
    "minlstm": Planted(functools.partial(_form, _minlstm_parts), FORMS, (*_SHARED, *MINLSTM_MISTAKES)),
}
