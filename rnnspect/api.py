"""The library: the same answers as the commands, for a spec or a live module. Loads torch when it is called.

A function has as many parameters as its command has options that a run in Python needs; most are given by keyword.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from rnnspect.checking.live.watch import watch
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
from rnnspect.network.parameters import Shapes, shapes_of
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import At, Derivation, Report
from rnnspect.tracing.trace import LayerTrace, Pair, Trace

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.judging.declared import Declared
    from rnnspect.tracing.prepare import Prepared

__all__ = [
    "Derivation",
    "DeviceError",
    "FileError",
    "GateResolution",
    "Head",
    "InputError",
    "LayerTrace",
    "Pair",
    "Point",
    "Report",
    "ResourceError",
    "RnnspectError",
    "SequenceError",
    "Shapes",
    "Spec",
    "SpecError",
    "Trace",
    "Verdict",
    "WeightsError",
    "assert_agrees",
    "check",
    "derive",
    "report",
    "shapes",
    "trace",
    "watch",
]


def shapes(source: Spec | nn.RNNBase) -> Shapes:
    """Every parameter of a spec or of a live nn.RNN, nn.LSTM or nn.GRU: name, shape, gate rows, bytes.

    For a spec this loads no framework. Raises `SpecError` for an object that is neither.
    """
    if isinstance(source, Spec):
        return shapes_of(source)
    from rnnspect.network.torch_modules import spec_of

    return shapes_of(spec_of(source))


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
    from rnnspect.tracing.prepare import prepare
    from rnnspect.tracing.trace import trace_prepared

    return trace_prepared(prepare(source, x, h0, c0, lengths=lengths))


def check(
    source: Spec | nn.RNNBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
) -> Verdict:
    """Whether an engine computes the equations, at every step, unit and layer that it shows.

    x, h0, c0 and lengths are those of `trace`. Without x a module, or a spec with weights and no input of its own, runs
    on a drawn x that opens its gates; a note says so. `engine` is a name such as "torch" or "torch-cell"; a live module
    is checked itself. With `recorded` no engine runs: what somebody's implementation gave is judged, the output or a
    mapping such as {"output": y, "h_n": h} (`rnnspect.checking.recording` has all names and shapes). `recorded_as` says
    how its numbers were rounded, where it is not plain to see: "%.3e", "decimals:4", "digits:5", "float16", "exact", …
    `arithmetic` holds the run to another arithmetic than its dtype and device declare: tf32, bfloat16-products, …
    For a run that differs, known mistakes that explain it are looked for, and are in `causes` of the verdict: for
    `explain` seconds or, where it is not given, for as much work as 10 s take, so that every machine finds the same.

    Runs in half types may end as `cannot tell` though nothing is wrong: `rnnspect.judging.declared` says which, and
    why. A single cell, and a model with recurrent modules inside, are run and checked by `rnnspect.watch`.

    Raises what `trace` raises; a run that differs is an answer, not an error.
    """
    from rnnspect.checking.check import check_prepared, judge_recorded
    from rnnspect.checking.drawn_input import is_missing
    from rnnspect.judging.rounding import named

    is_run = recorded is None
    draw = is_run and x is None and lengths is None and (not isinstance(source, Spec) or is_missing(source))
    given = "zeros:1" if draw and not isinstance(source, Spec) else x  # a module says no input; a drawn one follows
    prepared = _prepared(engine if is_run else "torch", source, given, h0, c0, lengths)
    held_to = _arithmetic(arithmetic)
    if is_run:
        return check_prepared(prepared, held_to, explain=explain, draw=draw)
    rounding = named(recorded_as, "recorded_as")
    return judge_recorded(prepared, recorded, held_to, explain=explain, rounding=rounding).verdict


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

    prepared = _prepared(engine, source, x, h0, c0, lengths)
    at = At(layer=layer, direction=direction or "", step=step, batch=batch_index, unit=unit, quantity=quantity)
    return derive_prepared(prepared, locate(prepared, at))


def report(
    source: Spec | nn.RNNBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    path: str | Path,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str = "torch",
    arithmetic: str | None = None,
    batch_index: int | None = None,
    steps: Iterable[int] | None = None,
) -> Report:
    """Writes one HTML file that shows a run, and returns what is in it; its `verdict` is that of `rnnspect.check`.

    The first arguments are those of `rnnspect.check`. `batch_index` is the item that is shown, left out the one that
    differs first. `steps` are those whose derivations are kept; left out, up to 64 of them. The file appears whole or
    not at all.

    Raises what `check` raises, `FileError` where the file cannot be written, and `InputError` for an item or a step
    that is not there.
    """
    from rnnspect.files import writing
    from rnnspect.judging.rounding import named
    from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
    from rnnspect.views.report import as_html

    writing.check_writable(Path(path))
    made = report_prepared(
        _prepared(engine, source, x, h0, c0, lengths),
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
    from rnnspect.views.check import report_text

    __tracebackhide__ = True  # pytest shows the line of the test
    if _is_model(source):
        from rnnspect.checking.live.runs import watch_given

        given = {"recorded": recorded, "h0": h0, "c0": c0, "lengths": lengths, "arithmetic": arithmetic}
        seen, worst = watch_given(source, x, {name: value for name, value in given.items() if value is not None})
        if seen.verdict != "agree":
            raise AssertionError(f"{seen}\n{report_text(worst.verdict)}" if worst.verdict else str(seen))
        return
    itself: Any = source
    verdict = check(itself, x, h0, c0, lengths=lengths, recorded=recorded, arithmetic=arithmetic)
    if not verdict.agrees:
        raise AssertionError(report_text(verdict))


def _is_model(source: object) -> TypeGuard[nn.Module]:
    """Whether it is a single cell, or a module with recurrent modules in it. Of a Spec that is said without torch."""
    if isinstance(source, Spec):
        return False
    from torch import nn

    from rnnspect.network.torch_modules import is_cell, is_stack

    if not isinstance(source, nn.Module) or is_stack(source):
        return False
    return any(is_stack(one) or is_cell(one) for one in source.modules())


def _prepared(engine: str, source: Spec | nn.RNNBase, x: Any, h0: Any, c0: Any, lengths: Any) -> Prepared:
    """What a check, a derivation or a report runs: the module itself, or the engine of that name."""
    from rnnspect.tracing.prepare import prepare

    if _is_model(source):
        allowed = "a Spec, nn.RNN, nn.LSTM or nn.GRU; for cells and whole models use rnnspect.watch(model)"
        raise SpecError(f"a {type(source).__name__}", allowed=allowed)
    return prepare(source, x, h0, c0, lengths=lengths).with_engine(engine)


def _arithmetic(name: str | None) -> Declared | None:
    from rnnspect.judging.declared import named

    return named(name, "arithmetic") if name else None


def _forms(result: Any) -> dict[str, str]:
    from rnnspect.views import notebook

    return notebook.forms(result)


shown.forms = _forms
