"""Recovers all parameters of a layer at once from an engine's h, where h of a step depends on the parameters of more
than one unit.

This is damped Gauss-Newton as in `recovering_units.py`, but each unit moves all of h, so that there is one
least-squares problem for all parameters. Parameters that the numbers do not determine stay at ours: conjugate gradients
begin there, and do not move along directions without effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.evidence.allowed import allowed
from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.jacobian_matrix import JacobianMatrix
from rnnspect.judging.evidence.jacobian_products import JacobianProducts
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.evidence.order import order_of
from rnnspect.judging.evidence.recovered import (
    Claim,
    PackedRows,
    Recovered,
    explains_as_well,
    like,
    squares,
    with_second_bias,
)
from rnnspect.judging.evidence.starts import start_of_layer
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import LayerParameters

_ROUNDS, _SETTLED = 40, 1e-3
"""At most so many steps are made; one that gains a smaller share of the residual is the last."""
_PATIENCE = 8
"""The search ends if so many rounds leave more than half of the residual before them."""
_LEAST, _MOST = 1e-3, 1e3
"""The limits of the damping, relative to the normal equations of single units."""
_STEP, _ALIKE = 1e-6, 1e-4
"""To try whether h changes as the paths say, parameters are changed by the first share, and the result has to be right
to the second."""


Way = Literal["products", "matrix"]
_KINDS: dict[Way, type[JacobianProducts] | type[JacobianMatrix]] = {
    "products": JacobianProducts,
    "matrix": JacobianMatrix,
}


def recover_layer(
    assumed: Assumption, chunk: Chunk, told: Callable[[int], None], others: Iterable[OtherLayer], way: Way
) -> Recovered:
    """The parameters as recovered from these steps. `told` is called with how many more units are done; what `others`
    have may be a start."""
    layer, run = assumed.equations, assumed.run
    given, most = Steps.of(chunk, run.c0), float(squares(allowed(layer, chunk, run.c0)).sum())
    ours = cast(assumed.p, torch.float64)
    kind = _KINDS[way]
    here = kind(layer, ours, given)
    residual, before = here.residual, here.left
    # Weights of another layer are where it begins, if they are much nearer.
    nearest = start_of_layer(layer, ours, others, given) if before > most else ours
    away = nearest is not ours
    found = _Whole(kind(layer, nearest, given) if away else here, given)
    alone = away and found.now.left <= most  # all that is left is rounding: other weights may do as well, but these do
    if not alone:
        found.solve()
    # Far from ours it may not find the way; the order of columns that a straight line through x and h shows is a start.
    reordered = _reordered(ours, residual, given) if found.now.left > most else None
    for start in (reordered, ours if away else None):
        if start is not None and found.now.left > most:
            again = _Whole(kind(layer, start, given), given)
            again.solve()
            found = min(found, again, key=lambda one: one.now.left)
    told(layer.units)
    left, known = found.now.left, found.now.left <= most
    error = like(ours, 0.0) if alone else found.errors(ours) if known else like(ours, math.inf)
    theirs = with_second_bias(found.now.p, error, ours) if known else ours
    shrinks = math.sqrt(before / max(left, 1e-30 * before, 1e-300)) if known else 1.0
    lost = () if known else tuple(range(layer.units))
    packed, count = PackedRows.of(layer), int(given.inside.sum())
    return Recovered(assumed.at, packed, ours, theirs, error, count, shrinks, lost, layer.units, before <= most)


def claimed_layer(assumed: Assumption, chunk: Chunk, found: Recovered, claim: Claim, way: Way) -> Recovered | None:
    """The parameters with the values of a claim, and the others found again; None where the layer is explained less
    well by them."""
    layer, given = assumed.equations, Steps.of(chunk, assumed.run.c0)
    freely = _KINDS[way](layer, found.theirs, given)
    whole = _Whole(freely.at(claim.with_open(found)), given)
    open_ = whole.now.packed(claim.open) > 0
    if bool(open_.any()):
        whole.now = whole.now.only(open_)
        whole.solve()
    counts = whole.now.packed(found.error).isfinite().sum(), open_.sum()
    left = torch.tensor([whole.now.left, freely.left], dtype=torch.float64)
    if not bool(explains_as_well(left[0], left[1], found.rows * given.after.shape[-1], *counts)):
        return None
    shrinks = found.shrinks * math.sqrt(freely.left / max(whole.now.left, 1e-300))
    return replace(found, theirs=whole.now.p, shrinks=shrinks)


def follows_paths(assumed: Assumption, chunk: Chunk) -> bool:
    """Whether h depends on the parameters as the paths to it say, forwards and transposed."""
    p, few = cast(assumed.p, torch.float64), Steps.of(chunk, assumed.run.c0)
    now, drawn = JacobianProducts(assumed.equations, p, few), torch.Generator().manual_seed(0)
    change = now.packed(p)
    change = change.abs().mean() * torch.randn(len(change), generator=drawn, dtype=torch.float64)
    moved, r = now.moved(change), torch.randn(now.residual.shape, generator=drawn, dtype=torch.float64)
    up, down = (now.at(now.changed(sign * _STEP * change)).residual for sign in (1, -1))
    off = float((moved - (down - up) / (2 * _STEP)).norm()) / max(float(moved.norm()), 1e-300)
    back = float(change @ now.pulled(r))
    return off < _ALIKE and abs(back - float((moved * r).sum())) <= _ALIKE * float(moved.norm() * r.norm())


def _reordered(ours: LayerParameters, residual: Tensor, steps: Steps) -> LayerParameters | None:
    """Our parameters with their columns in the order in which x, and h before, move the engine's h, by linear
    regression. None where they move ours in the same order, or where there is no such order."""
    given = torch.cat([steps.x, steps.before, torch.ones_like(steps.x[..., :1])], -1)[steps.inside]
    both = torch.cat([steps.after - residual, steps.after], -1)[steps.inside]
    slopes = torch.linalg.lstsq(given, both, rcond=1e-10, driver="gelsd").solution[:-1]
    orders, count = {}, steps.x.shape[-1]
    for name, part in (("weight_ih", slopes[:count]), ("weight_hh", slopes[count:])):
        if (order := order_of(*part.chunk(2, 1))) is not None:
            orders[name] = ours[name][:, order]
    return ours.with_changes(**orders) if orders else None


class _Layer(Protocol):
    """How h changes with the parameters of a layer, at some parameters."""

    p: LayerParameters
    residual: Tensor
    left: float

    def at(self, p: LayerParameters) -> Self: ...
    def only(self, open_: Tensor) -> Self: ...
    def about(self) -> _About: ...
    def packed(self, p: LayerParameters) -> Tensor: ...
    def changed(self, change: Tensor) -> LayerParameters: ...
    def put(self, p: LayerParameters, values: Tensor) -> None: ...
    def pulled(self, r: Tensor) -> Tensor: ...


class _About(Protocol):
    """The normal equations around the parameters of a `_Layer`."""

    stale: bool

    def solved(self, now: Any, g: Tensor, damping: float, left: tuple[float, int], /) -> Tensor: ...
    def variances(self) -> Tensor: ...


class _Whole:
    """A layer with its present parameters, and the residual that is left."""

    def __init__(self, now: _Layer, steps: Steps) -> None:
        self.now, self._steps = now, steps
        self._count = int(steps.inside.sum()) * steps.after.shape[-1]

    def solve(self) -> None:
        """Finds the parameters."""
        damping, factor, before, about = 0.0, 2.0, math.inf, self.now.about()
        for at in range(_ROUNDS):
            if at % _PATIENCE == 0:
                if self.now.left > before / 2:
                    break  # it leads nowhere
                before = self.now.left
            g = self.now.pulled(self.now.residual)
            step = about.solved(self.now, g, damping, (self.now.left, self._count))
            tried = self.now.at(self.now.changed(step))
            better, gain = tried.left < self.now.left, float(step @ g)
            settled = gain <= _SETTLED * self.now.left if damping == 0 else not better and damping > _MOST
            if better:
                self.now = tried
                about = tried.about() if about.stale else about
            if settled:
                break
            damping = damping / 3 if better else max(_LEAST, damping * factor)
            damping, factor = damping if damping >= _LEAST else 0.0, 2.0 if better else 2 * factor

    def errors(self, ours: LayerParameters) -> LayerParameters:
        """The standard error of each parameter; infinite where it is not determined, and such parameters are set back
        to ours. One whose error is as large as the other numbers is not determined."""
        variances = self.now.about().variances()
        left = self.now.left / max(1, self._count - len(variances))
        errors = (variances * left).sqrt().masked_fill(variances.isinf(), math.inf)
        found = like(ours, math.inf)
        self.now.put(found, errors)
        size = float(self.now.packed(ours).square().mean().sqrt()) or math.inf
        for of in found.tensors.values():
            of[of > size] = math.inf
        kept = {name: torch.where(found[name].isinf(), of, self.now.p[name]) for name, of in ours.tensors.items()}
        put_back = self.now.at(ours.with_changes(**kept))
        if put_back.left <= 2 * self.now.left:
            self.now = put_back
        return found
