"""The gated delta rule: chunks by the inverse of I plus a lower triangle, solved for at once or row by row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from tests.planted_forms.attention import MASKED_DECAYS, around, between, carried, heads_of, left, summed
from tests.planted_forms.edges import Parts, lower, over_chunks, turned
from tests.planted_forms.plans import How, Parameters, Planted, State, rows

HEADS, KEYS = 2, 4
FORMS = ("steps", "solved", "rows")
CHUNKS = ("solved", "rows")
DELTA_MISTAKES = (
    *rows(
        CHUNKS,
        {
            **MASKED_DECAYS,
            "β is left out of the triangle": "",
            "triangle has the other sign": "",
            "triangle is left out": "",
            "triangle without decays": "decay-left-out",
            "triangle's decays include the step's own": "decay-own-step",
            "what S holds is taken off undecayed": "chunk-decay-apart",
            "what S holds is taken off with the decays up to the step before": "chunk-decay-apart",
            "what S holds is not taken off": "",
            "v goes on in place of what is new of it": "",
            "β counts twice in what is handed on": "",
            "inverse to first order": "",
        },
    ),
    *rows(
        FORMS,
        {
            "β is not made by σ": "line-function-left-out",
            "β is twice as large": "",
            "β is 1": "line-factor-left-out",
            "softplus is left out": "line-function-left-out",
            "A_log read as A": "line-function-left-out",
            "dt_bias is left out": "line-parameter-left-out line-term-left-out",
            "scale is left out": "line-constant line-factor-left-out",
            "scale is 1/d": "line-constant",
            "keys are normalised": "",
            "q and k exchanged": "gate-order",
            "β and decay exchanged": "gate-order",
            "decay of the other head": "",
            "β of the step before": "",
            "axes of the initial state exchanged": "chunk-state-exchanged",
            "axes of the final state exchanged": "chunk-state-exchanged",
            "heads of the final state exchanged": "chunk-state-exchanged",
        },
    ),
    *rows(
        ("steps",),
        {
            "what is taken off is not decayed": "",
            "nothing is taken off": "",
            "decays after the step": "",
            "reads S before the step": "line-state-read-early",
        },
    ),
)


def _projected(x: Tensor, p: Parameters, wrong: str) -> Parts:
    """q, k, v of each head; β and the logarithm of the decay, (batch, step, head)."""
    width = p["weight_ih"].shape[0] - 2 * HEADS * KEYS - 2 * HEADS
    sizes = [HEADS * KEYS, HEADS * KEYS, width, HEADS, HEADS]
    q, k, v, s_b, s_g = (x @ p["weight_ih"].T + p["bias_ih"]).split(sizes, -1)
    if wrong == "q and k exchanged":
        q, k = k, q
    if wrong == "β and decay exchanged":
        s_b, s_g = s_g, s_b
    beta = s_b if wrong == "β is not made by σ" else s_b.sigmoid()
    if wrong == "β is twice as large":
        beta = 2 * beta
    if wrong == "β is 1":
        beta = torch.ones_like(beta)
    if wrong == "β of the step before":
        beta = torch.cat([beta[:, :1], beta[:, :-1]], 1)
    s_g = s_g if wrong == "dt_bias is left out" else s_g + p["dt_bias"]
    size = s_g if wrong == "softplus is left out" else softplus(s_g)
    logs = p["A_log"] * size if wrong == "A_log read as A" else -p["A_log"].exp() * size
    if wrong == "decay of the other head":
        logs = logs.flip(-1)
    q, k, v = (heads_of(one, HEADS) for one in (q, k, v))
    return q, normalize(k, dim=-1) if wrong == "keys are normalised" else k, v, beta, logs


def gated_delta(x: Tensor, state: State, p: Parameters, how: How) -> tuple[Tensor, State]:
    kind, parts = how.kind, _projected(x, p, how.kind)
    s = state[0].unflatten(-1, (HEADS, KEYS, parts[2].shape[-1]))
    if kind == "axes of the initial state exchanged":
        s = turned(s)
    compute = _steps if how.form == "steps" else _chunk
    out, (last,) = over_chunks(parts, (s,), how, lambda *chunk: compute(how, *chunk))
    if kind == "axes of the final state exchanged":
        last = turned(last)
    if kind == "heads of the final state exchanged":
        last = last.flip(1)
    scale = {"scale is left out": 1.0, "scale is 1/d": 1 / KEYS}.get(kind, KEYS**-0.5)
    return scale * out.flatten(2), (last.flatten(1),)


def _steps(_how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (q, k, v, beta, logs), (s,), read = parts, state, []
    for step in range(q.shape[1]):
        before, decayed = s, logs[:, step, :, None, None].exp() * s
        held = s if wrong in ("what is taken off is not decayed", "decays after the step") else decayed
        new = v[:, step] - torch.einsum("bhkv,bhk->bhv", held, k[:, step])
        if wrong == "nothing is taken off":
            new = v[:, step]
        added = k[:, step, :, :, None] * (beta[:, step, :, None] * new)[:, :, None]
        s = decayed + added
        if wrong == "decays after the step":
            s = logs[:, step, :, None, None].exp() * (before + added)
        read.append(torch.einsum("bhkv,bhk->bhv", before if wrong == "reads S before the step" else s, q[:, step]))
    return (torch.stack(read, 1) if read else v), (s,)


def _chunk(how: How, parts: Parts, state: State, wrong: str) -> tuple[Tensor, State]:
    (q, k, v, beta, logs), (s,) = parts, state
    if not q.shape[1]:
        return v, state
    sums, logs = summed(logs, wrong)
    new = _new_values(how, (k, v, beta, sums, logs), s, wrong)
    scores = torch.einsum("bthk,bshk->bhts", q, k) * between(sums, logs, wrong).exp()
    before = carried(sums, logs, wrong, "where read").exp()[..., None]
    out = torch.einsum("bhts,bshv->bthv", scores, new) + before * torch.einsum("bthk,bhkv->bthv", q, s)
    if wrong == "v goes on in place of what is new of it":
        new = beta[..., None] * v
    if wrong == "β counts twice in what is handed on":
        new = beta[..., None] * new
    kept = carried(sums, logs, wrong, "where handed on")[:, -1].exp()[..., None, None]
    return out, (kept * s + torch.einsum("bsh,bshk,bshv->bhkv", left(sums, logs, wrong).exp(), k, new),)


def _new_values(how: How, parts: Parts, s: Tensor, wrong: str) -> Tensor:
    """β (v less what the state before each step holds for its key), (batch, step, head, value)."""
    k, v, beta, sums, logs = parts
    weight = torch.ones_like(beta) if wrong == "β is left out of the triangle" else beta
    inside = {"triangle without decays": "added is not decayed, where read",
              "triangle's decays include the step's own": "decay includes the step's own"}.get(wrong, "")  # fmt: skip
    triangle = torch.einsum("bth,bthk,bshk->bhts", weight, k, k) * between(sums, logs, inside).exp()
    triangle = triangle * lower(k.shape[1], -1)
    if wrong == "triangle has the other sign":
        triangle = -triangle
    if wrong == "triangle is left out":
        triangle = 0 * triangle
    decays = sums
    if wrong == "what S holds is taken off undecayed":
        decays = 0 * sums
    if wrong == "what S holds is taken off with the decays up to the step before":
        decays = sums - logs
    held = decays.exp()[..., None] * torch.einsum("bthk,bhkv->bthv", k, s)
    if wrong == "what S holds is not taken off":
        held = 0 * held
    right = (beta[..., None] * (v - held)).transpose(1, 2)
    if wrong == "inverse to first order":
        return (right - triangle @ right).transpose(1, 2)
    if how.form == "solved":
        unit = torch.eye(k.shape[1], dtype=k.dtype)
        return torch.linalg.solve_triangular(unit + triangle, right, upper=False).transpose(1, 2)
    solved: list[Tensor] = []
    for step in range(k.shape[1]):
        known = sum(
            (triangle[..., step, s, None] * one for s, one in enumerate(solved)), torch.zeros_like(right[:, :, 0])
        )
        solved.append(right[:, :, step] - known)
    return torch.stack(solved, 1)


GATED_DELTA = Planted(gated_delta, FORMS, (*around(CHUNKS), *DELTA_MISTAKES), heads=HEADS, largest=1.0)
