"""A run as a page for a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError
from rnnspect.files import writing
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Report
from rnnspect.tracing.given import GivenInput

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.reporting.building import Recordings, ReportOptions
    from rnnspect.tracing.prepare import Prepared


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
    beside: Any = None,
    arithmetic: str | None = None,
    batch_index: int | None = None,
    steps: Iterable[int] | None = None,
    module: str | None = None,
    backward: bool = False,
    loss: Any = None,
    recover: bool = False,
    other_weights: Any = None,
) -> Report:
    """Writes one HTML file that shows a run, and returns what is in it.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it, which runs once.
        x: The input, of the same shapes as `trace` takes: (T, I), (T, B, I) or with `batch_first` (B, T, I).
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P). If left out: zeros, or as the spec says.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        path: The file to write. It appears whole or not at all.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        recorded: What somebody's implementation gave, to be shown in place of a run, as `check` takes it.
        recorded_as: How recorded numbers were rounded, if that is not plain to see: "decimals:4", "float16", …
        engine: What runs a `Spec`: a name such as "torch-cell" or "onnxruntime", or a function or class of your own.
        beside: A second run of the same network and input, shown beside the first, as `engine` or `recorded` takes it.
        arithmetic: How exactly the runs have to compute, if their dtype does not say it: "tf32", …
        batch_index: Which item of the batch is shown. If left out: the one that differs first.
        steps: Of a run too long for one file, the steps that can be opened. If left out: up to 64 of them.
        module: Of a model the name of the recurrent module, or a pattern such as "encoder.*".
        backward: Whether the gradients of every gate and state, by the equations, are shown as well.
        loss: With `backward`, of what, as `gradients` takes it. If left out: "sum", that of the output.
        recover: Whether the engine's parameters are recovered from its numbers, and shown beside yours.
        other_weights: With which checkpoint those are compared, too, as `check` takes it.

    Returns:
        What the page shows. Its `verdict` is that of `check`, and `runs` has that of each run.

    Raises:
        RnnspectError: If the arguments do not fit together, cannot be run, or the file cannot be written.

    Examples:
        >>> import rnnspect, torch
        >>> gru, x = torch.nn.GRU(3, 4), torch.randn(20, 3)
        >>> [run.name for run in rnnspect.report(gru, x, path="two.html", beside=gru(x)[0]).runs]
        ['torch', 'the recording']
    """
    run = _prepared(path, source, GivenInput(x, h0, c0, lengths), module, backward)
    asked = _options(run, batch_index, steps, backward, loss, recover, other_weights)
    return _write(path, _runs(run, engine, recorded, beside, recorded_as), asked, arithmetic)


def _prepared(
    path: str | Path, source: Spec | nn.Module, given: GivenInput, module: str | None, backward: bool
) -> Prepared:
    """What is run, once it is known that the file can be written."""
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.network import memory

    writing.check_writable(Path(path))
    needs = memory.gradients_needs if backward else memory.trace_needs
    return prepare_source(source, given, module, needs=needs)


def _options(
    run: Prepared,
    batch_index: int | None,
    steps: Iterable[int] | None,
    backward: bool,
    loss: Any,
    recover: bool,
    other_weights: Any,
) -> ReportOptions:
    """What of the run is to be shown."""
    from rnnspect.checking.other_checkpoints import checkpoints_of
    from rnnspect.reporting.building import ReportOptions, with_loss

    asked = ReportOptions(batch_index, None if steps is None else tuple(sorted(set(steps))))
    if not backward and loss is not None:
        raise InputError("a loss is for gradients", advice="pass backward=True", where="loss")
    asked = with_loss(asked, "sum" if loss is None else loss, run, "loss") if backward else asked
    checkpoints = checkpoints_of(other_weights, run.spec, "other_weights")
    return replace(asked, recover=recover or other_weights is not None, checkpoints=checkpoints)


def _write(
    path: str | Path, runs: Iterator[tuple[Prepared, Recordings | None]], asked: ReportOptions, arithmetic: str | None
) -> Report:
    """Judges the runs, and writes the page that shows them."""
    from rnnspect.judging import declared
    from rnnspect.reporting.building import report_prepared
    from rnnspect.views.report import as_html

    (prepared, recorded), *others = runs
    asked = replace(asked, beside=tuple(others))
    held_to = declared.named(arithmetic, "arithmetic") if arithmetic else None
    page = report_prepared(prepared, asked, recorded, held_to)
    writing.write_text(Path(path), as_html(page))
    return page


def _runs(
    run: Prepared, engine: str | Callable[..., Any], recorded: Any, beside: Any, recorded_as: str | None
) -> Iterator[tuple[Prepared, Recordings | None]]:
    """The run that was asked for, or what was recorded of it, and the one beside it, if there is one."""
    from rnnspect.checking.recording import HowRecorded
    from rnnspect.judging import rounding
    from rnnspect.reporting.building import Recordings

    rounded = rounding.named(recorded_as, "recorded_as")
    is_run = isinstance(beside, str) or callable(beside)
    both = recorded is not None and beside is not None and not is_run
    first, second = ("the first recording", "the second recording") if both else ("the recording", "the recording")
    given = None if recorded is None else Recordings(recorded, HowRecorded(rounding=rounded), first)
    yield run.with_engine(engine, "engine"), given
    if is_run:
        yield run.with_engine(beside, "beside"), None
    elif beside is not None:
        yield run, Recordings(beside, HowRecorded(lambda _name: "beside", rounded), second)
