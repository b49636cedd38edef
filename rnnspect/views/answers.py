"""What a trace says before any number: the network, and how far each engine is from the equations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from rich.text import Text

from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.network.axes import is_said, source_of
from rnnspect.network.parameters import recurrent_repr
from rnnspect.tracing.gradients import Gradients
from rnnspect.tracing.trace import Trace
from rnnspect.views import text

EQUATIONS_ONLY = "equations only, nothing to compare with"
_ROUNDINGS = 16
"""Unit roundoffs, for the square root of the terms of a sum, up to which a difference is shown as one of rounding.
Only what is loud on a screen hangs on it: `check` has the bound."""


def heading(traces: Sequence[Trace], width: int) -> Iterator[Text]:
    """The network and, in the same line where they fit, what an engine gave beside the equations."""
    yield from headed(traces[0], [answer(one) for one in traces], width)


def headed(run: Trace | Gradients, answers: Sequence[Text], width: int) -> Iterator[Text]:
    """The network, and what is said of each engine."""
    batch = f"a batch of {run.batch}, " if run.batched else ""
    module = recurrent_repr(run.spec.with_changes(batch_first=False))
    default = "" if is_said(run.spec) else f" of {source_of(run.spec)}"
    first = Text(f"{module}, {batch}{text.counted(run.steps, 'step')}{default}", "bold")
    if len(answers) == 1 and len(first) + 4 + len(answers[0]) <= width:
        yield Text.assemble(first, "    ", answers[0])
    else:
        yield first
        yield from answers


def answer(trace: Trace) -> Text:
    """How far an engine is from the equations; quiet where that is what rounding does."""
    if trace.output.engine is None:
        return Text(EQUATIONS_ONLY)
    has_nan = bool(trace.output.engine.isnan().any())
    return apart_by(trace.engine.name, trace.max_abs_difference, rounding_sized(trace), has_nan, "rnnspect check")


def apart_by(name: str, apart: float, quiet: float, has_nan: bool, then: str) -> Text:
    """How far the engine of that name is `apart` from the equations: dim up to a difference of `quiet`, above it loud,
    with the command that judges it (`then`)."""
    nan = ", NaN included" if has_nan else ""
    if apart == 0:
        return Text(f"{name} gives the same numbers{nan}", "dim")
    said = f"maximum difference {apart:.1e}{nan}"
    if apart <= quiet:
        return Text(f"{name} matches, {said}", "dim")
    return Text(f"{name}: {said}; {then} shows whether that is rounding", text.LOUD)


def rounding_sized(trace: Trace) -> float:
    """The difference up to which an engine's number is shown as one that was only rounded differently."""
    spec, output = trace.spec, trace.output.manual
    terms = max(spec.layer_input_size(layer) for layer in range(spec.num_layers)) + spec.output_size
    return roundings(output.dtype, terms, output)


def roundings(dtype: torch.dtype, terms: int, *values: torch.Tensor) -> float:
    """The same for sums of so many terms that are as large as these `values`."""
    sizes = [float(finite.abs().max()) for one in values if len(finite := one[one.isfinite()])]
    return _ROUNDINGS * float(ROUNDOFF[dtype].stored) * math.sqrt(terms) * max([1.0, *sizes])


def item_line(trace: Trace | Gradients, item: int, hint: str) -> Text:
    """Which item of a batch is shown; `hint` says how another is chosen."""
    length = f", {text.counted(trace.length(item), 'step')} long" if trace.lengths else ""
    return Text(f"batch item {item} of {trace.batch}{length}{hint}")
