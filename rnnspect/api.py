"""The library: the same answers as the commands, for a spec or a live module. Loads torch when it is called.

A function has as many parameters as its command has options that a run in Python needs; most are given by keyword.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from rnnspect.checking.live.watch import WatchedCalls, watch
from rnnspect.errors import (
    DeviceError,
    FileError,
    InputError,
    ResourceError,
    RnnspectError,
    SequenceError,
    SpecError,
    WeightsError,
)
from rnnspect.judging.verdict import GateResolution, Point, Verdict
from rnnspect.network import shown
from rnnspect.network.keys import Head
from rnnspect.network.model_tree import ModelShapes
from rnnspect.network.parameters import Shapes, shapes_of
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import At, Derivation, Report
from rnnspect.tracing.given import Given
from rnnspect.tracing.trace import LayerTrace, Pair, Trace

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.judging.declared import Declared
    from rnnspect.tracing.given import Asked

__all__ = [
    "Derivation", "DeviceError", "FileError", "GateResolution", "Head", "InputError", "LayerTrace", "Pair", "Point",
    "Report", "ResourceError", "RnnspectError", "SequenceError", "Shapes", "Spec", "SpecError", "Trace", "Verdict",
    "WeightsError", "assert_agrees", "check", "derive", "report", "shapes", "trace", "watch",
]  # fmt: skip


@overload
def shapes(source: Spec | nn.RNNBase | nn.RNNCellBase) -> Shapes: ...
@overload
def shapes(source: nn.Module) -> Shapes | ModelShapes: ...
def shapes(source: Spec | nn.Module) -> Shapes | ModelShapes:
    """Every parameter of a spec or of a live nn.RNN, nn.LSTM, nn.GRU or cell: name, shape, gate rows, bytes. Of a model
    with recurrent modules in it the tree of its modules, and the shapes of each recurrent one by its name.

    For a spec this loads no framework. Raises `SpecError` for any other object.
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
    module: str | None = None,
) -> Trace:
    """Every quantity of every step from the equations, and the framework's numbers beside it.

    x is (T, I) or, as `batch_first` of the spec or module says, (B, T, I) or (T, B, I); h0 is (L·D, P) or
    (L·D, B, P), c0 (L·D, H) or (L·D, B, H), with P = proj_size or hidden_size. Each may be a tensor, an array,
    nested lists, or a source string such as "randn:100" or "x.npy"; what is left out is as the spec says. h0 may be
    (h0, c0), as torch.nn.LSTM takes them. `lengths`, one for each item, makes the batch a packed one, as does a packed
    sequence as x. A module runs in eval mode, without autograd, and is left as it was.

    A cell takes x (I,) or (B, I), one step, and its states without an axis for layers; (T, B, I) or a source string is
    stepped through. Any other model runs once on x, or on a tuple of what it takes; without x on one that is drawn for
    its first layer. Shown is the first call of its first recurrent module, on what that received; `module` is the name
    of another, or a pattern such as "encoder.*". Its `notes` say which it is.

    Raises `SpecError`, `SequenceError`, `WeightsError`, `FileError`, `DeviceError` or `ResourceError`, all of them
    `rnnspect.RnnspectError`.
    """
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.tracing.trace import trace_prepared

    return trace_prepared(prepare_source(source, Given(x, h0, c0, lengths), module))


@overload
def check(
    source: Spec | nn.RNNBase | nn.RNNCellBase, x: Any = ..., h0: Any = ..., c0: Any = ..., **asked: Unpack[Asked]
) -> Verdict: ...
@overload
def check(
    source: nn.Module, x: Any = ..., h0: Any = ..., c0: Any = ..., **asked: Unpack[Asked]
) -> Verdict | WatchedCalls: ...
def check(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
) -> Verdict | WatchedCalls:
    """Whether an engine computes the equations, at every step, unit and layer that it shows.

    x, h0, c0 and lengths are those of `trace`. Without x a module, or a spec with weights and no input of its own, runs
    on a drawn x that opens its gates; a note says so. `engine` is a name such as "torch-cell", or your own function or
    class, as path/to/mine.py:name gives it; a live module is checked itself. With `recorded` no engine runs: what
    somebody's implementation gave is judged, the output or a mapping such as {"output": y, "h_n": h}
    (`rnnspect.checking.recording` has all names and shapes). `recorded_as` says how its numbers were rounded, where it
    is not plain to see: "%.3e", "decimals:4", "digits:5", "float16", "exact", …
    `arithmetic` holds the run to another arithmetic than its dtype and device declare: tf32, bfloat16-products, …
    For a run that differs, known mistakes that explain it are looked for, and are in `causes` of the verdict: for
    `explain` seconds or, where it is not given, for as much work as 10 s take, so that every machine finds the same.

    Runs in half types may end as `cannot tell` though nothing is wrong: `rnnspect.judging.declared` says which, and
    why.

    A model with recurrent modules in it runs once on x, or on a tuple of what it takes. Where that makes one call of
    one of them, the answer is its verdict; where it makes more, all calls as `rnnspect.watch` gives them: `verdict` is
    the worst of theirs, `agrees` whether all agree, and `check()` gives each.

    Raises what `trace` raises; a run that differs is an answer, not an error.
    """
    from rnnspect.checking.check import check_prepared, judge_recorded
    from rnnspect.checking.drawn_input import is_missing
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.judging.rounding import named
    from rnnspect.network.torch_modules import is_model

    is_run = recorded is None
    if is_model(source):
        from rnnspect.checking.live.runs import checked

        own = None if engine == "torch" else engine
        beside = {"recorded": recorded, "engine": own, "arithmetic": arithmetic, "recorded_as": recorded_as}
        return checked(source, {"x": x, "h0": h0, "c0": c0, "lengths": lengths, **beside}, explain)
    draw = is_run and x is None and lengths is None and (not isinstance(source, Spec) or is_missing(source))
    given = "zeros:1" if draw and not isinstance(source, Spec) else x  # a module says no input; a drawn one follows
    prepared = prepare_source(source, Given(given, h0, c0, lengths), None, engine if is_run else "torch")
    held_to = _arithmetic(arithmetic)
    if is_run:
        return check_prepared(prepared, held_to, explain=explain, draw=draw)
    rounding = named(recorded_as, "recorded_as")
    return judge_recorded(prepared, recorded, held_to, explain=explain, rounding=rounding).verdict


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
) -> Derivation:
    """One number of a run as arithmetic: h, c or a gate of one unit, down to the inputs and the step before.

    x, h0, c0, lengths and `engine` are those of `check`, `module` that of `trace`. `direction` is the first one if left
    out; a negative step, unit or layer counts from the end, a step from that of its item. The equations are taken in
    float64 on what the engine itself gave at the step before, so that difference and bound are those of `check` at this
    address.

    Raises what `trace` raises, and `InputError` for an address that is not there.
    """
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.reporting.deriving import derive_prepared, locate

    prepared = prepare_source(source, Given(x, h0, c0, lengths), module, engine)
    at = At(layer=layer, direction=direction or "", step=step, batch=batch_index, unit=unit, quantity=quantity)
    return derive_prepared(prepared, locate(prepared, at))


