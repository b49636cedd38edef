"""What is said of x: where it comes from, in which order its axes are read, and what to do where they fit another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnspect.files.sources import parse

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

_BATCH_FIRST, _TIME_FIRST = "(batch, step, feature)", "(step, batch, feature)"


def source_of(spec: Spec) -> str:
    """Where x comes from: "x.npy", "ramp:3 (the default)"; empty for arrays of a caller, which have no name."""
    if spec.input is None:
        return ""
    if not isinstance(spec.input, str) or spec.input.lstrip().startswith("["):
        return "the numbers in the spec"
    return str(parse(spec.input)) + ("" if is_said(spec) else " (the default)")


def is_said(spec: Spec) -> bool:
    """Whether the user gave an input; else it is the default."""
    return spec.input is None or "input" in spec.model_fields_set


def read_as(spec: Spec) -> str:
    """The order in which the axes of an x with a batch are read."""
    return _BATCH_FIRST if spec.batch_first else _TIME_FIRST


def exchanged(spec: Spec) -> str:
    """The other order of the first two axes."""
    return _TIME_FIRST if spec.batch_first else _BATCH_FIRST


def option(spec: Spec) -> str:
    """The option that reads x in the other order."""
    return "--no-batch-first" if spec.batch_first else "--batch-first"


def only_exchanged(what: str, spec: Spec) -> tuple[str, str]:
    """What was found, and what to do: lengths or a state fit x in the other order only."""
    found = f"{what} fits only an x of {exchanged(spec)}; x is read as {read_as(spec)}"
    return found, f"add {option(spec)} (in a spec, batch_first: {str(not spec.batch_first).lower()})"


def features_elsewhere(shape: Sequence[int], features: int) -> tuple[str, str] | None:
    """What was found, and what to do, where the features of x are not its last axis, but one other axis can be."""
    fitting = [axis for axis, size in enumerate(shape[:-1]) if size == features]
    if len(fitting) != 1:
        return None
    (axis,) = fitting
    how = "x.T" if len(shape) == 2 else f"np.moveaxis(x, {axis}, -1)"
    moved = (*shape[:axis], *shape[axis + 1 :], features)
    found = f"x {tuple(shape)} has its {features} features in axis {axis}; they come last"
    return found, f"pass {how}, whose shape is {moved}"


def assumed(spec: Spec, steps: int, batch: int) -> str | None:
    """What to say where x came with a batch and nobody said which axis it is; None where that is known, and of a batch
    of one, whose steps nobody takes for items."""
    if "batch_first" in spec.model_fields_set or spec.batch is not None or batch == 1:
        return None
    shape = (batch, steps, spec.input_size) if spec.batch_first else (steps, batch, spec.input_size)
    of_steps = "1 step" if steps == 1 else f"{steps} steps"
    read = f"x {shape} is read as {read_as(spec)}: {batch} sequences of {of_steps}"
    return f"{read}; if it is {exchanged(spec)}, add {option(spec)}"
