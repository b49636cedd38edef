"""Ways of computing h_t = a_t h_{t−1} + b_t for all steps at once, in torch and in the dtype of what they get: each
right, and with one thing changed. a and b are (steps, …), h (…) is the state before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Form = Callable[[Tensor, Tensor, Tensor], Tensor]


def stepped(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    out = []
    for decay, term in zip(a, b, strict=True):
        h = decay * h + term
        out.append(h)
    return torch.stack(out)


def in_chunks(size: int, dropped: bool = False) -> Form:
    """Cumulated decays and a division, as most hand-written chunks have it. `dropped`: each chunk begins with zeros."""

    def form(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        out = []
        for start in range(0, len(a), size):
            decays = a[start : start + size].cumprod(0)
            sums = (b[start : start + size] / decays).cumsum(0)
            out.append(decays * h + decays * sums)
            h = torch.zeros_like(h) if dropped else out[-1][-1]
        return torch.cat(out)

    return form


def tree(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """A parallel scan (Hillis & Steele 1986): after k rounds each step knows the 2^k before it."""
    b = torch.cat([b[:1] + a[:1] * h, b[1:]])
    reach = 1
    while reach < len(a):
        b = torch.cat([b[:reach], b[reach:] + a[reach:] * b[:-reach]])
        a = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        reach *= 2
    return b


def cumulated_along(axis: int) -> Form:
    """One matrix of decays for all steps, made in log space. The right axis is 0."""

    def form(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        logs = a.log().cumsum(axis)
        later = torch.ones(len(a), len(a), dtype=torch.bool).tril().view(len(a), len(a), *[1] * (a.dim() - 1))
        decays = (logs[:, None] - logs[None]).masked_fill(~later, -torch.inf).exp()
        return (decays * b).sum(1) + logs.exp() * h

    return form


def scanned(how: str = "", chunk: int = 100, exchanged: bool = True, axis: int = 0) -> Form:
    """A scan that joins elements (a, b) one after the other, along the axis of the steps (0) or of units (2), with the
    arguments of its combine function exchanged or not. `how` the initial state comes in: "added", "decayed" or
    "element"."""

    def joined(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        products, sums = [], []
        for now_a, now_b in zip(a.unbind(axis), b.unbind(axis), strict=True):
            if sums:
                product, total = products[-1], sums[-1]
                now_a, now_b = product * now_a, (product * now_b + total if exchanged else now_a * total + now_b)
            products.append(now_a)
            sums.append(now_b)
        return torch.stack(products, axis), torch.stack(sums, axis)

    def form(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        found: list[Tensor] = []
        for one, other in zip(a.split(chunk), b.split(chunk), strict=True):
            h = found[-1][-1] if found else h
            if how == "element":
                made = joined(torch.cat([torch.ones_like(h)[None], one]), torch.cat([h[None], other]))[1][1:]
            elif how == "decayed":
                through, made = joined(one, other)
                made = made + through * h
            else:
                made = joined(one, torch.cat([other[:1] + one[:1] * h, other[1:]]))[1]
            found.append(made)
        return torch.cat(found)

    return form


def in_log_space(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """Heinsen 2023, arXiv 2311.06281: for h and b above zero."""
    logs = torch.cat([torch.zeros_like(h)[None], a.log().cumsum(0)])
    terms = torch.cat([h[None], b]).log()
    return (logs + (terms - logs).logcumsumexp(0)).exp()[1:]


def in_chunks_of_logs(size: int, axis: int = 0) -> Form:
    """A matrix of decays for each chunk: sums of logarithms begin anew with it."""

    def form(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        out = []
        for start in range(0, len(a), size):
            out.append(cumulated_along(axis)(a[start : start + size], b[start : start + size], h))
            h = out[-1][-1]
        return torch.cat(out)

    return form


ANY_ORDER: dict[str, Form] = {"stepped": stepped, "chunks of 16": in_chunks(16), "tree": tree}
LOG_SPACE: dict[str, Form] = {"matrix": cumulated_along(0), "log space": in_log_space}


def mingru(form: Form) -> Callable[..., tuple[Tensor, Tensor]]:
    """A minimal GRU (Feng et al. 2024) of one layer that computes its recurrence so."""

    def forward(x: Tensor, state: Tensor, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> tuple[Tensor, Tensor]:
        z, n = (x.transpose(0, 1) @ weight_ih_l0.T + bias_ih_l0).chunk(2, -1)
        z = z.sigmoid()
        out = form(1 - z, z * n, state[0])
        return out.transpose(0, 1), out[-1:]

    return forward
