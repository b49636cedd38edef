"""The library: the same answers as the commands, for a spec or a live module. Loads torch when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.errors import SpecError
from rnnspect.network.parameters import Shapes, shapes_of
from rnnspect.network.spec import Spec

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.judging.verdict import Verdict
    from rnnspect.reporting.derivation import Derivation
    from rnnspect.tracing.prepare import Prepared
    from rnnspect.tracing.trace import Trace


def shapes(source: Spec | nn.RNNBase) -> Shapes:
    """Every parameter of a spec or of a live nn.RNN, nn.LSTM or nn.GRU: name, shape, gate rows, bytes.

    For a spec this loads no framework. Raises `SpecError` for an object that is neither.
    """
    return shapes_of(_spec(source))


def trace(
    source: Spec | nn.RNNBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
) -> Trace:
    """Every quantity of every step from the equations, and the framework's numbers beside it.

    x is (T, I) or, as `batch_first` of the spec or module says, (B, T, I) or (T, B, I); h0 is (L·D, P) or
    (L·D, B, P), c0 (L·D, H) or (L·D, B, H), with P = proj_size or hidden_size. Each may be a tensor, an array,
    nested lists, or a source string such as "randn:100" or "x.npy"; what is left out is as the spec says.
    `lengths`, one for each item, makes the batch a packed one. A module runs in eval mode, without autograd, and is
    left as it was.

    Raises `SpecError`, `SequenceError`, `WeightsError`, `FileError`, `DeviceError` or `ResourceError`, all of them
    `rnnspect.RnnspectError`.
    """
    from dataclasses import replace

    from rnnspect.arguments import Arguments, digest_of
    from rnnspect.tracing.prepare import prepare
    from rnnspect.tracing.trace import trace_prepared

    run = {"x": x, "h0": h0, "c0": c0, "lengths": lengths}
    prepared = prepare(source, **run)
    return replace(trace_prepared(prepared), arguments=Arguments(source, run, digest_of(prepared)))


def check(
    source: Spec | nn.RNNBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    engine: str = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
) -> Verdict:
    """Whether an engine computes the equations, at every step, unit and layer that it shows.

    x, h0, c0 and lengths are those of `trace`. `engine` is a name such as "torch" or "torch-cell"; a live module is
    checked itself. With `recorded` no engine runs: what somebody's implementation gave is judged, the output or a
    mapping such as {"output": y, "h_n": h} (`rnnspect.checking.recording` has all names and shapes). `arithmetic` holds
    the run to another arithmetic than its dtype and device declare: tf32, bfloat16-products, float16, …
    A run that differs is looked into for `explain` seconds, 10 if nothing is said: `causes` are the known mistakes that
    explain it.

    Runs in half types may end as `cannot tell` though nothing is wrong: `rnnspect.judging.declared` says which, and
    why. A single cell, and a model with recurrent modules inside, are run and checked by `rnnspect.watch`.

    Raises what `trace` raises; a run that differs is an answer, not an error.
    """
    from dataclasses import replace

    from rnnspect.arguments import Arguments, digest_of
    from rnnspect.checking.check import check_prepared, check_recorded
    from rnnspect.judging.declared import named

    run = {"x": x, "h0": h0, "c0": c0, "lengths": lengths}
    prepared = prepared_of(source, "torch" if recorded is not None else engine, **run)
    held_to = named(arithmetic, "arithmetic") if arithmetic else None
    if recorded is not None:
        verdict = check_recorded(prepared, recorded, held_to, explain=explain)
    else:
        verdict = check_prepared(prepared, held_to, explain=explain)
    judged = {"recorded": recorded, "engine": engine, "arithmetic": arithmetic}
    return replace(verdict, arguments=Arguments(source, run, digest_of(prepared, recorded), judged))


def derive(
    source: Spec | nn.RNNBase,
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
    engine: str = "torch",
) -> Derivation:
    """One number of a run as arithmetic: h, c or a gate of one unit, down to the inputs and the step before.

    x, h0, c0, lengths and `engine` are those of `check`. `direction` is the first one if left out; a negative step,
    unit or layer counts from the end, a step from that of its item. The equations are taken in float64 on what the
    engine itself gave at the step before, so that difference and bound are those of `check` at this address.

    Raises what `trace` raises, and `InputError` for an address that is not there.
    """
    from rnnspect.reporting.deriving import derive_prepared, locate

    prepared = prepared_of(source, engine, x, h0, c0, lengths)
    at = locate(prepared, step, unit, layer=layer, direction=direction, batch_index=batch_index, quantity=quantity)
    return derive_prepared(prepared, at)


def has_recurrent(module: nn.Module) -> bool:
    """Whether a module is, or has in it, an nn.RNN, nn.LSTM, nn.GRU or one of their cells."""
    from rnnspect.network.torch_modules import is_cell, is_stack

    return any(is_stack(one) or is_cell(one) for one in module.modules())


def prepared_of(
    source: Spec | nn.RNNBase, engine: str, x: Any = None, h0: Any = None, c0: Any = None, lengths: Any = None
) -> Prepared:
    """What a check, a derivation or a report runs: the module itself, or the engine of that name."""
    from dataclasses import replace

    from rnnspect import engines
    from rnnspect.tracing.prepare import prepare

    _refuse_models(source)
    prepared = prepare(source, x, h0, c0, lengths=lengths)
    return prepared if engine == "torch" else replace(prepared, engine=engines.find(engine))


def _refuse_models(source: object) -> None:
    """A module that cannot be checked by itself, and can where it runs."""
    if isinstance(source, Spec):
        return
    from torch import nn

    from rnnspect.network.torch_modules import is_stack

    if isinstance(source, nn.Module) and not is_stack(source) and has_recurrent(source):
        allowed = "a Spec, nn.RNN, nn.LSTM or nn.GRU; for cells and whole models use rnnspect.watch(model)"
        raise SpecError(f"a {type(source).__name__}", allowed=allowed)


def _spec(source: Spec | nn.RNNBase) -> Spec:
    if isinstance(source, Spec):
        return source
    from rnnspect.network.torch_modules import spec_of

    return spec_of(source)
