"""`check --recover` and `report --recover`: the engine's parameters in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.cli.output import Output
from rnnspect.errors import InputError
from rnnspect.files import writing
from rnnspect.judging.verdict import Verdict

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

_WHERE, OTHERS = "--recover", "--other-weights"


def check_asked(path: Path | None, alone: bool, others: Sequence[str] | None, backward: bool = False) -> None:
    """Raises what does not go with it, before long work is begun. `others` are the checkpoints that the weights are
    compared with."""
    if path is None and not others:
        return
    where = OTHERS if path is None else _WHERE
    if path is not None and path.suffix.lower() != ".npz":
        raise InputError(f"cannot write {path}", advice="use a name that ends in .npz", where=where)
    if not alone:
        raise InputError("recovers one run, not several", advice="pass one source and one engine", where=where)
    if backward:
        raise InputError("cannot be combined with --backward", advice="pass one of them", where=where)
    if path is not None:
        writing.check_writable(path)


def with_drawn_input(prepared: Prepared, output: Output) -> Prepared:
    """The same run on an input that is drawn, where nobody gave one."""
    from rnnspect.checking.drawn_input import on_long_input

    made = on_long_input(prepared)
    steps = made.sequence.steps
    output.note(f"note: no input was given: a random one was drawn for these weights, {steps} steps")
    return made


def write(path: Path | None, verdicts: Sequence[Verdict], output: Output) -> None:
    """The file opens as any checkpoint does. Without a path nothing is written."""
    if path is None:
        return
    found = next((verdict.recovered for verdict in verdicts if verdict.recovered is not None), None)
    if found is None or not found.layers:
        output.note(f"{path} was not written: nothing could be recovered")
        return
    wide = {name: of if of.element_size() == 8 else of.float() for name, of in found.parameters.items()}
    writing.write_arrays(path, {name: values.numpy() for name, values in wide.items()})
    output.note(f"wrote {path}")
