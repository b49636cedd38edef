"""An implementation at the lengths, splits and batches at which fast forms break."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rnnspect.checking.sweep.result import Sweep
from rnnspect.errors import InputError
from rnnspect.network.spec import Spec


def sweep(
    source: Spec,
    engine: str | Callable[..., Any] = "torch",
    *,
    chunk: int | Sequence[int] = (64, 16),
    arithmetic: str | None = None,
    explain: float | None = None,
) -> Sweep:
    """Checks an implementation at the lengths, splits and batches at which fast forms break, each run by itself.

    The lengths are 1, 2, and those around `chunk`: one less, itself, one more, twice as many, three more than that, and
    a prime. Each runs with an initial state of zeros and a drawn one, alone and in a batch of three. Where an engine
    carries a state it also runs in several calls: a first one up to the edge of a chunk, one step to either side of it,
    and then the rest at once, or step by step. What takes lengths also gets a batch of unequal ones.

    Args:
        source: A `Spec`. Its own input and states are not used: they are drawn with its seed.
        engine: What runs it: a name such as "torch-cell" or "onnxruntime", or a function or class of your own.
        chunk: How many steps the implementation computes at once, or several such numbers, if you do not know.
        arithmetic: How exactly it has to compute, if its dtype does not say it: "tf32", "bfloat16-products", …
        explain: For how many seconds to look for the mistake in the first run that differs. If left out: about 10 s of
            work.

    Returns:
        Every run with its verdict. It is true if no run differs or fails, and each length and split agrees.

    Raises:
        RnnspectError: If the arguments do not fit together, or if no run can be made at all.

    Examples:
        >>> import rnnspect
        >>> rnnspect.sweep(rnnspect.Spec(cell="lstm"), chunk=4).verdict
        'agree'
    """
    from rnnspect import engines
    from rnnspect.checking.check import CheckTerms
    from rnnspect.checking.sweep.sweep import sweep as swept
    from rnnspect.judging import declared

    given: object = source
    if not isinstance(given, Spec):
        advice = "describe its network: rnnspect.Spec(cell=…, input_size=…, hidden_size=…, weights='model.pt')"
        raise InputError(f"this is a {type(given).__name__}", allowed="a Spec", advice=advice, where="source")
    try:
        chunks = tuple(map(operator.index, chunk if isinstance(chunk, Iterable) else (chunk,)))
    except TypeError:
        chunks = ()
    if not chunks or min(chunks) < 1:
        raise InputError(f"chunk={chunk!r}", allowed="a number of steps, such as 64, or several", where="chunk")
    held_to = declared.named(arithmetic, "arithmetic") if arithmetic else None
    return swept(source, engines.find(engine, "engine"), chunks, CheckTerms(held_to, explain))
