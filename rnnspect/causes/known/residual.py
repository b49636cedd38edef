"""A skip connection: what a layer receives is added to what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import may_show
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    spec = assumed.stack.spec
    as_wide = assumed.run.x.shape[2] == spec.output_width
    if as_wide and may_show(assumed, lambda step: step.h - _beside(assumed, step.x) - step.given(step.x)):
        what = "what the layer receives" if spec.num_layers > 1 else "x"
        to = "its output" if spec.num_layers > 1 else assumed.output_in_words
        yield Cause(
            "residual-added",
            f"{what} is added to {to}, and the state that goes on is right",
            "Compare the output of the layer itself, before the skip connection, or leave that out.",
            _without_it if assumed.seen else _with_it,
            reach="layer",
        )


def _beside(assumed: Assumption, x: Tensor) -> Tensor:
    """The part of x (…, I) that is added to the half of the output that this direction has."""
    directions = assumed.stack.spec.directions
    return x.chunk(len(directions), -1)[directions.index(assumed.direction)]


def _without_it(assumed: Assumption) -> Assumption:
    run, u = assumed.run, assumed.u
    h = run.h.double() - _beside(assumed, run.x[:].double())
    off = float(run.h[run.inside].double().abs().max()) * u.stored  # of the sum, as it was stored
    if run.error is not None:
        off += float(_beside(assumed, run.error[:].double()).max())
    return replace(assumed.with_run(h=h), u=replace(u, absolute=u.absolute + off))


def _with_it(assumed: Assumption) -> Assumption:
    """The assumption about a layer that was not observed: what it hands on is h and what it received."""
    run = assumed.run

    def added(values: Tensor, _initial: Tensor) -> Tensor:
        return values + _beside(assumed, run.x[:].double())

    def error(values: Tensor) -> Tensor:
        off = values if run.error is None else values + _beside(assumed, run.error[:].double())
        return off + assumed.u.stored * _beside(assumed, run.x[:].double()).abs()

    return replace(assumed, back=added, back_error=error)
