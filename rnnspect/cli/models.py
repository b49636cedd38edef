"""Models as sources of a check, each run once on the input: a live one, path/to/model.py:build, and one in .onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cli.describing import Described
from rnnspect.cli.values import flag
from rnnspect.errors import InputError, Problem, SpecError, listed
from rnnspect.files.sources import Generator, parse
from rnnspect.judging.verdict import EXIT_STATUS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnnspect.checking.live.watch import WatchedCalls
    from rnnspect.cli.output import Output
    from rnnspect.judging.declared import Declared
    from rnnspect.judging.verdict import Identity, Skipped, Verdict


@dataclass(frozen=True)
class CheckRow:
    """One source, or one call of a live model's module: its verdict, or why there is none."""

    source: str
    found: Verdict | Skipped | str
    status: int
    inside: bool = False
    """Whether it is one call in a model, not a whole source."""


def unnamed(source: str) -> InputError:
    """The error for a Python file without the name of a function or class in it. The file is read, never run."""
    from rnnspect.engines.own.loading import FORM, names_in

    path = Path(source)
    if not path.is_file():
        return InputError("no such file", allowed=FORM, where=source)
    names = names_in(path)
    choices = listed(f"{source}:{name}" for name in names) if names else f"{source}:build, a function that gives it"
    return InputError("a Python file, without the name of what gives the model", allowed=choices, where=source)


def live_rows(
    source: str, described: Described, held_to: Declared | None, explain: float | None, output: Output
) -> list[CheckRow]:
    """A row for each call of each recurrent module of a live model."""
    from rnnspect.checking.live.runs import watch_run
    from rnnspect.engines.own.loading import load_model
    from rnnspect.network.device import resolve
    from rnnspect.network.sequence import input_of

    if held_to:
        raise InputError("an arithmetic beside a live model", allowed="what its dtypes say", where="--arithmetic")
    _refuse_what_is_ignored(described)
    place = resolve(described.spec, "--device") if "device" in described.given else None
    model = load_model(source)
    if place is not None:
        model = model.to(place)
    x = input_of(described.spec, described.where)
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        x = x.to(parameter.device, parameter.dtype if x.is_floating_point() else None)
    seen = watch_run(model, x.clone())
    if not seen.calls:
        raise InputError("no RNN, LSTM, GRU or cell of this model was called", where=source)
    found = []
    for one, identities in zip(seen.check(explain), _identities(model, x, seen, described), strict=True):
        said: Verdict | str = f"cannot tell: {one.reason}"
        if one.verdict:
            said = replace(one.verdict, identities=(*one.verdict.identities, *identities))
        found.append(_row_of_call(f"{source} {one.name or 'itself'}, call {one.index}", said))
    for name in seen.never_called:
        output.note(f"note: {source} {name} was never called")
    return found


def _identities(model: nn.Module, x: Tensor, seen: WatchedCalls, described: Described) -> list[tuple[Identity, ...]]:
    """What has to hold for each call, tried by running the model again. With other items in the batch only where the
    input was generated, as it is not known of any other which axis is the batch."""
    from rnnspect.checking.live.runs import beside_another, evaluated_twice, run_again

    twice = evaluated_twice(model, x, seen.calls)
    found = [(*one, *alone) for one, alone in zip(twice, run_again(model, seen.calls), strict=True)]
    if described.spec.batch is None or not all(one.holds for call in twice for one in call):
        return found
    mixed = beside_another(model, x, seen.calls)
    return [
        (*(one for one in of_call if one.name not in [mixes.name for mixes in worse]), *worse)
        for of_call, worse in zip(found, mixed, strict=True)
    ]


def onnx_rows(
    source: str, flags: Mapping[str, Any], held_to: Declared | None, explain: float | None, output: Output
) -> list[CheckRow]:
    """A row for each call of each recurrent node of an ONNX model; `flags` are the options of the command."""
    from rnnspect.checking.onnx.check import check_model

    beyond = [name for name in flags if flags[name] is not None and name not in ("module", "input", "batch", "seed")]
    if beyond:
        allowed = "--module, --input, --batch, --seed"
        raise InputError("a model says itself what it is", allowed=allowed, where=flag(beyond[0]))
    seed = 1 if flags["seed"] is None else flags["seed"]
    found = check_model(Path(source), flags["input"], flags["module"], flags["batch"], seed, held_to, explain)
    for warning in found.warnings:
        output.note(warning)
    for name in found.never_ran:
        output.note(f"note: {source} {name} never ran")
    if not found.calls:
        raise InputError("no recurrent node ran on this input", where=source)
    return [
        _row_of_call(f"{source} {one.node}" + ("" if one.index is None else f", call {one.index}"), one.found)
        for one in found.calls
    ]


def _row_of_call(label: str, found: Verdict | str) -> CheckRow:
    return CheckRow(label, found, EXIT_STATUS["cannot tell"] if isinstance(found, str) else found.exit_status, True)


def _refuse_what_is_ignored(described: Described) -> None:
    """Raises `SpecError` for options that say nothing of a live model, which has its own network and states; of a
    generated input its sizes and seed are used."""
    given = described.spec.input
    source = parse(given) if isinstance(given, str) else None
    used = {"input", "device"}
    if isinstance(source, Generator):
        used |= {"batch", "input_size"} | ({"seed"} if source.kind == "randn" else set())
    problems = []
    for key in sorted(described.given - used):
        option = flag(key)
        if key in ("batch", "input_size", "seed"):
            allowed = "with an input that is drawn, such as --input randn:100" if key == "seed" else "with a generator"
            problems.append(Problem(f"{option} beside an input that it does not make", allowed, where=option))
        else:
            problems.append(Problem(f"{option} beside a live model", "what a live model has of its own", where=option))
    if problems:
        raise SpecError(problems)
