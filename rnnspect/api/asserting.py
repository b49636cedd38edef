"""Whether a run is what the equations give, as an assertion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.api.proving import check

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.checking.live.watch import WatchedCalls
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.spec import Spec


def assert_agrees(
    source: Spec | nn.Module,
    x: Any = None,
    recorded: Any = None,
    *,
    h0: Any = None,
    c0: Any = None,
    lengths: Any = None,
    arithmetic: str | None = None,
    backward: bool = False,
    loss: Any = None,
    module: str | None = None,
) -> None:
    """Fails unless a run is what the equations give. For test suites: the message is the verdict, where, and why.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it. A model runs once on
            x, in eval mode, and every call of a recurrent module in it has to agree.
        x: The input: (T, I), or of a batch (T, B, I), with `batch_first` (B, T, I). A tensor, an array, nested lists,
            or a source such as "randn:100" or "x.npy". Of a cell (I,) or (B, I), of a model what it takes, or a tuple
            of that.
        recorded: What somebody's implementation gave; it is checked, and nothing runs. The output, of the shape that
            torch.nn gives; what a torch.nn module returns; or a mapping such as {"output": y, "h_n": h}.
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P); of a
            cell (H,) or (B, H). May be (h0, c0), as nn.LSTM takes them. If left out: zeros, or as the spec says.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        arithmetic: How exactly the run has to compute, if its dtype does not say it: "tf32", "bfloat16-products", …
        backward: Whether the gradients have to agree, too, as `check` has it. Recorded are then "grad.weight_ih_l0" …
        loss: With `backward` the loss, as `gradients` takes it. If left out: dL/d output is drawn, or "grad.output".
        module: With `backward` the name of the recurrent module in a model. If left out: the first one that it calls.

    Raises:
        AssertionError: If the verdict is "differ" or "cannot tell".
        RnnspectError: If the arguments do not fit together or cannot be run.

    Examples:
        >>> import rnnspect, torch
        >>> lstm = torch.nn.LSTM(3, 4)
        >>> x = torch.randn(20, 3)
        >>> rnnspect.assert_agrees(lstm, x)
        >>> rnnspect.assert_agrees(lstm, x, recorded=lstm(x)[0])
    """
    from rnnspect.network.torch_modules import is_cell, is_model
    from rnnspect.views.notebook import failure

    __tracebackhide__ = True  # pytest shows the line of the test
    itself: Any = source
    given = {"recorded": recorded, "h0": h0, "c0": c0, "lengths": lengths, "arithmetic": arithmetic}
    of_gradients = backward or loss is not None or module is not None
    if (is_model(source) or is_cell(source)) and not of_gradients:
        from rnnspect.checking.live.runs import run_given

        found: Verdict | WatchedCalls = run_given(itself, x, given)
    else:
        found = check(itself, x, **given, backward=backward, loss=loss, module=module)
    if not found.agrees:
        raise AssertionError(failure(found))
