"""Retention: queries and keys of a chunk, and a mask of powers of the decay; or single steps, or a scan of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.planted_forms.attention import MASKED_DECAYS, around, between, carried, heads_of, left, summed
from tests.planted_forms.edges import Parts, over_chunks, turned
from tests.planted_forms.plans import How, Parameters, Planted, State, rows, with_constant_decays
from tests.planted_forms.scans import COMPUTES

HEADS, KEYS = 2, 3
FORMS = ("steps", "masked", "tree", "division")
CHUNKS = ("masked", "tree", "division")
RETNET_MISTAKES = (
    *rows(
        ("masked",),
        {
            **MASKED_DECAYS,
            "short last chunk decays as a whole one": "chunk-decay-apart padding-not-masked",
            "scores are scaled by 1/√d": "",
            "queries are turned within the chunk": "",
        },
    ),
    *rows(
        FORMS,
        {
            "γ is not made by σ": "line-function-left-out",
            "γ of the other head": "",
            "γ is that of the first head": "",
            "1 − γ in place of γ": "line-carry-turned line-rest-left-out",
            "q is scaled by 1/√d": "",
            "k is scaled by 1/√d": "",
            "q and k exchanged": "gate-order",
            "heads lie last in q and k": "gate-order kernel-reshaped",
            "heads lie last in what is read": "",
            "heads of q exchanged": "",
            "v of the step before": "",
            "k of the step before": "",
            "q of the step before": "",
            "axes of the initial state exchanged": "chunk-state-exchanged",
            "axes of the final state exchanged": "chunk-state-exchanged",
            "heads of the initial state exchanged": "chunk-state-exchanged",
            "heads of the final state exchanged": "chunk-state-exchanged",
        },
    ),
)


def _before(v: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1)


def _projected(x: Tensor, p: Parameters, wrong: str) -> Parts:
    width = p["weight_ih"].shape[0] - 2 * HEADS * KEYS
    q, k, v = (x @ p["weight_ih"].T + p["bias_ih"]).split([HEADS * KEYS, HEADS * KEYS, width], -1)
    if wrong == "q and k exchanged":
        q, k = k, q
    if wrong == "heads lie last in q and k":
        q, k = (one.unflatten(-1, (KEYS, HEADS)).transpose(-1, -2).flatten(-2) for one in (q, k))
    q, k, v = (heads_of(one, HEADS) for one in (q, k, v))
    if wrong == "heads of q exchanged":
        q = q.flip(2)
    shifted = {"q of the step before": 0, "k of the step before": 1, "v of the step before": 2}
    parts = [
        q / KEYS**0.5 if wrong == "q is scaled by 1/√d" else q,
        k / KEYS**0.5 if wrong.startswith("k is s") else k,
        v,
    ]
    if wrong in shifted:
        parts[shifted[wrong]] = _before(parts[shifted[wrong]])
    return tuple(parts)


def _decay(theta: Tensor, wrong: str) -> Tensor:
    decay = theta if wrong == "γ is not made by σ" else theta.sigmoid()
    if wrong == "γ of the other head":
        decay = decay.flip(0)
    if wrong == "γ is that of the first head":
        decay = decay[:1].expand_as(decay)
    return 1 - decay if wrong == "1 − γ in place of γ" else decay


def retnet(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind, parts = how.kind, _projected(x, p, how.kind)
    decay = _decay(p["theta"], kind)
    s = state[0].unflatten(-1, (HEADS, KEYS, parts[2].shape[-1]))
    if kind == "axes of the initial state exchanged":
        s = turned(s)
    if kind == "heads of the initial state exchanged":
        s = s.flip(1)
    compute = _masked if how.form == "masked" else _scanned
    out, (last,) = over_chunks(parts, (s,), how, lambda *chunk: compute(decay, how, *chunk))
    if kind == "axes of the final state exchanged":
        last = turned(last)
    if kind == "heads of the final state exchanged":
        last = last.flip(1)
    if kind == "heads lie last in what is read":
        out = out.transpose(-1, -2)
    return out.flatten(2), (last.flatten(1),)


def _scanned(decay: Tensor, how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    q, k, v = parts
    if not q.shape[1]:
        return v, state
    kv = k[..., :, None] * v[..., None, :]
    a = decay[:, None, None].expand_as(kv)
    states, last = COMPUTES[how.form]((a, kv), state, wrong)
    return torch.einsum("bthk,bthkv->bthv", q, states), last


def _masked(decay: Tensor, how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (q, k, v), (s,) = parts, state
    if not q.shape[1]:
        return v, state
    sums, logs = summed(decay.log().expand(*q.shape[:2], HEADS), wrong)
    if wrong == "queries are turned within the chunk":
        q = q.flip(1)
    scores = torch.einsum("bthk,bshk->bhts", q, k) * between(sums, logs, wrong).exp()
    if wrong == "scores are scaled by 1/√d":
        scores = scores / KEYS**0.5
    before = carried(sums, logs, wrong, "where read").exp()[..., None]
    out = torch.einsum("bhts,bshv->bthv", scores, v) + before * torch.einsum("bthk,bhkv->bthv", q, s)
    kept = carried(sums, logs, wrong, "where handed on")[:, -1]
    if wrong == "short last chunk decays as a whole one":
        kept = kept + max(how.chunk - q.shape[1], 0) * logs[:, -1]
    added = left(sums, logs, wrong).exp()
    return out, (kept.exp()[..., None, None] * s + torch.einsum("bsh,bshk,bshv->bhkv", added, k, v),)


RETNET = Planted(retnet, FORMS, with_constant_decays((*around(CHUNKS), *RETNET_MISTAKES)), heads=HEADS)
