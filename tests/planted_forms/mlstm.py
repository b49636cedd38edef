"""mLSTM: chunks by a mask of decays and input gates in log space, stabilised by the largest of each row or by a
running maximum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tests.planted_forms.attention import MASKED_DECAYS, around, between, carried, heads_of, left, summed
from tests.planted_forms.edges import Parts, over_chunks
from tests.planted_forms.plans import How, Parameters, Planted, State, rows

HEADS, KEYS = 2, 4
FORMS = ("steps", "masked", "running")
CHUNKS = ("masked", "running")
EVERYWHERE = rows(
    FORMS,
    {
        "normaliser is at least 1": "",
        "normaliser without its absolute value": "",
        "normaliser without exp(−m)": "",
        "exp(m) bounds the normaliser": "line-constant line-sign line-function-left-out",
        "no normaliser": "line-factor-left-out",
        "scale is left out": "line-constant line-factor-left-out",
        "scale is 1/d": "line-constant",
        "q is scaled, too": "",
        "n takes k without its scale": "",
        "σ of o is left out": "line-function-left-out",
        "tanh of o": "line-function-other",
        "o is left out": "line-factor-left-out",
        "f is not made by σ": "line-function-left-out",
        "σ(−f)": "line-constant line-sign",
        "i is made by σ": "",
        "i and f exchanged": "gate-order",
        "q and k exchanged": "gate-order",
        "final m is zeros": "",
        "final m is lost in S and n": "",
        "final S and n are divided by exp(m)": "",
        "heads of the final m exchanged": "chunk-state-exchanged",
        "final n is that before the run": "state-not-carried",
    },
)
MLSTM_MISTAKES = (
    *rows(
        CHUNKS,
        {
            **MASKED_DECAYS,
            "m before the chunk is left out": "",
            "carried state is not scaled to the new m": "",
            "handed on at the scale of the old m": "",
            "S is zeros at edges": "chunk-state-lost",
            "n is zeros at edges": "chunk-state-lost",
            "m is zeros at edges": "chunk-state-lost",
            "n is lost in what is read": "chunk-state-lost",
            "n does not decay in what is handed on": "chunk-decay-apart",
            "i is left out of what is handed on": "",
        },
    ),
    *EVERYWHERE,
)


def _projected(x: Tensor, p: Parameters, wrong: str) -> tuple[Parts, Tensor]:
    """q, k, v, and the input gate and log f, (batch, step, head); and o."""
    width = (p["weight_ih"].shape[0] - 2 * HEADS * KEYS - 2 * HEADS) // 2
    sizes = [HEADS * KEYS, HEADS * KEYS, width, HEADS, HEADS, width]
    q, k, v, i, s_f, s_o = (x @ p["weight_ih"].T + p["bias_ih"]).split(sizes, -1)
    if wrong == "q and k exchanged":
        q, k = k, q
    if wrong == "i and f exchanged":
        i, s_f = s_f, i
    k = k * {"scale is left out": 1.0, "scale is 1/d": 1 / KEYS}.get(wrong, KEYS**-0.5)
    if wrong == "q is scaled, too":
        q = q * KEYS**-0.5
    logs = s_f if wrong == "f is not made by σ" else logsigmoid(-s_f if wrong == "σ(−f)" else s_f)
    if wrong == "i is made by σ":
        i = logsigmoid(i)
    o = {"σ of o is left out": s_o, "tanh of o": s_o.tanh(), "o is left out": torch.ones_like(s_o)}
    q, k, v = (heads_of(one, HEADS) for one in (q, k, v))
    return (q, k, v, i, logs), o.get(wrong, s_o.sigmoid())


def mlstm(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind = how.kind
    parts, o = _projected(x, p, kind)
    width = parts[2].shape[-1]
    s, n, m = state[0].split([HEADS * KEYS * width, HEADS * KEYS, HEADS], -1)
    begun = s.unflatten(-1, (HEADS, KEYS, width)), n.unflatten(-1, (HEADS, KEYS)), m
    compute = _steps if how.form == "steps" else _chunk
    out, (s, n, m) = over_chunks(parts, begun, how, lambda *chunk: compute(how, *chunk))
    if kind == "final S and n are divided by exp(m)":
        s, n = s * (-m).exp()[..., None, None], n * (-m).exp()[..., None]
    if kind == "final m is lost in S and n":
        s, n, m = s * m.exp()[..., None, None], n * m.exp()[..., None], 0 * m
    if kind == "final m is zeros":
        m = 0 * m
    if kind == "heads of the final m exchanged":
        m = m.flip(1)
    if kind == "final n is that before the run":
        n = begun[1]
    return o * out.flatten(2), (torch.cat([s.flatten(1), n.flatten(1), m], -1),)


def _divided(read: Tensor, size: Tensor, m: Tensor, wrong: str) -> Tensor:
    """What S gives, divided by what n gives; of all steps or of one."""
    size = size if wrong == "normaliser without its absolute value" else size.abs()
    least = (-m).exp()
    if wrong == "normaliser is at least 1":
        least = torch.ones_like(m)
    if wrong == "exp(m) bounds the normaliser":
        least = m.exp()
    if wrong == "no normaliser":
        return read
    return read / (size if wrong == "normaliser without exp(−m)" else torch.maximum(size, least))[..., None]


def _steps(_how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (q, k, v, gate, logs), (s, n, m), read = parts, state, []
    for step in range(q.shape[1]):
        new = torch.maximum(logs[:, step] + m, gate[:, step])
        i, f = (gate[:, step] - new).exp(), (logs[:, step] + m - new).exp()
        m, key = new, i[..., None] * k[:, step]
        s = f[..., None, None] * s + key[..., None] * v[:, step, :, None]
        n = f[..., None] * n + (key * KEYS**0.5 if wrong == "n takes k without its scale" else key)
        seen = torch.einsum("bhkv,bhk->bhv", s, q[:, step])
        read.append(_divided(seen, (n * q[:, step]).sum(-1), m, wrong))
    return (torch.stack(read, 1) if read else v), (s, n, m)


def _chunk(how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (q, k, v, gate, logs), (s, n, m) = parts, state
    wrong = how.also_in_single_steps(wrong, EVERYWHERE)
    if not q.shape[1]:
        return v, state
    sums, logs = summed(logs, wrong)
    weights = between(sums, logs, wrong) + gate.transpose(1, 2)[..., None, :]
    before = carried(sums, logs, wrong, "where read") + m[:, None]
    highest = weights.amax(-1).transpose(1, 2)
    if how.form == "running":
        highest = sums + (gate - sums).cummax(1).values
    top = highest if wrong == "m before the chunk is left out" else torch.maximum(highest, sums + m[:, None])
    scores = torch.einsum("bthk,bshk->bhts", q, k) * (weights - top.transpose(1, 2)[..., None]).exp()
    shrunk = (before if wrong == "carried state is not scaled to the new m" else before - top).exp()
    read = torch.einsum("bhts,bshv->bthv", scores, v) + shrunk[..., None] * torch.einsum("bthk,bhkv->bthv", q, s)
    held = 0 * n if wrong == "n is lost in what is read" else n
    factor = KEYS**0.5 if wrong == "n takes k without its scale" else 1.0
    size = factor * scores.sum(-1).transpose(1, 2) + shrunk * torch.einsum("bthk,bhk->bth", q, held)
    out = _divided(read, size, top, wrong)
    last = m if wrong == "handed on at the scale of the old m" else top[:, -1]
    added = left(sums, logs, wrong) + (0 if wrong == "i is left out of what is handed on" else gate)
    added = (added - last[:, None]).exp()
    kept = (carried(sums, logs, wrong, "where handed on")[:, -1] + m - last).exp()
    s = kept[..., None, None] * s + torch.einsum("bsh,bshk,bshv->bhkv", added, k, v)
    stays = torch.ones_like(kept) if wrong == "n does not decay in what is handed on" else kept
    return out, (s, stays[..., None] * n + factor * torch.einsum("bsh,bshk->bhk", added, k), top[:, -1])


MLSTM = Planted(mlstm, FORMS, (*around(CHUNKS), *MLSTM_MISTAKES), heads=HEADS)