def report(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    path: str | Path,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    arithmetic: str | None = None,
    batch_index: int | None = None,
    steps: Iterable[int] | None = None,
    module: str | None = None,
) -> Report:
    """Writes one HTML file that shows a run, and returns what is in it; its `verdict` is that of `rnnspect.check`.

    The first arguments are those of `rnnspect.check`, `module` is that of `trace`. `batch_index` is the item that is
    shown, left out the one that differs first. Every number of it opens; of a run too long for one file those of
    `steps` do, left out up to 64 of them. The file appears whole or not at all.

    Raises what `check` raises, `FileError` where the file cannot be written, and `InputError` for an item or a step
    that is not there.
    """
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.files import writing
    from rnnspect.judging.rounding import named
    from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
    from rnnspect.views.report import as_html

    writing.check_writable(Path(path))
    made = report_prepared(
        prepare_source(source, Given(x, h0, c0, lengths), module, engine),
        ReportOptions(batch_index, None if steps is None else tuple(sorted(set(steps)))),
        None if recorded is None else Recordings(recorded, rounding=named(recorded_as, "recorded_as")),
        _arithmetic(arithmetic),
    )
    writing.write_text(Path(path), as_html(made))
    return made


def assert_agrees(
    source: Spec | nn.Module,
    x: Any = None,
    recorded: Any = None,
    *,
    h0: Any = None,
    c0: Any = None,
    lengths: Any = None,
    arithmetic: str | None = None,
) -> None:
    """Fails, with the report as its message, unless a run is what the equations give. For test suites.

    The run is that of the module or spec itself; with `recorded` it is that one: the output, what a torch.nn module
    returns, or a mapping such as {"output": y, "h_n": h} (`rnnspect.checking.recording` has all names and shapes). x,
    h0, c0 and lengths are as `rnnspect.trace` takes them. `arithmetic` is what the run is held to where its dtype does
    not say: tf32, bfloat16-products, float16, …

    Any other model, or a single cell, runs on x once under `rnnspect.watch`, in eval mode, and each call of each
    recurrent module in it must agree; x is then a tensor or an array, or a tuple of what the model takes. A cell takes
    h0 and c0 as its state.

    Raises `AssertionError` for `differ` and for `cannot tell`; `InputError` for what does not fit together.
    """
    from rnnspect.network.torch_modules import is_cell, is_model
    from rnnspect.views.check import report_text

    __tracebackhide__ = True  # pytest shows the line of the test
    itself: Any = source
    if is_model(source) or is_cell(source):
        from rnnspect.checking.live.runs import failure

        given = {"recorded": recorded, "h0": h0, "c0": c0, "lengths": lengths, "arithmetic": arithmetic}
        if (wrong := failure(itself, x, given)) is not None:
            raise AssertionError("\n".join([wrong[0], *([report_text(wrong[1])] if wrong[1] else [])]))
        return
    verdict: Verdict = check(itself, x, h0, c0, lengths=lengths, recorded=recorded, arithmetic=arithmetic)
    if not verdict.agrees:
        raise AssertionError(report_text(verdict))


def _arithmetic(name: str | None) -> Declared | None:
    from rnnspect.judging.declared import named

    return named(name, "arithmetic") if name else None


def _forms(result: Any) -> dict[str, str]:
    from rnnspect.views import notebook

    return notebook.forms(result)


shown.forms = _forms
