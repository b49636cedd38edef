"""One number, or one gradient, as arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from rnnspect.errors import InputError
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Address, Derivation
from rnnspect.reporting.gradients.data import GradientDerivation
from rnnspect.tracing.given import GivenInput

if TYPE_CHECKING:
    from torch import nn


_OfRun = tuple["Spec | nn.Module", GivenInput, str | None, "str | Callable[..., Any]"]
"""The source, what it runs on, the module in it, and the engine."""


@overload
def derive(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    step: int,
    unit: int,
    layer: int = 0,
    direction: str | None = None,
    batch_index: int = 0,
    quantity: str = "h",
    lengths: Any = None,
    engine: str | Callable[..., Any] = "torch",
    module: str | None = None,
) -> Derivation: ...
@overload
def derive(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    gradient: str,
    loss: Any = None,
    step: int | None = None,
    layer: int = 0,
    direction: str | None = None,
    batch_index: int = 0,
    lengths: Any = None,
    engine: str | Callable[..., Any] = "torch",
    module: str | None = None,
) -> GradientDerivation: ...
def derive(
    source: Spec | nn.Module, x: Any = None, h0: Any = None, c0: Any = None, *,
    step: int | None = None, unit: int | None = None, layer: int = 0, direction: str | None = None,
    batch_index: int = 0, quantity: str | None = None, gradient: str | None = None, loss: Any = None,
    lengths: Any = None, engine: str | Callable[..., Any] = "torch", module: str | None = None,
) -> Derivation | GradientDerivation:  # fmt: skip
    """Writes out one number of a run as arithmetic: every product and sum, down to x and the state before; or one
    gradient, by the chain rule, or as the sum of what the steps add to it.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it, which runs once.
        x: The input, of the same shapes as `trace` takes: (T, I), (T, B, I) or with `batch_first` (B, T, I).
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P). If left out: zeros, or as the spec says.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        step: The index in the input, from 0. -1 is the last step of that item. h0 and c0 have none; of a
            parameter it is what that step adds to the gradient, which is a sum over all of them.
        unit: Which unit of the layer, from 0. -1 is the last one. A gradient has it in its name.
        layer: Which layer, from 0. -1 is the last one.
        direction: "forward" or "reverse". If left out: the first that the network has.
        batch_index: Which item of the batch, from 0.
        quantity: h (if left out), c, or a gate such as i, f, g, o (LSTM), r, z, n (GRU), or its word: "forget".
        gradient: By what the loss is differentiated: "weight_hh_l0[3,1]", "bias_ih_l0[3]" or "h0[1]"; or at a step
            "f[1]", "h[1]", "x[2]", or "s_f[1]" for what goes into the function of gate f.
        loss: With `gradient` the loss, as `gradients` takes it. If left out: "sum", that of the output.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        engine: What runs a `Spec`: a name such as "torch-cell" or "onnxruntime", or a function or class of your own.
        module: Of a model the name of the recurrent module, or a pattern such as "encoder.*".

    Returns:
        The derivation, in float64. That of a number begins with what the engine itself gave at the step before, so
            the difference and how much of it is allowed are those of `check` there; that of a gradient with x and h0.

    Raises:
        InputError: If there is no such step, unit, layer, direction, quantity or gradient.
        RnnspectError: If the other arguments do not fit together or cannot be run.

    Examples:
        >>> import rnnspect
        >>> found = rnnspect.derive(rnnspect.Spec(hidden_size=2), "ramp:3", step=2, unit=0)
        >>> abs(found.difference) <= found.bound
        True
        >>> rnnspect.derive(rnnspect.Spec(hidden_size=2), "ramp:3", gradient="weight_hh_l0[0,1]", loss="last")
        <GradientDerivation dL/dweight_hh_l0[0, 1]: ...>
    """
    of_run = source, GivenInput(x, h0, c0, lengths), module, engine
    at = functools.partial(Address, layer=layer, direction=direction or "", batch=batch_index)
    if gradient is None:
        step, unit = _number(step, unit, loss)
        return _value(of_run, at(step=step, unit=unit, quantity=quantity or "h"))
    _refuse_beside_gradient(unit=unit, quantity=quantity)
    return _gradient(of_run, (gradient, at(step=0, unit=0), step), "sum" if loss is None else loss)


def _value(of_run: _OfRun, at: Address) -> Derivation:
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.reporting.deriving import derive_prepared, locate

    prepared = prepare_source(*of_run)
    return derive_prepared(prepared, locate(prepared, at))


def _gradient(of_run: _OfRun, named: tuple[str, Address, int | None], loss: Any) -> GradientDerivation:
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.network import memory
    from rnnspect.network.losses import loss_of
    from rnnspect.reporting.gradients.deriving import derive_gradient
    from rnnspect.reporting.gradients.locating import located

    prepared = prepare_source(*of_run, memory.derived_gradient_needs)
    at = located(prepared, *named)
    return derive_gradient(prepared, at, loss_of(loss, prepared.spec, prepared.sequence, "loss"))


def _number(step: int | None, unit: int | None, loss: Any) -> tuple[int, int]:
    """The step and the unit of a number that is no gradient."""
    if step is None or unit is None:
        missing = "step" if step is None else "unit"
        advice = 'say which number: step=0, unit=0; or which gradient: gradient="weight_hh_l0[3,1]"'
        raise InputError(f"the {missing} is missing", advice=advice, where=missing)
    if loss is not None:
        raise InputError("a loss has no effect on this number", advice="pass gradient, too", where="loss")
    return step, unit


def _refuse_beside_gradient(**given: Any) -> None:
    """Raises `InputError` for arguments that say nothing of a gradient."""
    for name, value in given.items():
        if value is not None:
            advice = 'write it into the name: gradient="f[1]" is dL/df of unit 1'
            raise InputError("has no effect on a gradient", advice=advice, where=name)
