"""A node of an ONNX model on what it receives when the model runs: --input NAME=… says the inputs of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.cli.output import loading
from rnnspect.files.sources import parse_file
from rnnspect.network.shown import counted

if TYPE_CHECKING:
    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec


def received(spec: Spec) -> tuple[Sequence, tuple[str, ...]] | None:
    """What the node of a spec receives in the first call of its model's run, and notes on that; None for an input that
    is the node's own, and for what is no node of a model.

    Raises `InputError` for inputs that do not fit the model, and where the node did not run.
    """
    if not isinstance(spec.weights, str) or not isinstance(spec.input, str) or "=" not in spec.input:
        return None
    with loading():
        from rnnspect.checking.onnx.check import received as received_by
        from rnnspect.checking.onnx.given_inputs import names_inputs
        from rnnspect.weights import readers

    file = parse_file(spec.weights)
    if not names_inputs(spec.input) or readers.kind_of(file.path) != "onnx":
        return None
    sequence, note = received_by(file.path, file.member, spec.input, spec.batch, spec.seed)
    steps, batch = sequence.steps, sequence.batch
    size = f"{counted(steps, 'step')}, batch of {batch}"
    what = f"note: this is what {spec.weights} received in the run of its model: {size}"
    return sequence, (what, *([f"note: {note}"] if note else []))
