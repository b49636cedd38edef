"""The terms of the parameters' gradients in some steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.judging.backward.passing import BackwardSteps, Passed
from rnnspect.judging.backward.sums import Term
from rnnspect.network.parameters import LayerParameters


def terms_of(passed: Passed, steps: BackwardSteps, p: LayerParameters, u: Roundoff) -> list[Term]:
    """The terms, with the rows of all steps and items one under the other; they are zero beyond an item's end."""
    valid, chunk, dtype = steps.chunk.valid, steps.chunk, next(iter(passed.states.values())).v.dtype

    def rows(g: Number) -> Number:
        v, e = g.v, g.e
        if valid is not None:
            v = torch.where(valid.unsqueeze(-1), v, 0)
            e = torch.where(valid.unsqueeze(-1), e, 0) if e.dim() else e
        return Number(v.flatten(0, 1), e.flatten(0, 1) if e.dim() else e, g.u)

    none = torch.zeros((), dtype=dtype)
    shown = steps.seen.to(dtype)
    seen = rows(Number(shown, shown.abs().mul_(steps.seen_error) if steps.seen_error else none, u))
    x = Number(chunk.x.to(dtype).flatten(0, 1), none, u)
    terms = [Term("weight_ih", seen, x)] + ([] if p.bias_ih is None else [Term("bias_ih", seen)])
    for weight, g, operand in passed.products:
        left = rows(g)
        terms.append(Term(weight, left, rows(operand.number)))
        if weight == "weight_hh" and p.bias_hh is not None:
            terms.append(Term("bias_hh", left))
    if passed.peepholes:
        parts = [rows(one) for one in passed.peepholes]
        v, e = (torch.cat([getattr(one, name) for one in parts], -1) for name in ("v", "e"))
        terms.append(Term("weight_ch", Number(v, e, u)))
    terms += [Term(name, rows(g)) for name, g in passed.parameters.items()]
    for name, height, width in unused(p, [one.parameter for one in terms]):
        v = torch.zeros(len(x.v), height + (width or 0), dtype=dtype)
        terms.append(Term(name, Number(v[:, :height], none, u), Number(v[:, height:], none, u) if width else None))
    return terms if steps.mistake.terms is None else steps.mistake.terms(terms, chunk)


def unused(p: LayerParameters, names: Iterable[str]) -> Iterator[tuple[str, int, int | None]]:
    """The parameters without terms, as the lines of the cell do not use them: their gradient is zero. With the rows and
    columns of that, no columns where it is a vector."""
    known = set(names)
    for name in p.names:
        if name not in known:
            is_table = name not in p.own and p[name].dim() > 1
            yield name, len(p[name]) if is_table else p[name].numel(), p[name].shape[1] if is_table else None
