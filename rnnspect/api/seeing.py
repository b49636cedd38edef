"""What is inside a network and a run of it: shapes, every quantity, every gradient, and one number as arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from rnnspect.network.shapes import ModelShapes, Shapes, shapes_of
from rnnspect.network.spec import Spec
from rnnspect.tracing.given import GivenInput
from rnnspect.tracing.gradients import Gradients
from rnnspect.tracing.trace import Trace

if TYPE_CHECKING:
    from torch import nn


@overload
def shapes(source: Spec | nn.RNNBase | nn.RNNCellBase) -> Shapes: ...
@overload
def shapes(source: nn.Module) -> Shapes | ModelShapes: ...
def shapes(source: Spec | nn.Module) -> Shapes | ModelShapes:
    """Lists every parameter: its name, shape, number of bytes, and which of its rows belong to which gate.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it. Of a spec this loads
            no framework.

    Returns:
        The shapes. Of a model the tree of its modules, and the shapes of each recurrent one by its name.

    Raises:
        SpecError: If it is none of these.

    Examples:
        >>> import rnnspect
        >>> found = rnnspect.shapes(rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4))
        >>> [(one.name, one.shape) for one in found.parameters][:2]
        [('weight_ih_l0', (16, 3)), ('weight_hh_l0', (16, 4))]
    """
    if isinstance(source, Spec):
        return shapes_of(source)
    from rnnspect.network.torch_modules import is_model, shapes_of_model, shapes_of_module

    return shapes_of_model(source) if is_model(source) else shapes_of_module(source)


def trace(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    engine: str | Callable[..., Any] = "torch",
    module: str | None = None,
) -> Trace:
    """Computes every gate and state of every step from the equations, and sets the framework's numbers beside them.

    A module runs in eval mode, without autograd, and is left as it was.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it. A model runs once,
            and the first call of its first recurrent module is shown.
        x: The input: (T, I), or of a batch (T, B, I), with `batch_first` (B, T, I); a packed sequence too. A tensor,
            an array, nested lists, or a source such as "randn:100" or "x.npy". Of a cell (I,) or (B, I), of a model
            what it takes, or a tuple of that. If left out: the spec's own, or of a model one that is drawn.
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P); of a
            cell (H,) or (B, H). May be (h0, c0), as nn.LSTM takes them. If left out: zeros, or as the spec says.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        engine: What runs a `Spec`: a name such as "torch-cell" or "onnxruntime", or a function or class of your own. If
            left out, of what no module of torch.nn computes there are the numbers of the equations alone.
        module: Of a model the name of the recurrent module to show, or a pattern such as "encoder.*".

    Returns:
        The trace: by layer and direction each quantity, as a tensor (B, T, units).

    Raises:
        RnnspectError: If the arguments do not fit together or cannot be run.

    Examples:
        >>> import rnnspect, torch
        >>> found = rnnspect.trace(torch.nn.LSTM(3, 4), torch.ones(20, 3))
        >>> found.layers[0].quantities["f"].shape  # the forget gate: batch, steps, units
        torch.Size([1, 20, 4])
    """
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.tracing.running import trace_prepared

    prepared = prepare_source(source, GivenInput(x, h0, c0, lengths), module, engine)
    return trace_prepared(prepared if engine != "torch" else prepared.or_no_engine())


def gradients(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    loss: Any = "sum",
    engine: str | Callable[..., Any] = "torch",
    module: str | None = None,
) -> Gradients:
    """Computes the gradient of a loss by every gate and state of every step, going back through the equations, and sets
    the framework's gradients beside them.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it, which runs once.
        x: The input, of the same shapes as `trace` takes: (T, I), (T, B, I) or with `batch_first` (B, T, I).
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P). If left out: zeros, or as the spec says.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        loss: "sum" or "mean" of the output; "last", the sum of the output at each item's last step; dL/d output as an
            array or a file, in the shape of the output: (T, D·P), (T, B, D·P) or with `batch_first` (B, T, D·P); or
            "mse:target.npy", the mean squared difference to a target of that shape. No padding counts in it.
        engine: What runs a `Spec`: a name such as "torch-cell", or a function or class of your own.
        module: Of a model the name of the recurrent module, or a pattern such as "encoder.*".

    Returns:
        The gradients: by layer and direction those of each gate and state, (B, T, units), with how far they reach;
            those of x, h0, c0 and of each parameter by the equations and by the engine.

    Raises:
        RnnspectError: If the arguments do not fit together or cannot be run.

    Examples:
        >>> import rnnspect, torch
        >>> found = rnnspect.gradients(torch.nn.LSTM(3, 4), torch.ones(20, 3), loss="last")
        >>> found.layers[0].quantities["f"].shape  # dL/df: batch, steps, units
        torch.Size([1, 20, 4])
        >>> found.parameters["weight_hh_l0"].gradient.manual.shape
        torch.Size([16, 4])
    """
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.network import memory
    from rnnspect.tracing.backward import gradients_prepared

    needs = memory.gradients_needs
    prepared = prepare_source(source, GivenInput(x, h0, c0, lengths), module, engine, needs)
    return gradients_prepared(prepared, loss, required=engine != "torch")
