"""The command to type after a check."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from rnnspect.cli.check_options import CheckOptions
from rnnspect.cli.describing import Described, Describing, Given
from rnnspect.cli.values import flag
from rnnspect.errors import InputError, listed
from rnnspect.judging.verdict import Point, Verdict


def one_of_several(label: str, every: Mapping[str, Describing | None]) -> InputError:
    """The error where a recording is given for a file of several modules. A module that takes the output of another one
    is checked by itself, on that output."""
    advice = "choose one with --module"
    fed = {name: one.reads_from for name, one in every.items() if one is not None and one.reads_from}
    if fed:
        above, below = [*fed.items()][-1]
        advice += f"; {above} takes the output of {below}: --module {above} --input THAT_OUTPUT.npy checks it alone"
    found = f"{label} has {len(every)} recurrent modules, and a recording is of one"
    return InputError(found, allowed=listed(every), advice=advice, where="--recorded")


def next_command(
    verdict: Verdict, given: Given, described: Described, engine: str | None, recorded: Path | None, asked: CheckOptions
) -> str:
    """After a check that differs the command that shows how the first wrong value comes about; after one of an input
    that was drawn the same check of the user's own input. `engine` is the one that was named. What came from standard
    input has to be given again."""
    said = _command(verdict, given, described, engine, recorded, asked)
    return f"with the same on standard input: {said}" if said and "-" in map(str, given.typed.values()) else said


def _command(
    verdict: Verdict, given: Given, described: Described, engine: str | None, recorded: Path | None, asked: CheckOptions
) -> str:
    from rnnspect.checking.drawn_input import is_missing

    typed, first = given.as_typed(described.spec), verdict.first
    named = f"--engine {shlex.quote(engine)}" if engine else ""
    if recorded is None and is_missing(described.spec):
        # It was drawn by the check alone: any other command would run on other numbers.
        said = " ".join(filter(None, ("rnnspect check", typed, shlex.join(_as_typed(asked, engine)), "--input x.npy")))
        return f"with an input of your own: {said}"
    if first is None or asked.split:
        return ""
    if verdict.backward:
        went_in = asked.loss or verdict.drawn or str(recorded)
        which = [*_gradient(first, verdict), f"--loss {shlex.quote(went_in)}"]
        return " ".join(filter(None, ("rnnspect derive", typed, *which)))
    if recorded is not None:
        said = f"--recorded {shlex.quote(str(recorded))}"
        held_to = (("--recorded-as", asked.recorded_as), ("--arithmetic", asked.arithmetic))
        how = " ".join(f"{option} {shlex.quote(value)}" for option, value in held_to if value)
        return " ".join(filter(None, ("rnnspect report", typed, said, how, "-o report.html")))
    quantity = first.quantity.removesuffix("_n")  # a final state is the state of the last step
    which = [f"--step {first.step} --unit {first.unit}", *_place(first, verdict)]
    which += [f"--quantity {quantity}"] if quantity != "h" else []
    return " ".join(filter(None, ("rnnspect derive", typed, *which, named)))


def _as_typed(asked: CheckOptions, engine: str | None) -> Iterator[str]:
    """The options of the check; of several engines the one of this row."""
    for name in (one.name for one in fields(asked)):
        value = engine if name == "engine" else getattr(asked, name)
        for each in value if isinstance(value, list) else [value]:
            if each is not None and each is not False:
                yield flag(name)
                yield from () if each is True else [f"{each:g}" if isinstance(each, float) else str(each)]


def _gradient(first: Point, verdict: Verdict) -> Iterator[str]:
    """The options of `derive` that write a gradient as arithmetic."""
    name = first.quantity.removeprefix("grad.")
    if name.endswith("]"):
        yield f"--gradient {shlex.quote(name)}"
        return
    written = name
    if name.endswith("_pre"):  # of a cell with one gate it has no index
        written = f"s_{name.removesuffix('_pre')}" if len(verdict.spec.cell_type.gates) > 1 else "s"
    yield f"--gradient {shlex.quote(f'{written}[{first.unit}]')}"
    if first.step >= 0:
        yield f"--step {first.step}"
    yield from _place(first, verdict)


def _place(first: Point, verdict: Verdict) -> Iterator[str]:
    """The options of `derive` for a layer, a direction and an item of the batch that are not the first."""
    if first.layer:
        yield f"--layer {first.layer}"
    if first.direction != verdict.spec.directions[0]:
        yield f"--direction {first.direction}"
    if first.batch:
        yield f"--batch-index {first.batch}"
