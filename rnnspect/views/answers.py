"""What a trace says before any number: the network, and how far each engine is from the equations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.text import Text

from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.network.parameters import module_repr
from rnnspect.tracing.trace import Trace
from rnnspect.views import text

_ROUNDINGS = 16
"""Unit roundoffs, for the square root of the terms of a sum, up to which a difference is shown as one of rounding.
Only what is loud on a screen hangs on it: `check` has the bound."""


def heading(traces: Sequence[Trace], width: int) -> Iterator[Text]:
    """The network and, in the same line where they fit, what an engine gave beside the equations."""
    trace = traces[0]
    batch = f"a batch of {trace.batch}, " if trace.batched else ""
    module = module_repr(trace.spec.with_changes(head=None, batch_first=False))
    first = Text(f"{module}, {batch}{text.counted(trace.steps, 'step')}", "bold")
    answers = [answer(one) for one in traces]
    if len(answers) == 1 and len(first) + 4 + len(answers[0]) <= width:
        yield Text.assemble(first, "    ", answers[0])
    else:
        yield first
        yield from answers


def answer(trace: Trace) -> Text:
    """How far an engine is from the equations; quiet where that is what rounding does."""
    name, apart = trace.engine.name, trace.max_abs_difference
    if trace.output.engine is None:
        return Text("equations only, nothing to compare with")
    nan = ", NaN included" if bool(trace.output.engine.isnan().any()) else ""
    if apart == 0:
        return Text(f"{name} gives the same numbers{nan}", "dim")
    said = f"maximum difference {apart:.1e}{nan}"
    if apart <= rounding_sized(trace):
        return Text(f"{name} matches, {said}", "dim")
    return Text(f"{name}: {said}; rnnspect check tells whether that is rounding", text.LOUD)


def rounding_sized(trace: Trace) -> float:
    """The difference up to which a number of this trace is shown as rounded otherwise."""
    spec, output = trace.spec, trace.output.manual
    terms = max(spec.layer_input_size(layer) for layer in range(spec.num_layers)) + spec.output_size
    largest = float(output[output.isfinite()].abs().max()) if bool(output.isfinite().any()) else 0.0
    return _ROUNDINGS * float(ROUNDOFF[output.dtype].stored) * math.sqrt(terms) * max(1.0, largest)


def item_line(trace: Trace, item: int, hint: str) -> Text:
    """Which item of a batch is shown; `hint` says how another is chosen."""
    length = f", {text.counted(trace.length(item), 'step')} long" if trace.lengths else ""
    return Text(f"batch item {item} of {trace.batch}{length}{hint}")
